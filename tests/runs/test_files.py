"""Whole files or none: what is on disk is the old content or the new, whatever fails in between."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from understudy.errors import IntegrityError, StorageError
from understudy.runs.files import folder_aside, read_json, sha256_file, write_json, write_text

Break = Callable[[], None]


def full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def leftovers(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.name.startswith("."))


@pytest.mark.parametrize("broken", ["os.fsync", "pathlib.Path.replace", "pathlib.Path.write_text"])
def test_a_full_disk_leaves_the_old_file_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    path = tmp_path / "note.txt"
    write_text(path, "old")
    with monkeypatch.context() as patch:
        patch.setattr(broken, full_disk)
        with pytest.raises(StorageError, match="No space left on device") as caught:
            write_text(path, "new")
    assert str(path) in str(caught.value)
    assert "free some disk space" in str(caught.value)
    assert path.read_text() == "old"
    assert leftovers(tmp_path) == []
    write_text(path, "new")
    assert path.read_text() == "new"


def test_nothing_half_written_appears_under_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content is complete and synced at the moment of renaming, and the folder is synced after it."""
    path, happened = tmp_path / "note.txt", []
    real_sync, real_replace = os.fsync, Path.replace

    def sync(descriptor: int) -> None:
        happened.append("sync")
        real_sync(descriptor)

    def replace(aside: Path, target: Path) -> Path:
        happened.append(f"rename {aside.read_text()}")
        return real_replace(aside, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", replace)
    write_text(path, "all of it")
    assert happened == ["sync", "rename all of it", "sync"]


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, "free some disk space"),
        (errno.EDQUOT, "quota"),
        (errno.EACCES, "may write to"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "check the path and the disk"),
    ],
)
def test_each_refusal_of_the_disk_has_its_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, advice: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match=advice):
        write_text(tmp_path / "note.txt", "text")


def test_a_path_through_a_file_is_a_storage_error(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "text")
    with pytest.raises(StorageError, match="a part of the path is a file"):
        write_text(tmp_path / "file" / "below.txt", "text")


def test_files_are_readable_by_whom_the_mask_allows(tmp_path: Path) -> None:
    """Temporary files are private; what takes their place is not."""
    before = os.umask(0o022)
    try:
        write_text(tmp_path / "note.txt", "text")
    finally:
        os.umask(before)
    assert (tmp_path / "note.txt").stat().st_mode & 0o777 == 0o644


def test_json_round_trip_and_refusals(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    write_json(path, {"ε": [1, 2.5, None, "ü"]})
    assert read_json(path) == {"ε": [1, 2.5, None, "ü"]}
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"loss": float("nan")})
    assert read_json(path) == {"ε": [1, 2.5, None, "ü"]}
    with pytest.raises(IntegrityError, match="file not found"):
        read_json(tmp_path / "none.json")
    path.write_text(path.read_text()[:-5])
    with pytest.raises(IntegrityError, match=r"not readable as JSON(.|\n)*value\.json"):
        read_json(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(IntegrityError, match="not readable as JSON"):
        read_json(path)


def test_a_folder_takes_its_place_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with folder_aside(target) as aside:
        write_text(aside / "one.txt", "1")
        assert not target.exists()
    with folder_aside(target) as aside:
        write_text(aside / "two.txt", "2")
    assert [entry.name for entry in target.iterdir()] == ["two.txt"]
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("broken", ["os.fsync", "pathlib.Path.rename"])
def test_a_folder_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    target = tmp_path / "model"
    with folder_aside(target) as aside:
        (aside / "one.txt").write_text("1")
    monkeypatch.setattr(broken, full_disk)
    with pytest.raises(StorageError, match="No space left"), folder_aside(target) as aside:
        (aside / "two.txt").write_text("2")
    assert (target / "one.txt").read_text() == "1"
    assert leftovers(tmp_path) == []


def test_a_folder_survives_when_the_second_rename_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Moved away already, and the new one refused: the old folder is put back, never deleted."""
    target = tmp_path / "model"
    with folder_aside(target) as aside:
        (aside / "one.txt").write_text("1")
    real, calls = Path.rename, []

    def rename(path: Path, to: Path) -> Path:
        calls.append(path)
        if len(calls) == 2:
            full_disk()
        return real(path, to)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(StorageError), folder_aside(target) as aside:
        (aside / "two.txt").write_text("2")
    assert (target / "one.txt").read_text() == "1"


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_file(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_json_is_for_people_too(tmp_path: Path) -> None:
    write_json(tmp_path / "value.json", {"a": 1, "b": [2]})
    text = (tmp_path / "value.json").read_text()
    assert text == json.dumps({"a": 1, "b": [2]}, indent=2) + "\n"
