"""Prototypes on file: read back as written in any order, refused when they are not, and never all in memory."""

import mmap
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from understudy.bank import Bank, Prototypes, PrototypeWriter, _mapped
from understudy.errors import DataError, DivergenceError, IntegrityError, ShapeError, UnderstudyError
from understudy.runs.files import read_json, write_json

ROWS, WIDTH = (5, 3, 4), 6
SMAPS = Path("/proc/self/smaps")


def made(shard: int) -> Tensor:
    return torch.randn(ROWS[shard], WIDTH, generator=torch.Generator().manual_seed(shard))


EVERYTHING = torch.cat([made(shard) for shard in range(len(ROWS))])


def write(folder: Path) -> PrototypeWriter:
    """Write shards of 5, 3 and 4 prototypes, in no order, as several processes do."""
    writer = PrototypeWriter(folder, {"views": 10})
    for shard in (2, 0, 1):
        writer.write(shard, made(shard), made(shard).norm(dim=1))
    return writer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished bank, to be damaged."""
    write(tmp_path / "prototypes").finish(3)
    return tmp_path / "prototypes"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished bank, to be read."""
    place = tmp_path_factory.mktemp("bank")
    write(place).finish(3)
    return place


def test_prototypes_come_back_as_written(whole: Path) -> None:
    prototypes = Prototypes(whole)
    assert (len(prototypes), prototypes.width) == (12, WIDTH)
    assert torch.equal(prototypes.rows(torch.arange(12)), EVERYTHING)
    expected = np.sqrt(np.square(EVERYTHING.numpy().astype(np.float64)).sum(axis=1))
    np.testing.assert_allclose(prototypes.lengths().numpy(), expected, rtol=1e-6)
    assert prototypes.manifest["views"] == 10
    assert prototypes.manifest["kind"] == "prototypes"


@given(
    indices=st.lists(st.integers(0, 11), max_size=30),
    mapped=st.sampled_from([1, 4 * WIDTH * 4, 1 << 28]),
    piece=st.sampled_from([1, 2 * WIDTH * 4, 1 << 28]),
    files=st.integers(1, 3),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_come_in_the_order_asked_for(
    whole: Path, monkeypatch: pytest.MonkeyPatch, indices: list[int], mapped: int, piece: int, files: int
) -> None:
    """Whatever the bounds on mapped memory and on open files, which hold."""
    with monkeypatch.context() as patch:
        patch.setattr(_mapped, "_MAPPED_BYTES", mapped)
        patch.setattr(_mapped, "_PIECE_BYTES", piece)
        patch.setattr(_mapped, "_OPEN_FILES", files)
        prototypes = Prototypes(whole, verify=False)
        for asked in (indices, list(range(12)), indices):
            assert torch.equal(prototypes.rows(torch.tensor(asked, dtype=torch.int64)), EVERYTHING[asked])
            held = prototypes._mapped._maps.values()
            assert len(held) <= files
            assert sum(rows.nbytes for rows in held) == prototypes._mapped._mapped_bytes
            assert len(held) == 1 or prototypes._mapped._mapped_bytes <= mapped


def resident_bytes(folder: Path) -> int:
    """Return how much of the files of a folder counts as this process's memory, by the kernel's own account."""
    parts = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", SMAPS.read_text(), flags=re.MULTILINE)
    found = [re.search(r"^Rss: +(\d+) kB", part, re.MULTILINE) for part in parts if str(folder) in part]
    return sum(int(match[1]) << 10 for match in found if match)


@pytest.mark.skipif(not SMAPS.exists(), reason="needs Linux's account of mapped memory")
@pytest.mark.parametrize("shards", [1, 4])
def test_what_is_read_does_not_stay_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shards: int) -> None:
    """Random reads all over 8 MiB keep within 1 MiB, give or take a page a map; without that bound they do not."""
    each = 16384 // shards
    writer = PrototypeWriter(tmp_path, {})
    for shard in range(shards):
        number = torch.arange(shard * each, (shard + 1) * each, dtype=torch.float32)
        writer.write(shard, number[:, None].expand(-1, 128), number)
    writer.finish(shards)
    monkeypatch.setattr(_mapped, "_PIECE_BYTES", 256 << 10)
    peaks = {}
    for bound in (1 << 20, 64 << 20):
        monkeypatch.setattr(_mapped, "_MAPPED_BYTES", bound)
        prototypes = Prototypes(tmp_path)
        peak = 0
        for step in range(20):
            indices = torch.randint(len(prototypes), (64,), generator=torch.Generator().manual_seed(step))
            assert torch.equal(prototypes.rows(indices)[:, 127], indices.float())
            peak = max(peak, resident_bytes(tmp_path))
        peaks[bound] = peak
        del prototypes
    assert 0 < peaks[1 << 20] <= (1 << 20) + 4 * mmap.PAGESIZE
    assert peaks[64 << 20] > 4 << 20
    assert resident_bytes(tmp_path) == 0


@pytest.mark.parametrize("indices", [[0, 12], [-1], [3, -12, 4]])
def test_a_row_that_is_not_there_is_an_error(whole: Path, indices: list[int]) -> None:
    with pytest.raises(IndexError, match="of a bank of 12 prototypes"):
        Prototypes(whole).rows(torch.tensor(indices))


def test_an_altered_shard_is_refused(folder: Path) -> None:
    path = folder / "shard-00001.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(IntegrityError, match=r"SHA-256 mismatch(.|\n)*shard-00001"):
        Prototypes(folder)
    with pytest.raises(IntegrityError, match="SHA-256 mismatch"):
        PrototypeWriter(folder, {}).finish(3)


