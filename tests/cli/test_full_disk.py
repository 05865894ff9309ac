"""A disk that fills up or refuses: the message says so, nothing whole is lost, and the same command goes on."""

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

_COMPARED = (
    "model/model.safetensors", "bank/manifest.json", "bank/shard-00000.safetensors",
    "bank/shard-00001.safetensors", "bank/shard-00002.safetensors",
)  # fmt: skip


def _mount(*options: str, at: Path) -> bool:
    done = subprocess.run(["mount", *options, str(at)], capture_output=True, timeout=30, check=False)
    return done.returncode == 0


@pytest.fixture
def tiny_disk(scratch: Path) -> Iterator[Path]:
    """A file system of 12 KiB."""
    disk = scratch / "disk"
    disk.mkdir()
    try:
        mounted = _mount("-t", "tmpfs", "-o", "size=12k", "tmpfs", at=disk)
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a tmpfs needs root and mount(8); the failing writes below need neither")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], timeout=30, check=True)


@pytest.fixture
def line(cake_line: list[str]) -> list[str]:
    """A run of synthesis and training, without the measurements, which write nothing."""
    at = cake_line.index("--data")
    return [*cake_line[:at], *cake_line[at + 2 : -2], "--no-noise-control"]


def _assert_same(folder: Path, reference: str) -> None:
    for name in _COMPARED:
        assert (folder / name).read_bytes() == Path(reference, name).read_bytes(), name
    assert (folder / "report.html").stat().st_size > 0
    assert not list(folder.rglob("*.partial"))


def test_a_disk_that_fills_up_again_and_again(cli, refused, line: list[str], scratch: Path, tiny_disk: Path) -> None:
    line = [*line, "--json", "--checkpoint-seconds", "0.001", "--run"]
    size, refusals = 12, 0
    while not (tiny_disk / "run" / "report.html").exists():
        done = set(tiny_disk.rglob("shard-*"))
        message = refused(*line, tiny_disk / "run")
        assert "No space left on device" in message
        assert str(tiny_disk) in message
        assert "run the same command again" in message
        assert done <= set(tiny_disk.rglob("shard-*"))
        refusals += 1
        size = int(size * 1.4) + 4
        assert _mount("-o", f"remount,size={size}k", at=tiny_disk)
        if size > 400:  # whatever is left to write is the report
            assert _mount("-o", "remount,size=32m", at=tiny_disk)
            assert cli(*line, tiny_disk / "run").code == 0
    assert refusals >= 4
    _assert_same(tiny_disk / "run", cli(*line, scratch / "easy").json["folder"])


def test_each_write_that_fails_once_is_made_good(
    cli, line: list[str], scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every file of a run, in turn, meets a full disk at the moment it takes its place."""
    replace, failed = Path.replace, set()

    def fails_once(self: Path, target: Path) -> Path:
        if target.name not in failed:
            failed.add(target.name)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fails_once)
        for _ in range(40):
            before = len(failed)
            said = cli(*line, "--run", scratch / "hard", "--json")
            if said.code == 0:
                break
            assert said.err.startswith("error: cannot write: No space left on device")
            assert said.out == ""
            assert len(failed) > before
    assert said.code == 0
    assert {"config.toml", "shard-00001.safetensors", "manifest.json", "fit.safetensors", "result.json"} <= failed
    assert {"environment.json", "events.jsonl", "model.safetensors", "timing.json", "report.html"} <= failed
    _assert_same(scratch / "hard", cli(*line, "--run", scratch / "easy", "--json").json["folder"])


@pytest.mark.parametrize("fault", [errno.EACCES, errno.EROFS, errno.EDQUOT])
def test_a_folder_that_may_not_be_written(
    refused, line: list[str], scratch: Path, monkeypatch: pytest.MonkeyPatch, fault: int
) -> None:
    def refuses(self: Path, *_args: object, **_more: object) -> None:  # for to root nothing is forbidden
        raise OSError(fault, os.strerror(fault), str(self))

    monkeypatch.setattr(Path, "mkdir", refuses)
    message = refused(*line, "--run", scratch / "run")
    assert f"cannot write: {os.strerror(fault)}" in message
    assert f"where:    {scratch}/run" in message
    assert "to do:" in message


def test_a_file_system_that_is_read_only(refused, line: list[str], tiny_disk: Path) -> None:
    assert _mount("-o", "remount,ro", at=tiny_disk)
    message = refused(*line, "--run", tiny_disk / "run")
    assert "cannot write: Read-only file system" in message
    assert "choose another folder" in message
