"""What a user writes for a data set: a path or a name, and the slice of rows behind it."""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from understudy.errors import DataError, nearest

ROOT_VARIABLE = "UNDERSTUDY_DATA"

_HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
_SLICE = re.compile(r"(-?\d*):(-?\d*)")


def slice_of(source: str, *, example: str) -> tuple[str, slice | None]:
    """Return the source without the slice behind it, and the slice; a file or folder of that name comes first.

    Raises:
        DataError: what stands in the brackets is no slice.
    """
    if not source.endswith("]") or "[" not in source or Path(source).expanduser().exists():
        return source, None
    bare, _, ends = source[:-1].rpartition("[")
    found = _SLICE.fullmatch(ends)
    if not found or not bare:
        raise DataError(
            f"[{ends}] is no slice of rows",
            where=source,
            expected=f"a source with [first:end], [first:] or [:end] behind it, such as {example}",
        )
    first, end = (int(text) if text else None for text in found.groups())
    return bare, slice(first, end)


def shown(rows: slice | None) -> str:
    """Return a slice as the user wrote it, brackets and all; nothing for None."""
    return "" if rows is None else f"[{_end(rows.start)}:{_end(rows.stop)}]"


def check_slice(rows: slice, total: int, *, where: str) -> None:
    """Refuse a slice that takes none of `total` rows with a `DataError`."""
    if not range(total)[rows]:
        raise DataError(f"the slice {shown(rows)} takes none of {total} rows", where=where, fix="check its ends")


def _end(value: int | None) -> str:
    return "" if value is None else str(value)


def locate(source: str, *, suffixes: Sequence[str], expected: str) -> Path | None:
    """Return the file or folder that a source names, None if it can only be a name on the hub.

    Args:
        source: a path, or a name that is looked up under `$UNDERSTUDY_DATA` first.
        suffixes: endings of file names, which no name on the hub has.
        expected: what a user may give, for the message.

    Raises:
        DataError: there is no such path, and it can be no name.
    """
    path, root = Path(source).expanduser(), os.environ.get(ROOT_VARIABLE)
    named = _HUB_NAME.fullmatch(source) is not None
    if root and named and (Path(root) / source).exists():
        return Path(root) / source
    if path.exists():
        return path
    if named and path.suffix not in suffixes:
        return None
    near = children(path.parent)
    fix = nearest(path.name, near) if near else "check the path"
    raise DataError("no such file or folder", where=path, expected=expected, fix=fix)


def unknown_name(
    name: str, *, embedded: str, suffixes: Sequence[str], fits: Callable[[Path], bool] = lambda _: True
) -> DataError:
    """Return the error for a name that is neither on this machine nor on the hub.

    Args:
        name: what was asked for.
        embedded: name of the set that is always there.
        suffixes: endings of files that hold a set.
        fits: whether a folder or file under `$UNDERSTUDY_DATA` is worth offering.
    """
    root = os.environ.get(ROOT_VARIABLE)
    here = [child for child in children(Path(root), sets=suffixes) if fits(Path(root, child))] if root else []
    near = nearest(name, [embedded, *here])
    near += "" if near.endswith("?") else "."
    return DataError(
        f"no data set {name!r}",
        where=f"${ROOT_VARIABLE} ({root or 'not set'}), the working folder and the Hugging Face hub",
        expected=f"{embedded}, the name of a local folder or of a set on the hub, or a path",
        fix=f"{near} Without a network, HF_HUB_OFFLINE=1 saves the wait for the hub.",
    )


def children(folder: Path, *, sets: Sequence[str] = ()) -> list[str]:
    """Return some names in a folder, for messages; with endings in `sets`, folders and files of those alone."""
    if not folder.is_dir():
        return []
    found = (child for child in folder.iterdir() if not sets or child.is_dir() or child.suffix in sets)
    return sorted(child.name for child in found)[:50]