@pytest.mark.parametrize("verify", [True, False])
def test_a_shard_cut_short_or_missing_is_refused(folder: Path, verify: bool) -> None:
    path = folder / "shard-00002.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(IntegrityError, match="shard-00002"):
        Prototypes(folder, verify)
    path.unlink()
    with pytest.raises(IntegrityError, match=r"file not found(.|\n)*shard-00002"):
        Prototypes(folder, verify)


def test_a_shard_that_goes_while_it_is_read_is_refused(folder: Path) -> None:
    """Maps are made when rows are asked for, and by then the file may be another."""
    prototypes = Prototypes(folder)
    path = folder / "shard-00000.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(IntegrityError, match=r"no longer as it was opened(.|\n)*shard-00000"):
        prototypes.rows(torch.tensor([0]))
    path.unlink()
    with pytest.raises(IntegrityError, match=r"no longer as it was opened(.|\n)*shard-00000"):
        prototypes.rows(torch.tensor([0]))
    assert torch.equal(prototypes.rows(torch.tensor([11])), EVERYTHING[11:])


def test_an_unfinished_bank_is_refused_and_can_be_finished(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(IntegrityError, match="no finished bank here"):
        Prototypes(tmp_path)
    again = PrototypeWriter(tmp_path, {})
    assert [again.has(shard) for shard in range(4)] == [True, True, True, False]
    with pytest.raises(IntegrityError, match=r"file not found(.|\n)*shard-00003"):
        again.finish(4)
    again.finish(3)
    assert torch.equal(Prototypes(tmp_path).rows(torch.arange(12)), EVERYTHING)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_nothing_that_is_not_finite_enters(tmp_path: Path, value: float) -> None:
    writer = PrototypeWriter(tmp_path, {})
    bad, good = torch.ones(2, 3), torch.ones(2)
    bad[1, 2] = value
    for prototypes, lengths in ((bad, good), (torch.ones(2, 3), bad[1, 1:])):
        with pytest.raises(DivergenceError, match=r"shard 4(.|\n)*the target answered"):
            writer.write(4, prototypes, lengths)
    with pytest.raises(DivergenceError, match="not finite"):
        writer.write(4, torch.full((1, 2), 1e39, dtype=torch.float64), torch.ones(1))  # beyond float32
    assert not writer.has(4)


@pytest.mark.parametrize(
    ("prototypes", "lengths", "error", "said"),
    [
        (torch.zeros(0, 3), torch.zeros(0), DataError, "without prototypes"),
        (torch.zeros(2, 0), torch.zeros(2), DataError, "without prototypes"),
        (torch.zeros(2, 3), torch.zeros(3), ShapeError, "(2, 3) with lengths of shape (3,)"),
        (torch.zeros(3), torch.zeros(3), ShapeError, "(n, d) and (n,)"),
    ],
)
def test_shapes_that_are_no_prototypes_are_refused(
    tmp_path: Path, prototypes: Tensor, lengths: Tensor, error: type[UnderstudyError], said: str
) -> None:
    """Also outside the tests, where nothing checks the annotations."""
    write_unchecked: Any = getattr(PrototypeWriter.write, "__wrapped__", PrototypeWriter.write)
    with pytest.raises(error, match=re.escape(said)):
        write_unchecked(PrototypeWriter(tmp_path, {}), 0, prototypes, lengths)


def test_an_empty_bank_or_one_of_two_widths_is_refused(tmp_path: Path) -> None:
    writer = PrototypeWriter(tmp_path, {})
    with pytest.raises(DataError, match="without prototypes"):
        writer.finish(0)
    writer.write(0, torch.zeros(2, 3), torch.zeros(2))
    writer.write(1, torch.zeros(2, 4), torch.zeros(2))
    with pytest.raises(ShapeError, match=re.escape("shards differ in width: [3, 4]")):
        writer.finish(2)
    assert not (tmp_path / "manifest.json").exists()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda manifest: {**manifest, "width": 5}, "does not hold what the manifest says"),
        (lambda manifest: {key: value for key, value in manifest.items() if key != "width"}, "does not hold"),
        (lambda manifest: {**manifest, "shards": [{**manifest["shards"][0], "rows": 4}]}, "does not hold"),
        (lambda manifest: {**manifest, "kind": 3}, "manifest"),
        (lambda manifest: {**manifest, "kind": "songs"}, "a bank of songs"),
        (lambda manifest: {**manifest, "format": 2}, "format 2"),
    ],
)
def test_a_damaged_manifest_is_refused(folder: Path, damage: Callable[[Any], Any], said: str) -> None:
    write_json(folder / "manifest.json", damage(read_json(folder / "manifest.json")))
    with pytest.raises(IntegrityError, match=said):
        Prototypes(folder)


def test_samples_and_prototypes_are_not_taken_for_each_other(whole: Path, make_bank: Callable[..., Path]) -> None:
    with pytest.raises(IntegrityError, match="this is a bank of prototypes"):
        Bank(whole)
    with pytest.raises(IntegrityError, match="this is a bank of samples"):
        Prototypes(make_bank())


def test_facts_given_cannot_hide_what_the_bank_is(tmp_path: Path) -> None:
    writer = PrototypeWriter(tmp_path, {"width": 99, "kind": "songs"})
    writer.write(0, torch.zeros(2, 3), torch.zeros(2))
    writer.finish(1)
    assert Prototypes(tmp_path).width == 3
