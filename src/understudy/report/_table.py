"""Tables and headline numbers as values that a template draws: cells with links, and marks for intervals."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from understudy.report._format import DASH, MINUS, NBSP, finite, percent, percent_range
from understudy.report._read import Interval


@dataclass(frozen=True)
class Range:
    """An interval drawn as a bar with a dot, in per cent of the width of its cell."""

    left: float
    width: float
    dot: float


@dataclass(frozen=True)
class Cell:
    """One cell: its text, a smaller second line, and what may go with it."""

    text: str
    note: str = ""
    href: str = ""
    colour: str = ""
    interval: Interval | None = None
    mark: Range | None = None
    strong: bool = False


@dataclass(frozen=True)
class Column:
    """One column: its heading, what it means, whether its cells are numbers, and a smaller second line."""

    title: str
    help: str = ""
    numeric: bool = True
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A table; cells of one column that hold intervals share one scale."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    notes: Sequence[str] = field(default=())


@dataclass(frozen=True)
class Fact:
    """A headline number: its name, the number, and a line on what it means."""

    name: str
    value: str
    note: str = ""


def interval_cell(interval: Interval | None) -> Cell:
    """Return a cell with a share, and its 95 % interval as the second line."""
    if interval is None or finite(interval.value) is None:
        return Cell(DASH)
    bounds = percent_range(interval.low, interval.high)
    return Cell(percent(interval.value), note="" if bounds == DASH else bounds, interval=interval)


def points_range(interval: Interval | None) -> str:
    """Return the ends of a difference in points; empty where they look alike."""
    low, high = (None, None) if interval is None else (finite(interval.low), finite(interval.high))
    if low is None or high is None:
        return ""
    ends = [f"{round(1000 * end) / 10 + 0.0:+.1f}".replace("-", MINUS) for end in (low, high)]
    return "" if ends[0] == ends[1] else f"{ends[0]}{NBSP}to{NBSP}{ends[1]}"


def with_marks(table: Table) -> Table:
    """Return the table with a range mark in every cell that holds an interval."""
    scales = [_scale([row[at].interval for row in table.rows]) for at in range(len(table.columns))]
    rows = [
        [replace(cell, mark=_mark(cell.interval, scale)) for cell, scale in zip(row, scales, strict=True)]
        for row in table.rows
    ]
    return replace(table, rows=rows)


def _scale(intervals: Sequence[Interval | None]) -> tuple[float, float] | None:
    ends = [end for one in intervals if one is not None for end in (finite(one.low), finite(one.high))]
    known = [end for end in ends if end is not None]
    if not known or max(known) <= min(known):
        return None
    return min(known), max(known)


def _mark(interval: Interval | None, scale: tuple[float, float] | None) -> Range | None:
    if interval is None or scale is None:
        return None
    value, low, high = finite(interval.value), finite(interval.low), finite(interval.high)
    if value is None or low is None or high is None:
        return None
    start, span = scale[0], scale[1] - scale[0]
    left, right, dot = (round(100 * (end - start) / span, 2) for end in (low, high, value))
    return Range(left=left, width=round(right - left, 2), dot=dot)
