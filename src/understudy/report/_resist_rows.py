"""Figures with a named row for each thing, and marks along it: who reaches how much, who loses how much."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import plotly.graph_objects as go

from understudy.report._audit_figures import plain
from understudy.report._figures import Figure, error_bars, figure_spec
from understudy.report._format import percent
from understudy.report._read import Interval
from understudy.report._words import value_of

_MARK = 13
"""Height that a row has for each of its marks, in pixels."""
_LINE = 10
"""Height between two rows, in pixels."""
_ARROW = "triangle-left"
"""Symbol of a value that lies further down than the figure goes."""
_AROUND = 62
"""Height of what stands above and below the rows, in pixels."""
_LETTERS = 20
"""Letters of a row's name in one line."""
_LINES = 2
_CUT = "\N{HORIZONTAL ELLIPSIS}"


@dataclass(frozen=True)
class Mark:
    """One kind of mark: its legend, colour word, plotly symbol and size in pixels, and its value in each row."""

    name: str
    colour: str
    symbol: str
    size: int
    values: Sequence[Interval | None]


@dataclass(frozen=True)
class Level:
    """A line across all rows: its legend, colour word, dash and place."""

    name: str
    colour: str
    dash: str
    at: float


def rows_figure(
    title: str,
    names: Sequence[str],
    marks: Sequence[Mark],
    *,
    levels: Sequence[Level] = (),
    x_title: str,
    share: bool,
    alt: str,
    note: str = "",
    ends: tuple[float, float] | None = None,
) -> Figure:
    """Return a figure with a row for each name, from top to bottom, as high as it has rows.

    Args:
        title: heading of the figure.
        names: the rows; long names are broken into two lines, or where they have a line break.
        marks: what stands in each row, one below the other so that their bars do not meet.
        levels: lines across all rows.
        x_title: what the horizontal axis measures.
        share: values are shares, shown in per cent; else differences of shares, shown in points.
        alt: what a reader without the picture is told.
        note: words beside the heading.
        ends: where the axis begins and ends; values below its beginning are drawn at it, as arrows.
    """
    scale, row = 1.0 if share else 100.0, _MARK * len(marks) + _LINE
    hover = "%{customdata}<br>" + ("%{text}" if share else "%{x:.1f} points")
    data: list[Any] = [_level(level, len(names), scale) for level in levels]
    for at, mark in enumerate(marks):
        shift = _MARK / row * (at - (len(marks) - 1) / 2)
        data += _marks(mark, names, scale, shift, hover, ends[0] if ends else None)
    axis: dict[str, Any] = {"title": {"text": x_title}, "zeroline": False, "nticks": 7}
    if ends is not None:
        margin = 0.02 * (ends[1] - ends[0])
        axis["range"] = [ends[0] - margin, ends[1] + margin]
    if share:
        axis["tickformat"] = ".0%" if ends is None or ends[1] - ends[0] > 0.05 else ".1~%"
    layout = {"xaxis": axis, "yaxis": _names_axis(names), "showlegend": False, "hovermode": "closest"}
    return Figure(title, alt, figure_spec(data, layout), note=note, height=_AROUND + row * len(names))


def _names_axis(names: Sequence[str]) -> dict[str, Any]:
    """Return the upright axis: a name for each row, and a thin line between two rows."""
    between = [at - 0.5 for at in range(1, len(names))]
    return {
        "tickmode": "array",
        "tickvals": list(range(len(names))),
        "ticktext": [_broken(name) for name in names],
        "range": [len(names) - 0.5, -0.5],
        "showgrid": False,
        "zeroline": False,
        "minor": {"tickmode": "array", "tickvals": between, "showgrid": True},
    }


def _marks(
    mark: Mark, names: Sequence[str], scale: float, shift: float, hover: str, floor: float | None
) -> list[go.Scatter]:
    """Return the marks of one kind, and those that lie below the floor as arrows at it."""
    known = [(at, _times(scale, one)) for at, one in enumerate(mark.values) if one and value_of(one) is not None]
    below = [pair for pair in known if floor is not None and (value_of(pair[1]) or 0.0) < floor]
    found = [_scatter(mark, names, [pair for pair in known if pair not in below], shift, hover)]
    if below and floor is not None:
        arrows = _scatter(replace(mark, symbol=_ARROW), names, below, shift, hover)
        found.append(arrows.update(x=[floor] * len(below), error_x=None))
    return found


def _scatter(
    mark: Mark, names: Sequence[str], known: Sequence[tuple[int, Interval]], shift: float, hover: str
) -> go.Scatter:
    values = [value_of(one) or 0.0 for _, one in known]
    return go.Scatter(
        x=values,
        y=[at + shift for at, _ in known],
        name=plain(mark.name),
        mode="markers",
        marker={"size": mark.size, "symbol": mark.symbol, "line": {"width": 2 * mark.symbol.endswith("open")}},
        error_x={**error_bars([one for _, one in known], values), "width": 0},
        customdata=[plain(names[at]) for at, _ in known],
        text=[percent(value) for value in values],
        meta={"colour": mark.colour},
        hovertemplate=f"{hover}<extra>%{{fullData.name}}</extra>",
    )


def _times(scale: float, one: Interval) -> Interval:
    value, low, high = (None if end is None else scale * end for end in (one.value, one.low, one.high))
    return Interval(value=value, low=low, high=high, n=one.n)


def _level(level: Level, rows: int, scale: float) -> go.Scatter:
    return go.Scatter(
        x=[scale * level.at, scale * level.at],
        y=[-0.5, rows - 0.5],
        name=plain(level.name),
        mode="lines",
        line={"width": 1.5, "dash": level.dash},
        hoverinfo="skip",
        meta={"colour": level.colour},
    )


def _broken(name: str) -> str:
    """Return a row's name in two lines at most; a line break in it stays."""
    if "\n" in name:
        return "<br>".join(textwrap.shorten(plain(part), _LETTERS, placeholder=_CUT) for part in name.split("\n"))
    lines = textwrap.wrap(plain(name), _LETTERS, break_long_words=True, max_lines=_LINES, placeholder=_CUT)
    return "<br>".join(lines)
