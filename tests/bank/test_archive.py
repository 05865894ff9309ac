"""Answers asked ahead: extended in place, whole after any kill, and nobody else's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from understudy.bank import AnswerArchive, AnswerBank, answers_folder
from understudy.errors import ConfigError, DivergenceError, IntegrityError
from understudy.runs.tensors import load_tensors, save_tensors

ABOUT = {"teacher": "t" * 64, "data": "d" * 64, "rows": 6, "views": 18, "classes": 3}


class Archives:
    """Archives of 6 rows with 18 views each, keys 0 to 107, answers 3 wide."""

    def __init__(self, place: Path, teacher: Any) -> None:
        self.place, self.teacher = place, teacher

    def open(self, folder: str = "bank", **changes: Any) -> AnswerArchive:
        return AnswerArchive(self.place / folder, **{**ABOUT, **changes})

    def add(self, archive: AnswerArchive, keys: list[int]) -> list[int]:
        """Add what is missing, ending in a segment; return what was missing."""
        missing = archive.missing(torch.tensor(keys))
        if len(missing):
            archive.add(missing, self.teacher.logits(missing))
        archive.save()
        return [int(key) for key in missing]

    def finished(self, folder: str, *keys: list[int], **changes: Any) -> Path:
        """Return the folder of an archive that was extended once for each list of keys."""
        for some in keys:
            archive = self.open(folder, **changes)
            self.add(archive, some)
            archive.finish()
        return self.place / folder

    def files(self, folder: str = "bank") -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted((self.place / folder).iterdir())}

    def expected(self, keys: list[int]) -> Tensor:
        logits: Tensor = self.teacher.logits(torch.tensor(keys)).half()
        return logits


@pytest.fixture
def archives(tmp_path: Path, teacher: Any) -> Archives:
    return Archives(tmp_path, teacher)


def test_an_archive_is_extended_in_place(archives: Archives) -> None:
    archives.finished("bank", [50, 4, 8])
    first = archives.files()
    archive = archives.open()
    assert archive.finished
    assert archives.add(archive, [8, 107, 0, 50]) == [0, 107]
    assert not archive.finished
    archive.finish()
    files = archives.files()
    assert sorted(files) == ["manifest.json", "shard-00000.safetensors", "shard-00001.safetensors"]
    assert files["shard-00000.safetensors"] == first["shard-00000.safetensors"]
    for each in (archive, archives.open(), archives.open(adding=False)):
        assert torch.equal(each.logits(torch.tensor([107, 4, 0, 50])), archives.expected([107, 4, 0, 50]))
        assert (len(each), each.finished) == (5, True)


def test_where_nothing_is_missing_no_byte_changes(archives: Archives) -> None:
    archives.finished("bank", [4, 8], [15])
    before = archives.files()
    archives.finished("bank", [15, 8])
    assert archives.files() == before


def test_what_was_asked_before_a_kill_is_not_asked_again(archives: Archives) -> None:
    archives.finished("bank", [50])
    archives.finished("whole", [50], [4, 8, 15])
    archives.add(archives.open(), [4, 15])  # the process ends here, and again there
    archives.add(archives.open(), [8])
    archive = archives.open()
    assert not archive.finished
    assert archives.add(archive, [4, 8, 15, 50]) == []
    archive.finish()
    assert archives.files() == archives.files("whole")


def test_a_kill_between_the_manifest_and_the_end_leaves_nothing_twice(archives: Archives) -> None:
    archives.add(archives.open(), [4, 15])
    segments = {name: content for name, content in archives.files().items() if name.startswith("segment-")}
    archive = archives.open()
    archive.finish()
    for name, content in segments.items():
        (archives.place / "bank" / name).write_bytes(content)
    again = archives.open()
    assert torch.equal(again.logits(torch.tensor([15, 4])), archives.expected([15, 4]))
    again.finish()
    assert sorted(archives.files()) == ["manifest.json", "shard-00000.safetensors"]


def test_a_kill_between_a_shard_and_the_manifest_is_mended(archives: Archives) -> None:
    archives.finished("bank", [50])
    before = (archives.place / "bank" / "manifest.json").read_bytes()
    archives.add(archives.open(), [4, 15])
    segments = {name: content for name, content in archives.files().items() if name.startswith("segment-")}
    archives.open().finish()
    finished = archives.files()
    (archives.place / "bank" / "manifest.json").write_bytes(before)
    for name, content in segments.items():
        (archives.place / "bank" / name).write_bytes(content)
    archives.open().finish()
    assert archives.files() == finished


def test_who_only_reads_looks_at_no_segment(archives: Archives) -> None:
    """They are another process's, which may delete them at any moment."""
    archives.finished("bank", [50])
    archives.add(archives.open(), [4])
    (archives.place / "bank" / "segment-00000000.safetensors").write_bytes(b"half")
    assert len(archives.open(adding=False)) == 1
    with pytest.raises(IntegrityError):
        archives.open()


