"""A finished bank as the base of the next: taken over whole, or refused in plain words."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from understudy.errors import ConfigError, IntegrityError
from understudy.runs.files import read_json, write_json


def test_a_base_is_linked_and_not_needed_any_more(banks: Any, teacher: Any) -> None:
    first = banks.finished("first", [4, 8, 15])
    bank = banks.begun("second", base=first)
    assert (first / "shard-00000.safetensors").samefile(bank.folder / "shard-00000.safetensors")
    shutil.rmtree(first)
    teacher.serve(bank, [15, 16])
    assert teacher.asked == [[16]]
    kept = bank.state(3)
    again = banks.open("second", base=first)  # started again after a kill, by the same command
    again.restore(3, kept)
    teacher.serve(again, [4, 8, 15, 16, 23])
    assert teacher.asked == [[16], [23]]
    again.finish()
    third = banks.begun("third", base=again.folder)
    found = teacher.serve(third, [4, 8, 15, 16, 23])
    assert teacher.asked == [[16], [23]]
    assert torch.equal(found, teacher.logits(torch.tensor([4, 8, 15, 16, 23])).half().float())


def test_where_there_are_no_links_the_base_is_copied(banks: Any, teacher: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    first = banks.finished("first", [4, 8, 15])
    monkeypatch.setattr(os, "link", refuse)
    bank = banks.begun("second", base=first)
    name = "shard-00000.safetensors"
    assert not (first / name).samefile(bank.folder / name)
    assert banks.files("first")[name] == banks.files("second")[name]
    teacher.serve(bank, [4, 8, 15])
    assert teacher.asked == []


def test_the_folder_of_a_run_means_its_bank(banks: Any, teacher: Any) -> None:
    banks.finished("run/bank", [1, 2])
    teacher.serve(banks.begun("second", base=banks.place / "run"), [1, 2])
    assert teacher.asked == []


def test_a_base_that_had_everything_is_passed_on(banks: Any) -> None:
    banks.finished("first", [1, 2])
    banks.finished("second", [2, 1], base=banks.place / "first")
    files = banks.files("second")
    assert files["shard-00000.safetensors"] == banks.files("first")["shard-00000.safetensors"]
    assert files["manifest.json"] == banks.files("first")["manifest.json"]
    assert sorted(files) == ["base.json", "manifest.json", "shard-00000.safetensors"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"teacher": "u" * 64}, "answers of another teacher"),
        ({"data": "e" * 64}, "answers of other training images"),
        ({"rows": 5}, "answers of another number of images"),
        ({"views": 50}, r"answers of other crops \(crop_padding differs\)"),
        ({"classes": 4}, "answers of another number of classes"),
        ({"precision": "bf16"}, "answers of a teacher in another precision"),
    ],
)
def test_answers_of_something_else_are_refused(banks: Any, change: dict[str, Any], message: str) -> None:
    first = banks.finished("first", [4, 8, 15])
    with pytest.raises(ConfigError, match=message):
        banks.open("second", base=first, **change)
    assert not (banks.place / "second").exists()


def test_a_bank_of_samples_is_no_base(banks: Any, make_bank: Callable[..., Path]) -> None:
    with pytest.raises(IntegrityError, match="this is a bank of samples"):
        banks.open(base=make_bank())


def test_a_bank_is_not_its_own_base(banks: Any) -> None:
    first = banks.finished("first", [4])
    before = banks.files("first")
    with pytest.raises(ConfigError, match="cannot be its own base"):
        banks.open("first", base=first)
    assert banks.files("first") == before


def test_an_unfinished_or_absent_base_is_refused(banks: Any, teacher: Any) -> None:
    bank = banks.begun("first")
    teacher.serve(bank, [1])
    bank.state(1)
    for base in (bank.folder, banks.place / "nowhere"):
        with pytest.raises(IntegrityError, match="no finished bank of answers here"):
            banks.open("second", base=base)


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


@pytest.mark.parametrize("damage", [alter, cut, Path.unlink])
def test_a_damaged_base_is_refused_and_a_mended_one_taken(banks: Any, teacher: Any, damage: Any) -> None:
    first = banks.finished("first", [4, 8, 15])
    shard = first / "shard-00000.safetensors"
    whole = shard.read_bytes()
    damage(shard)
    with pytest.raises(IntegrityError, match=r"not what was written|file not found"):
        banks.open("second", base=first)
    shard.unlink(missing_ok=True)
    shard.write_bytes(whole)
    teacher.serve(banks.begun("second", base=first), [4, 8, 15])
    assert teacher.asked == []


@pytest.mark.parametrize("damage", [alter, cut, Path.unlink])
def test_a_shard_taken_over_is_looked_at_on_each_start(banks: Any, damage: Any) -> None:
    banks.open("second", base=banks.finished("first", [4, 8, 15]))
    damage(banks.place / "second" / "shard-00000.safetensors")
    with pytest.raises(IntegrityError, match=r"not what was written|file not found"):
        banks.open("second")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 1, "kind": "answers"}'])
def test_a_list_of_what_was_taken_over_that_is_not_ours_is_refused(banks: Any, content: str) -> None:
    banks.open("second", base=banks.finished("first", [4, 8, 15]))
    (banks.place / "second" / "base.json").write_text(content)
    with pytest.raises(IntegrityError):
        banks.open("second")


def test_a_manifest_that_leads_out_of_the_folder_is_refused(banks: Any) -> None:
    first = banks.finished("first", [4, 8, 15])
    manifest = read_json(first / "manifest.json")
    manifest["shards"][0]["file"] = "../first/shard-00000.safetensors"
    write_json(first / "manifest.json", manifest)
    with pytest.raises(IntegrityError, match="not as it was written"):
        banks.open("second", base=first)
