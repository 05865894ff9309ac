"""Tables of text on file: tabs, commas, JSON lines and Parquet, read whole into named columns."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from understudy.errors import DataError

SUFFIXES = (".tsv", ".csv", ".jsonl", ".parquet")
TEXT_COLUMNS = ("sentence", "text", "review", "content", "document", "tweet", "headline", "sms", "hypothesis")
LABEL_COLUMNS = ("label", "labels", "class", "sentiment", "category", "target", "gold_label")

Cell = object  # text, a number or None where all is well; a file may hold anything


@dataclass(frozen=True)
class Table:
    """A table as it stands on file.

    Args:
        columns: the columns by name; "1", "2", ... where the file names none.
        named: whether the file names its columns.
        places: where each row stands, for messages.
        classes: names of the classes by index, per column whose file says them.
    """

    columns: dict[str, list[Cell]]
    named: bool
    places: Sequence[str]
    classes: dict[str, tuple[str, ...]]


def read_table(file: Path, *, wanted: Sequence[str] = ()) -> Table:
    """Read a table by the ending of its name.

    A `.tsv` file holds one row a line and has no quotes, as in GLUE; its first line is a heading if one of its cells is
    a usual name of a column, or one in `wanted`. A `.csv` file quotes as spreadsheets do and has a heading, unless
    `wanted` counts its columns: 1, 2, ...

    Args:
        file: the file.
        wanted: names of columns that the user gave.

    Raises:
        DataError: not readable, empty, no text in UTF-8, ragged, or cut short.
    """
    if file.suffix == ".parquet":
        return _parquet(file)
    if file.suffix == ".jsonl":
        return _json_lines(file)
    if file.suffix in (".tsv", ".csv"):
        return _delimited(file, wanted)
    raise DataError(
        f"a file ending in {file.suffix or 'nothing'} is no table of text",
        where=file,
        expected="a file ending in " + ", ".join(SUFFIXES),
    )


def _delimited(file: Path, wanted: Sequence[str]) -> Table:
    text = _text(file)
    rows = [(number, line.split("\t")) for number, line in enumerate(_lines(text), 1) if line.strip(" ")]
    if file.suffix == ".csv":
        rows = _comma_separated(text, file)
    if not rows:
        raise DataError("the file is empty", where=file, expected="at least one row")
    usual = {*TEXT_COLUMNS, *LABEL_COLUMNS}
    heading = [cell.strip() for cell in rows[0][1]]
    named = any(cell.casefold() in usual or (cell in wanted and not cell.isdecimal()) for cell in heading)
    counted = bool(wanted) and all(name.isdecimal() for name in wanted)
    named = named or (file.suffix == ".csv" and not counted)
    names = heading if named else [str(number) for number in range(1, len(heading) + 1)]
    if len(set(names)) < len(names):
        raise DataError(f"columns of one name: {', '.join(names)}", where=f"{file}, line 1")
    body = rows[1:] if named else rows
    for number, cells in body:
        if len(cells) != len(names):
            last = number == body[-1][0]
            raise DataError(
                f"{len(cells)} columns where the first line has {len(names)}",
                where=f"{file}, line {number}",
                expected="as many in every row",
                fix="the last row is short: the file may be cut short, write it again"
                if last and len(cells) < len(names)
                else "no tabs inside a sentence, and quotes around one with a comma in a .csv file",
            )
    columns: dict[str, list[Cell]] = {name: [row[1][column] for row in body] for column, name in enumerate(names)}
    return Table(columns, named, [f"{file}, line {number}" for number, _ in body], {})


def _lines(text: str) -> list[str]:
    # Not `splitlines`, which also cuts at the line separators that Unicode knows and sentences may hold.
    return [line.removesuffix("\r") for line in text.split("\n")]


def _comma_separated(text: str, file: Path) -> list[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows, start = [], 1
    try:
        for cells in reader:
            if cells:
                rows.append((start, cells))
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"not readable as comma-separated: {error}",
            where=f"{file}, from line {start}",
            expected="quotes that close",
            fix="the file may be cut short, or a quote inside a sentence is not doubled",
        ) from error
    return rows


def _json_lines(file: Path) -> Table:
    rows: list[dict[str, Cell]] = []
    places = []
    for number, line in enumerate(_lines(_text(file)), 1):
        if not line.strip():
            continue
        place = f"{file}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"not readable as JSON: {error}",
                where=place,
                expected='one object a line, such as {"sentence": "fine", "label": 1}',
                fix="the file may be cut short, write it again",
            ) from error
        if not isinstance(row, dict) or (rows and row.keys() != rows[0].keys()):
            raise DataError(
                "a line that is no object with the keys of the first line",
                where=place,
                expected="the keys " + ", ".join(rows[0]) if rows else "an object",
            )
        rows.append(row)
        places.append(place)
    if not rows:
        raise DataError("the file is empty", where=file, expected="at least one row")
    return Table({name: [row[name] for row in rows] for name in rows[0]}, True, places, {})


def _parquet(file: Path) -> Table:
    try:
        table = pq.read_table(file, partitioning=None, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"not readable as Parquet: {error}",
            where=file,
            expected="a whole Parquet file",
            fix="download or write the file again",
        ) from error
    return from_arrow(table, str(file))


def from_arrow(table: pa.Table, where: str) -> Table:
    """Return a table of pyarrow's, with the class names that the hub's metadata give.

    Raises:
        DataError: a column of text is not in UTF-8.
    """
    try:
        columns = {name: table[name].to_pylist() for name in table.column_names}
    except (UnicodeDecodeError, pa.ArrowException) as error:
        raise DataError(f"a column cannot be read: {error}", where=where, expected="text in UTF-8") from error
    classes = {}
    try:
        features = json.loads((table.schema.metadata or {})[b"huggingface"])["info"]["features"]
        for name, feature in features.items():
            if isinstance(feature, dict) and "names" in feature:
                classes[name] = tuple(str(one) for one in feature["names"])
    except (KeyError, TypeError, ValueError, AttributeError):
        pass  # a table of another writer: its classes are what its labels say
    return Table(columns, True, [f"{where}, row {row}" for row in range(len(table))], classes)


def names_text(file: Path) -> bool:
    """Return whether a Parquet file has a column with a usual name of text; its rows are not read."""
    try:
        names = pq.read_schema(file).names
    except (pa.ArrowException, OSError):
        return False
    return any(name.casefold() in TEXT_COLUMNS for name in names)


def _text(file: Path) -> str:
    """Return a file's text.

    Raises:
        DataError: it cannot be read, or is no text in UTF-8.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"the file cannot be read: {error}", where=file) from error
    expected, fix = "text in UTF-8", "convert the file, or give the right one"
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"bytes that are no text: {error.reason} at byte {error.start}",
            where=f"{file}, line {line}",
            expected=expected,
            fix=fix,
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError("a zero byte: this is no text", where=f"{file}, line {line}", expected=expected, fix=fix)
    return text