def test_a_base_is_taken_over_and_then_extended(archives: Archives) -> None:
    base = archives.finished("base", [4, 8])
    archive = archives.open(base=base)
    assert archives.add(archive, [8, 15]) == [15]
    archive.finish()
    assert (base / "shard-00000.safetensors").samefile(archives.place / "bank" / "shard-00000.safetensors")
    before = archives.files("base")
    again = archives.open(base=archives.place / "nowhere")  # of no use once the folder has a manifest
    assert archives.add(again, [16, 4]) == [16]
    again.finish()
    assert archives.files("base") == before
    assert len(archives.open()) == 4


def test_banks_of_training_and_archives_take_one_another_over(archives: Archives, banks: Any) -> None:
    trained = banks.finished("trained", [4, 8])
    archive = archives.open(base=trained)
    assert archives.add(archive, [4, 9]) == [9]
    archive.finish()
    bank = AnswerBank(archives.place / "third", base=answers_folder(archive.folder), **ABOUT)
    bank.restore(0, {})
    assert torch.equal(archives.teacher.serve(bank, [9, 4, 8]), archives.expected([9, 4, 8]).float())
    assert archives.teacher.asked == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"teacher": "u" * 64}, "answers of another teacher"),
        ({"data": "e" * 64}, "answers of other training images"),
        ({"views": 50}, r"answers of other crops \(crop_padding differs\)"),
        ({"classes": 4}, "answers of another number of classes"),
        ({"precision": "bf16"}, "answers of a teacher in another precision"),
    ],
)
def test_answers_of_something_else_are_refused(archives: Archives, change: dict[str, Any], message: str) -> None:
    folder = archives.finished("bank", [4, 8])
    before = archives.files()
    with pytest.raises(ConfigError, match=message):
        archives.open(**change)
    with pytest.raises(ConfigError, match=message):
        archives.open("other", base=folder, **change)
    assert archives.files() == before
    assert not (archives.place / "other").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 7e4])
def test_an_answer_that_is_no_number_reaches_no_disk(archives: Archives, value: float) -> None:
    archive = archives.open()
    with pytest.raises(DivergenceError, match="beyond what float16 holds"):
        archive.add(torch.tensor([4]), torch.tensor([[0.0, value, 0.0]]))
    assert not archive.folder.exists()


@pytest.mark.parametrize("finish", [False, True])
@pytest.mark.parametrize("damage", ["alter", "cut", "empty", "remove"])
def test_a_damaged_file_is_refused(archives: Archives, damage: str, finish: bool) -> None:
    archive = archives.open()
    archives.add(archive, [4, 8])
    if finish:
        archive.finish()
    path = archives.place / "bank" / ("shard-00000.safetensors" if finish else "segment-00000000.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes({"alter": content, "cut": content[:-2], "empty": b"", "remove": b""}[damage])
    if damage == "remove":
        path.unlink()
    if damage == "remove" and not finish:
        assert archives.open().missing(torch.tensor([4, 8])).tolist() == [4, 8]
        return
    with pytest.raises(IntegrityError):
        archives.open()


@pytest.mark.parametrize(
    "change",
    [
        lambda kept: {"logits": kept["logits"]},
        lambda kept: {"keys": kept["keys"]},
        lambda kept: {**kept, "keys": kept["keys"] + 108},
        lambda kept: {**kept, "keys": kept["keys"] - 9},
        lambda kept: {**kept, "keys": kept["keys"].flip(0)},
        lambda kept: {**kept, "keys": kept["keys"].int()},
        lambda kept: {**kept, "logits": kept["logits"].float()},
        lambda kept: {**kept, "logits": kept["logits"][:, :2]},
        lambda kept: {**kept, "keys": torch.tensor([4, 50])},
    ],
)
def test_a_segment_of_something_else_is_refused(
    archives: Archives, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]
) -> None:
    archives.finished("bank", [50])
    archives.add(archives.open(), [4, 8])
    path = archives.place / "bank" / "segment-00000000.safetensors"
    content = {name: tensor.clone() for name, tensor in load_tensors(path)[0].items()}
    save_tensors(path, change(content), {})
    with pytest.raises(IntegrityError, match="filed"):
        archives.open()
