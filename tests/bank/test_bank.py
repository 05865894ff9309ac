"""Banks: read back as written, refused when they are not, and in any order of rows."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from understudy.bank import Bank, BankWriter, StorageType
from understudy.errors import DataError, DivergenceError, IntegrityError, StorageError
from understudy.runs.files import read_json, write_json

MakeBank = Callable[..., Path]


@pytest.mark.parametrize("storage", ["float32", "float16", "uint8"])
def test_rows_come_back_as_stored(make_bank: MakeBank, storage: StorageType) -> None:
    bank = Bank(make_bank(storage))
    batch = bank.rows(torch.arange(8))
    for shard, part in enumerate(batch.inputs.split((5, 3))):
        original = torch.randn(part.shape, generator=torch.Generator().manual_seed(shard)) * 3
        tolerance = {"float32": 0.0, "float16": 2e-2, "uint8": 5e-2}[storage]
        assert torch.allclose(part, original, rtol=0, atol=tolerance)
    assert batch.inputs.is_contiguous(memory_format=torch.channels_last)
    assert len(bank) == 8
    assert bank.bytes == sum(path.stat().st_size for path in bank.folder.glob("*.safetensors"))
    assert bank.column("row").tolist() == list(range(8))
    assert bank.manifest["storage"] == storage


@given(st.lists(st.integers(0, 7), min_size=1, max_size=20))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_come_in_the_order_asked_for(make_bank: MakeBank, indices: list[int]) -> None:
    folder = make_bank("uint8")
    bank = Bank(folder, verify=False)
    everything = bank.rows(torch.arange(8))
    batch = bank.rows(torch.tensor(indices))
    assert torch.equal(batch.inputs, everything.inputs[indices])
    assert torch.equal(batch.logits, everything.logits[indices])
    assert batch.logits.amax(dim=1).tolist() == [1 + index for index in indices]


def test_shards_are_mapped_and_not_read(make_bank: MakeBank) -> None:
    """A bank on the CPU stays on file: its tensors are views of mapped memory, which sees the file change."""
    folder = make_bank("float32")
    bank = Bank(folder)
    path = folder / "shard-00001.safetensors"
    raw = path.read_bytes()
    place = raw.index(bank.column("row")[5:].numpy().tobytes())
    with path.open("r+b") as file:
        file.seek(place)
        file.write((70).to_bytes(8, "little"))
    assert bank.column("row").tolist() == [0, 1, 2, 3, 4, 70, 6, 7]


def test_an_altered_shard_is_refused(make_bank: MakeBank) -> None:
    folder = make_bank()
    path = folder / "shard-00001.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(IntegrityError, match=r"SHA-256 mismatch(.|\n)*shard-00001"):
        Bank(folder)


def test_a_shard_cut_short_is_refused_even_unverified(make_bank: MakeBank) -> None:
    folder = make_bank()
    path = folder / "shard-00000.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    for verify in (True, False):
        with pytest.raises(IntegrityError, match="shard-00000"):
            Bank(folder, verify=verify)


def test_a_missing_shard_is_refused(make_bank: MakeBank) -> None:
    folder = make_bank()
    (folder / "shard-00001.safetensors").unlink()
    with pytest.raises(IntegrityError, match=r"file not found(.|\n)*shard-00001"):
        Bank(folder)


def test_an_unfinished_bank_is_refused(make_bank: MakeBank) -> None:
    with pytest.raises(IntegrityError, match=r"no finished bank here(.|\n)*manifest\.json"):
        Bank(make_bank(finish=False))


def test_a_manifest_that_is_not_ours_is_refused(make_bank: MakeBank) -> None:
    folder = make_bank()
    manifest = read_json(folder / "manifest.json")
    write_json(folder / "manifest.json", {**manifest, "format": 99})
    with pytest.raises(IntegrityError, match="bank format 99 is not known"):
        Bank(folder)
    write_json(folder / "manifest.json", {**manifest, "shards": []})
    with pytest.raises(DataError, match="the bank is empty"):
        Bank(folder)
    (folder / "manifest.json").write_text('{"format": 1, "sha')
    with pytest.raises(IntegrityError, match="not readable as JSON"):
        Bank(folder)


def test_finishing_refuses_a_shard_that_has_changed(make_bank: MakeBank) -> None:
    """Between two starts of a run a shard may rot; the manifest must not vouch for it."""
    folder = make_bank(finish=False)
    path = folder / "shard-00000.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(IntegrityError, match="SHA-256 mismatch"):
        BankWriter(folder, storage="float32", about={}).finish(2)
    assert not (folder / "manifest.json").exists()


@pytest.mark.parametrize("storage", ["float32", "float16", "uint8"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nothing_that_is_not_finite_enters(tmp_path: Path, storage: StorageType, value: float) -> None:
    writer = BankWriter(tmp_path / "bank", storage=storage, about={})
    good, bad = torch.zeros(2, 3), torch.tensor([[0.0, 1.0, value], [0.0, 0.0, 0.0]])
    for inputs, logits in ((bad, good), (good, bad)):
        with pytest.raises(DivergenceError, match="shard 4"):
            writer.write(4, inputs, answers={"logits": logits}, record={})
    assert not writer.has(4)


def test_half_precision_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    writer = BankWriter(tmp_path / "bank", storage="float16", about={})
    with pytest.raises(DivergenceError, match="store as float32"):
        writer.write(0, torch.full((1, 2), 1e5), answers={}, record={})


def test_a_full_disk_keeps_the_shards_before(make_bank: MakeBank, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_bank(finish=False)
    writer = BankWriter(folder, storage="float32", about={})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="free some disk space"):
            writer.write(2, torch.zeros(1, 2, 3, 4), answers={"logits": torch.zeros(1, 3)}, record={})
    assert [writer.has(shard) for shard in range(3)] == [True, True, False]
    writer.finish(2)
    assert len(Bank(folder)) == 8


def test_preview_shows_each_class_in_pixels(make_bank: MakeBank) -> None:
    """A value of z stands for the pixel z * std + mean, clamped and rounded to a byte."""
    bank = Bank(make_bank())
    pictures = bank.preview(per_class=2)
    assert {label: len(images) for label, images in pictures.items()} == {0: 2, 1: 2, 2: 2}
    shown = bank.rows(torch.tensor([0, 6])).inputs  # the first and the last of the rows that look like class 0
    expected = ((shown * 0.25 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    assert torch.equal(pictures[0], expected)


def test_preview_of_a_class_that_is_never_seen_is_empty(tmp_path: Path) -> None:
    about = {"shape": [1, 2, 2], "classes": 2, "mean": [0.0], "std": [1.0]}
    writer = BankWriter(tmp_path / "bank", storage="float32", about=about)
    writer.write(0, torch.zeros(3, 1, 2, 2), answers={"logits": torch.tensor([[1.0, 0.0]] * 3)}, record={})
    writer.finish(1)
    pictures = Bank(tmp_path / "bank").preview(per_class=8)
    assert [tuple(images.shape) for images in pictures.values()] == [(3, 1, 2, 2), (0, 1, 2, 2)]


def test_rows_read_from_file_are_those_of_memory(make_bank: MakeBank, monkeypatch: pytest.MonkeyPatch) -> None:
    for storage in ("float32", "float16", "uint8"):
        folder = make_bank(storage)
        indices = torch.tensor([7, 0, 5, 5, 2])
        kept = Bank(folder).rows(indices)
        with monkeypatch.context() as patch:
            patch.setattr("understudy.bank.bank._RESIDENT_BYTES", {"cpu": 0})
            mapped = Bank(folder)
        assert not mapped._resident
        assert torch.equal(mapped.rows(indices).inputs, kept.inputs)
        assert torch.equal(mapped.rows(indices).logits, kept.logits)


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: [],
        lambda manifest: {key: value for key, value in manifest.items() if key != "shards"},
        lambda manifest: {**manifest, "shards": [{}]},
        lambda manifest: {**manifest, "shards": [{**manifest["shards"][0], "file": "../shard-00000.safetensors"}]},
        lambda manifest: {**manifest, "shards": [{**manifest["shards"][0], "rows": "many"}]},
    ],
)
def test_a_damaged_manifest_is_refused(make_bank: MakeBank, damage: Callable[[Any], Any]) -> None:
    folder = make_bank()
    path = folder / "manifest.json"
    path.write_text(json.dumps(damage(json.loads(path.read_text()))))
    with pytest.raises(IntegrityError, match=r"manifest\.json"):
        Bank(folder)
