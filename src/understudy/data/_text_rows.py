"""From tables as they stand on file to a checked `TextSet`: which columns count, and what their cells mean."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from understudy.data._names import check_slice
from understudy.data._text_tables import LABEL_COLUMNS, TEXT_COLUMNS, Cell, Table
from understudy.data.text_set import TextSet, TextSplit
from understudy.errors import DataError

_MOST_CLASSES = 1000  # beyond it a column is a number to predict, or a sentence, and no class
_MISSING = {"", "nan", "null", "none", "n/a", "na"}


@dataclass(frozen=True)
class Columns:
    """Which columns the user named; None is found by the usual names.

    Args:
        text: the sentence.
        context: what stands before it.
        label: the class.
    """

    text: str | None = None
    context: str | None = None
    label: str | None = None

    @property
    def wanted(self) -> tuple[str, ...]:
        """The names given."""
        return tuple(name for name in (self.text, self.context, self.label) if name is not None)


@dataclass(frozen=True)
class TextRows:
    """Rows with their labels as names.

    Args:
        texts: the sentences.
        contexts: one each, or None.
        labels: the class of each, by name.
        places: where each stands.
        classes: the classes in their order.
    """

    texts: list[str]
    contexts: list[str] | None
    labels: list[str]
    places: list[str]
    classes: tuple[str, ...]

    def build(self, name: str, split: TextSplit, *, rows: slice | None = None) -> TextSet:
        """Return the set; its classes are those of all rows, whichever of them `rows` takes.

        Raises:
            DataError: no row, or one class only.
        """
        where = f"{name}, split {split}"
        if not self.texts:
            raise DataError("the data set is empty", where=where, expected="at least one row")
        if len(self.classes) < 2:
            raise DataError(
                f"every row has the same label, {self.classes[0]!r}",
                where=where,
                expected="at least two classes",
                fix="the split is published without labels: use another"
                if self.classes[0] == "-1"
                else "check the label column",
            )
        index = {one: number for number, one in enumerate(self.classes)}
        labels = torch.tensor([index[label] for label in self.labels], dtype=torch.int64)
        whole = TextSet(
            name,
            split,
            tuple(self.texts),
            labels,
            self.classes,
            None if self.contexts is None else tuple(self.contexts),
        )
        if rows is None:
            return whole
        check_slice(rows, len(whole), where=where)
        return whole.take(range(len(whole))[rows])


def read_rows(tables: Sequence[Table], columns: Columns, *, where: str) -> TextRows:
    """Take sentences, contexts and labels out of the tables of a split, shard by shard.

    Args:
        tables: the shards.
        columns: which columns to take.
        where: the split's place, for messages.

    Raises:
        DataError: a column is absent or holds no text, sentences are empty, or labels are missing or no classes.
    """
    texts: list[str] = []
    contexts: list[str] = []
    labels: list[str] = []
    places: list[str] = []
    named: set[tuple[str, ...] | None] = set()
    for table in tables:
        chosen = _choose(table, columns, where)
        text, context, label = chosen.text or "", chosen.context, chosen.label or ""
        texts += _sentences(table, text)
        contexts += [] if context is None else _sentences(table, context)
        found = table.classes.get(label)
        labels += _labels(table, label, found)
        places += table.places
        named.add(found)
    if len(named) > 1:
        raise DataError("the shards name different classes", where=where, fix="write them with one schema")
    classes = next(iter(named), None) or _sorted(set(labels))
    if len(classes) > _MOST_CLASSES:
        raise DataError(
            f"the label column holds {len(classes)} different values",
            where=where,
            expected=f"at most {_MOST_CLASSES} classes",
            fix="name the label column: --label-column",
        )
    return TextRows(texts, contexts if columns.context is not None else None, labels, places, classes)


def _choose(table: Table, columns: Columns, where: str) -> Columns:
    where = table.places[0] if table.places else where
    for wanted in columns.wanted:
        if wanted not in table.columns:
            raise _absent(f"no column {wanted!r}", table, where)
    taken = set(columns.wanted)
    label = columns.label or _usual(table, LABEL_COLUMNS, taken, where)
    text = columns.text or _usual(table, TEXT_COLUMNS, taken, where)
    if not table.named and len(table.columns) == 2:
        text, label = _headless(table, text, label, where)
    if text is None:
        raise _absent("no text column", table, where)
    if label is None:
        raise _absent("no label column: the labels are absent", table, where)
    if len({text, label, columns.context}) < 3:
        raise DataError("one column for two things", where=where, expected="a column each for text, context and label")
    if not table.named:
        _check_no_heading(table, label)
    return Columns(text, columns.context, label)


def _usual(table: Table, names: Sequence[str], taken: set[str], where: str) -> str | None:
    """Return the one column with a usual name, None if there is none; `taken` ones serve for something else."""
    plain = {name.casefold(): name for name in table.columns}
    usual = [plain[name] for name in names if name in plain]
    found = [name for name in usual if name not in taken] or usual[:1]
    if len(found) > 1:
        what, flag = ("label", "--label-column") if names is LABEL_COLUMNS else ("text", "--text-column")
        raise DataError(
            f"several columns could hold the {what}: {', '.join(found)}",
            where=where,
            expected="one column with a usual name, or a word on which it is",
            fix=f"name it: {flag} {found[0]}",
        )
    return found[0] if found else None


def _check_no_heading(table: Table, label: str) -> None:
    """Refuse a first line that names the columns in words of its own: it would be a row, of a class of its own."""
    first, *rest = (str(cell).strip() for cell in table.columns[label])
    numbers = bool(rest) and all(_whole(cell) for cell in rest)
    repeated = 1 < len(set(rest)) <= len(rest) // 2
    if _whole(first) or first in rest or not (numbers or repeated):
        return
    raise DataError(
        f"the first line looks like a heading: no other row has the label {first[:40]!r}",
        where=table.places[0],
        expected=f"a row like the others, or usual names: {TEXT_COLUMNS[0]} and {LABEL_COLUMNS[0]}",
        fix=f"name the columns with --text-column and --label-column; the table has: {_first_line(table)}. "
        "If it is a row, put such a heading above it",
    )


def _headless(table: Table, text: str | None, label: str | None, where: str) -> tuple[str, str]:
    """Return which of two columns without a heading is the text: the other one holds short, repeated labels."""
    if label is None and text is None:
        one, two = (table.columns[name] for name in ("1", "2"))
        numbers = [all(_whole(cell) for cell in column) for column in (one, two)]
        if numbers[0] == numbers[1] and len(set(one)) == len(set(two)):
            raise _absent("two columns, and none of them is clearly the label", table, where)
        second = numbers[1] if numbers[0] != numbers[1] else len(set(two)) < len(set(one))
        return ("1", "2") if second else ("2", "1")
    other = {"1": "2", "2": "1"}
    return text or other[label or "2"], label or other[text or "1"]


def _whole(cell: Cell) -> bool:
    return isinstance(cell, str) and cell.strip().removeprefix("-").isdecimal()


def _absent(what: str, table: Table, where: str) -> DataError:
    return DataError(
        what,
        where=where,
        expected=f"a text column ({', '.join(TEXT_COLUMNS[:3])}, ...) and a label column "
        f"({', '.join(LABEL_COLUMNS[:3])}, ...)",
        fix=f"name them with --text-column and --label-column; the table has: {', '.join(table.columns)}"
        + ("" if table.named else f", counted, for its first line names none: {_first_line(table)}"),
    )


def _first_line(table: Table) -> str:
    return " | ".join(str(column[0]).strip()[:40] for column in table.columns.values() if column)


def _sentences(table: Table, name: str) -> list[str]:
    column = table.columns[name]
    wrong = [row for row, cell in enumerate(column) if cell is not None and not isinstance(cell, str)]
    if wrong:
        raise DataError(
            f"column {name!r} holds {type(column[wrong[0]]).__name__} and no text",
            where=table.places[wrong[0]],
            fix="name the column with the sentences: --text-column",
        )
    empty = [row for row, cell in enumerate(column) if not isinstance(cell, str) or not cell.strip()]
    if empty:
        raise DataError(
            f"{len(empty)} empty sentences of {len(column)} in column {name!r}",
            where="; ".join(table.places[row] for row in empty[:3]) + ("; ..." if len(empty) > 3 else ""),
            expected="at least one word in each",
            fix="drop these rows",
        )
    return [str(cell).strip() for cell in column]


def _labels(table: Table, name: str, classes: tuple[str, ...] | None) -> list[str]:
    column = table.columns[name]
    missing = [row for row, cell in enumerate(column) if _is_missing(cell)]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(column)} labels are missing or NaN",
            where="; ".join(table.places[row] for row in missing[:3]) + ("; ..." if len(missing) > 3 else ""),
            expected="a class in each row",
            fix="drop these rows; the file may be cut short",
        )
    names = []
    for row, cell in enumerate(column):
        label = _label(cell, table.places[row])
        if classes is not None and isinstance(cell, int):
            label = classes[cell] if 0 <= cell < len(classes) else label
        names.append(label)
    if classes is not None and not set(names) <= set(classes):
        unlabelled = set(names) == {"-1"}
        wrong = next(row for row, label in enumerate(names) if label not in classes)
        raise DataError(
            "every row has the same label, -1" if unlabelled else f"label {names[wrong]} is outside the named classes",
            where=table.places[wrong],
            expected=", ".join(classes[:20]),
            fix="the split is published without labels: use another" if unlabelled else "check the label column",
        )
    return names


def _is_missing(cell: Cell) -> bool:
    if isinstance(cell, str):
        return cell.strip().casefold() in _MISSING
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def _label(cell: Cell, place: str) -> str:
    """Return a class's name: whole numbers without sign or zeros to spare, text without blanks around it."""
    text = str(cell).strip()
    try:
        number = float(text)
    except ValueError:
        number = None
    if isinstance(cell, str | int | float) and (number is None or number.is_integer()):
        return text if number is None or isinstance(cell, bool) else str(int(number))
    raise DataError(
        f"{text[:40]!r} is no class",
        where=place,
        expected="a whole number or a name",
        fix="name the column with the classes: --label-column",
    )


def _sorted(labels: set[str]) -> tuple[str, ...]:
    """Return the classes in their order: by value if all are whole numbers, else by name."""
    if all(_whole(label) for label in labels):
        return tuple(sorted(labels, key=int))
    return tuple(sorted(labels))
