"""One SQLite file that several threads and processes share: made whole, checked when opened, synced when written."""

import os
import shutil
import sqlite3
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from understudy.errors import IntegrityError, StorageError, UnderstudyError
from understudy.runs.files import storage_errors

_PAGE_BYTES = 8192  # fits three answers of 512 numbers; 4096 would fit one and waste half of the file
_CHECKPOINT_PAGES = 2000  # 16 MB of log before it is carried over
_ROOM_BYTES = 4 * _CHECKPOINT_PAGES * _PAGE_BYTES
_WAIT_S = 120.0
_RESTORE = "restore the file from a copy; without one, start over in another run folder"


class Database:
    """An SQLite file in WAL mode, with one connection a process, which its threads use in turn.

    Args:
        path: the file; made with `schema` if it is not there.
        schema: statements that make its tables, one string each.
        application: number that marks our files.
        version: of the schema.

    Raises:
        IntegrityError: the file is none of ours, altered, cut short or of a newer version, or it is gone and its
            log is left.
        StorageError: the disk refuses.
    """

    def __init__(self, path: Path, *, schema: tuple[str, ...], application: int, version: int) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        if not path.exists():
            _check_no_log_left(path)
            _create(path, schema, application, version)
        try:
            with self.reading() as connection:
                _check(connection, path, schema, application, version)
        except BaseException:
            self.close()
            raise
        _databases.add(self)

    def __del__(self) -> None:
        with suppress(AttributeError):  # where __init__ did not come so far
            self._drop()

    def close(self) -> None:
        """Close the connection of this process; the next use opens it again."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def check_room(self, size: int) -> None:
        """Refuse, before anything is paid for, what the disk could not hold.

        Raises:
            StorageError: fewer than `size` bytes are free, and some for the log.
        """
        with storage_errors(self.path):
            free = shutil.disk_usage(self.path.parent).free
        if free < size + _ROOM_BYTES:
            raise StorageError(
                f"{free >> 20} MiB are free on the disk of the ledger, and it may need more",
                where=self.path,
                fix="free some disk space, then run the same command again: what was answered is on file",
            )

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection, for this thread alone, outside a transaction."""
        with self._lock, _sqlite_errors(self.path):
            if self._connection is None:
                self._connection = _connect(self.path)
            yield self._connection

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """Yield the connection inside a transaction that excludes all other writers; an error takes it back.

        Args:
            durable: whether the disk has it at the end of the block. Otherwise it survives the end of the process,
                but maybe not a power cut.
        """
        with self.reading() as connection:
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    with suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")
                raise


_databases: "weakref.WeakSet[Database]" = weakref.WeakSet()
_held: list[Database] = []


def _before_fork() -> None:
    """Close every connection: a child that inherits one believes that it holds its parent's locks."""
    for database in list(_databases):
        database._lock.acquire()
        _held.append(database)
        database._drop()


def _after_fork() -> None:
    while _held:
        _held.pop()._lock.release()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)


def _connect(path: Path) -> sqlite3.Connection:
    address = path.absolute().as_uri() + "?mode=rw"  # a file that has gone is not made anew, empty
    connection = sqlite3.connect(address, uri=True, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
    except BaseException:
        connection.close()
        raise
    return connection


def _create(path: Path, schema: tuple[str, ...], application: int, version: int) -> None:
    """Make the file whole beside its place; where another process was first, its file stays."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
        os.close(descriptor)
        aside = Path(name)
        try:
            with _sqlite_errors(path), closing(sqlite3.connect(aside, isolation_level=None)) as connection:
                connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("BEGIN")
                for statement in schema:
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {application}")
                connection.execute(f"PRAGMA user_version = {version}")
                connection.execute("COMMIT")
            _place(aside, path)
        finally:
            aside.unlink(missing_ok=True)


def _place(aside: Path, path: Path) -> None:
    """Give the new file its name, unless there is one of that name by now."""
    try:
        os.link(aside, path)  # unlike a rename, it never replaces
    except FileExistsError:
        return
    except OSError:  # a file system without hard links
        if not path.exists():
            aside.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_no_log_left(path: Path) -> None:
    log = path.with_name(path.name + "-wal")
    if log.exists() and log.stat().st_size and not path.exists():  # asked again: another process may have made it
        raise IntegrityError("the file is gone, and its log is left", where=path, fix=f"{_RESTORE}, log included")


def _check(connection: sqlite3.Connection, path: Path, schema: tuple[str, ...], application: int, version: int) -> None:
    if path.stat().st_size == 0:
        raise IntegrityError("the file is empty", where=path, fix=_RESTORE)
    (found,) = connection.execute("PRAGMA application_id").fetchone()
    (newer,) = connection.execute("PRAGMA user_version").fetchone()
    if found != application:
        raise IntegrityError("this SQLite file was not written by understudy", where=path)
    if newer > version:
        raise IntegrityError(
            f"the file has format {newer}, which this understudy does not know yet",
            where=path,
            expected=f"format {version}",
            fix="pip install --upgrade understudy",
        )
    faults = [row[0] for row in connection.execute("PRAGMA integrity_check")]
    if faults != ["ok"]:
        raise _damaged(path, faults[0])
    tables = {row[0] for row in connection.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")}
    if tables != {statement for statement in schema if statement.startswith("CREATE")}:
        raise _damaged(path, "its tables are others")


def _damaged(path: Path, why: object) -> IntegrityError:
    return IntegrityError(f"the file is not what was written: {why}", where=path, fix=_RESTORE)


@contextmanager
def _sqlite_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite says of the disk or of the file's content into an error of ours."""
    try:
        yield
    except sqlite3.Error as error:
        kind = str(getattr(error, "sqlite_errorname", "")).removeprefix("SQLITE_").partition("_")[0]
        if kind in _TRANSLATED:
            raise _TRANSLATED[kind](path, error) from error
        raise


def _refused(fix: str) -> Callable[[Path, object], UnderstudyError]:
    return lambda path, why: StorageError(f"cannot write: {why}", where=path, fix=fix)


_TRANSLATED: dict[str, Callable[[Path, object], UnderstudyError]] = {
    "CORRUPT": _damaged,
    "NOTADB": _damaged,
    "FULL": _refused("free some disk space, then run the same command again: what was answered is on file"),
    "READONLY": _refused("choose a folder that you may write to"),
    "PERM": _refused("choose a folder that you may write to"),
    "CANTOPEN": _refused("check the path and its permissions"),
    "IOERR": _refused("check the disk, then run the same command again"),
    "BUSY": _refused("another process holds the file; wait for it, or stop it, then run the same command again"),
    "PROTOCOL": _refused("keep the run folder on a local disk: SQLite's log needs its locks"),
}
