"""Whole files or none: everything this package writes is written aside, synced and renamed."""

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from understudy.errors import IntegrityError, StorageError

_ADVICE = {
    errno.ENOSPC: "free some disk space, or choose another folder, then run the same command again",
    errno.EDQUOT: "the quota is used up: free some space, then run the same command again",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.ENOTDIR: "a part of the path is a file: choose another folder",
    errno.EEXIST: "a part of the path is a file: choose another folder",
}


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an operating-system error in the block into a `StorageError` that names the path and what to do."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot write: {error.strerror or error}",
            where=path,
            fix=_ADVICE.get(error.errno or 0, "check the path and the disk, then run the same command again"),
        ) from error


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` with a temporary path beside `path`, sync what it wrote, and rename it into place.

    Raises:
        StorageError: the disk is full, read-only or not permitted. `path` keeps what it held before.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
        os.close(descriptor)
        aside = Path(name)
        try:
            write(aside)
            _sync(aside)
            aside.chmod(0o666 & ~_umask())
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
        _sync(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file, whole or not at all."""
    write_atomic(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: object) -> None:
    """Write readable JSON, whole or not at all; NaN and infinity are refused, for JSON has no such numbers."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file of ours.

    Raises:
        IntegrityError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise IntegrityError("file not found", where=path, expected="a file written by understudy") from None
    except (OSError, ValueError, RecursionError) as error:  # ValueError: not UTF-8, not JSON, or an endless number
        raise IntegrityError(
            f"not readable as JSON: {error}", where=path, fix="restore the file, or make it again"
        ) from error


@contextmanager
def folder_aside(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; at the end of the block it takes the place of `path`, whole.

    An existing folder at `path` is moved away only after the new one is complete and synced.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent))
        old = aside.with_suffix(".old")
        try:
            aside.chmod(0o777 & ~_umask())
            yield aside
            for file in aside.iterdir():
                _sync(file)
            _sync(aside)
            if path.exists():
                path.rename(old)
            aside.rename(path)
            _sync(path.parent)
        except BaseException:
            if old.exists() and not path.exists():
                old.rename(path)
            raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


def sha256_file(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
