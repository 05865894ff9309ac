"""One process at a time in a run folder, and no rubbish left in it."""

import subprocess
import sys
from pathlib import Path

import pytest

from understudy.errors import ConfigError, StorageError
from understudy.runs.locks import lock_folder, remove_leftovers

_HOLD = """
import sys
from pathlib import Path
from understudy.runs.locks import lock_folder
lock_folder(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_folder_is_held_by_one_process_and_freed_by_its_death(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-c", _HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match="another process is at work") as caught:
            lock_folder(folder)
        assert str(folder) in str(caught.value)
        other.kill()
    lock_folder(folder)


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="choose another folder"):
        lock_folder(tmp_path / "file" / "run")


def test_leftovers_go_and_the_rest_stays(tmp_path: Path) -> None:
    for name in (
        ".model.x1.partial/weights",
        "bank/.shard-0.x2.partial",
        ".model.x1.old/weights",
        "bank/shard-0",
        ".lock",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    remove_leftovers(tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [".lock", "bank", "bank/shard-0"]
