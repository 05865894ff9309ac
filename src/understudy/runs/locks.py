"""One process at a time in a run folder, and nothing left behind by those that were killed."""

import os
import shutil
from pathlib import Path

from understudy.errors import ConfigError
from understudy.runs.files import storage_errors

try:
    import fcntl
except ImportError:  # not on Windows, where two processes in one folder are the user's to avoid
    fcntl = None  # type: ignore[assignment]


def lock_folder(folder: Path, *, wait: bool = False) -> int:
    """Make a folder if it is not there, and hold it for this process until the returned descriptor is closed.

    Args:
        folder: what is to be held.
        wait: wait until no other process holds it, instead of refusing.

    Raises:
        ConfigError: another process holds it.
        StorageError: the folder cannot be written.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / ".lock", os.O_CREAT | os.O_WRONLY, 0o644)
    if fcntl is not None:
        try:
            # A record lock belongs to the process: it ends with it, however it ends.
            fcntl.lockf(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            os.close(descriptor)
            raise ConfigError(
                "another process is at work in this run folder",
                where=folder,
                fix="wait for it, stop it, or choose another folder with --run",
            ) from None
    return descriptor


def remove_leftovers(folder: Path) -> None:
    """Delete what a killed process left half-written below a folder that this process holds."""
    for pattern in (".*.partial", ".*.old"):
        for path in folder.rglob(pattern):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
