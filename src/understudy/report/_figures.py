"""Figures as values: plotly data and layout without colours, which the page fills in."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from understudy.report._format import finite
from understudy.report._read import Interval

_POINTS = 1000
"""Most points drawn of one curve; a longer one is thinned evenly."""
_SYMBOLS = (("circle-open", 14), ("circle", 8), ("diamond", 8))
"""Marks and their sizes: the first is a ring around the second where both fall together."""
_LABELLED = 12
"""Most classes for which a confusion matrix shows its counts."""


@dataclass(frozen=True)
class Series:
    """One curve: its legend, a colour word of the page (`student`, `c3`), steps and values."""

    name: str
    colour: str
    x: Sequence[int]
    y: Sequence[float | None]
    dash: str = "solid"


@dataclass(frozen=True)
class Figure:
    """A plotly figure with the words around it; `tall` figures are as high as wide, others may state a height in px."""

    title: str
    alt: str
    spec: dict[str, Any]
    note: str = ""
    tall: bool = False
    height: int | None = None


def line_figure(
    title: str, series: Sequence[Series], *, x_title: str, share: bool = False, legend: bool = True
) -> Figure:
    """Return curves over steps; on a logarithmic axis where they are positive and span over two decades.

    Args:
        title: heading of the figure.
        series: the curves; gaps where a value is missing.
        x_title: what the horizontal axis counts.
        share: values are shares in [0, 1] and are shown in per cent.
        legend: whether the figure names its curves, if there is more than one.
    """
    thinned = [_thin(one) for one in series]
    log = not share and spans_decades(series)
    unit = "%{y:.1%}" if share else "%{y:.4g}"
    data = [
        go.Scatter(
            x=list(one.x),
            y=[finite(value) for value in one.y],
            name=one.name,
            mode="lines+markers" if len(one.x) <= 30 else "lines",
            line={"width": 2, "dash": one.dash},
            marker={"size": 4},
            meta={"colour": one.colour},
            hovertemplate=f"{unit}<extra>%{{fullData.name}}</extra>",
        )
        for one in thinned
    ]
    y_axis: dict[str, Any] = {"type": "linear"}
    if log:
        # Powers are drawn a quarter larger than other labels.
        y_axis = {"type": "log", "dtick": 1, "exponentformat": "power", "tickfont": {"size": 10}}
    elif share:
        y_axis["tickformat"] = ".0%"
    layout = {
        "xaxis": {"title": {"text": x_title}, "zeroline": False},
        "yaxis": y_axis,
        "showlegend": legend and len(series) > 1,
    }
    longest = max((len(one.x) for one in series), default=0)
    notes = ["logarithmic scale"] if log else []
    if longest > _POINTS:
        notes.append(f"evenly thinned, from {longest:,} points")
    names = ", ".join(one.name for one in series)
    return Figure(title, f"{title} over {x_title}: {names}", figure_spec(data, layout), note="; ".join(notes))


def dot_figure(title: str, categories: Sequence[str], groups: Sequence[Series], *, x_title: str) -> Figure:
    """Return a dot for each category and group; shares in [0, 1]. The `x` of the series is not used.

    Dots, not bars: their axis may begin above zero, where the differences are.
    """
    data = [
        go.Scatter(
            x=list(categories),
            y=[finite(value) for value in group.y],
            name=group.name,
            mode="markers",
            marker={"size": width, "symbol": symbol, "line": {"width": 2 * symbol.endswith("open")}},
            meta={"colour": group.colour},
            hovertemplate="%{y:.1%}<extra>%{fullData.name}</extra>",
        )
        for group, (symbol, width) in zip(groups, _SYMBOLS * len(groups), strict=False)
    ]
    known = [value for group in groups for value in map(finite, group.y) if value is not None]
    layout = {
        "xaxis": {"title": {"text": x_title}, "type": "category"},
        "yaxis": {"tickformat": ".0%"},
        "showlegend": len(groups) > 1,
    }
    names = " and ".join(group.name for group in groups)
    alt = f"{title} of {names}; the lowest is {min(known, default=0.0):.1%}"
    return Figure(title, alt, figure_spec(data, layout))


def confusion_figure(title: str, confusion: Sequence[Sequence[int]], classes: Sequence[str], colour: str) -> Figure:
    """Return a confusion matrix: rows are true classes, columns predicted ones, cells show counts.

    The shade follows the square root of the share of the row, so that rare mistakes can be seen.
    """
    totals = [sum(row) or 1 for row in confusion]
    shares = [[cell / total for cell in row] for row, total in zip(confusion, totals, strict=True)]
    small = len(classes) <= _LABELLED
    data = [
        go.Heatmap(
            z=[[share**0.5 for share in row] for row in shares],
            x=list(classes),
            y=list(classes),
            text=[[str(cell) if cell and small else "" for cell in row] for row in confusion],
            texttemplate="%{text}" if small else None,
            customdata=[
                [[cell, share] for cell, share in zip(row, part, strict=True)]
                for row, part in zip(confusion, shares, strict=True)
            ],
            hovertemplate="true %{y}, predicted %{x}<br>"
            "%{customdata[0]} (%{customdata[1]:.1%} of the row)<extra></extra>",
            zmin=0,
            zmax=1,
            showscale=False,
            xgap=1,
            ygap=1,
            meta={"colour": colour},
        )
    ]
    axis = {"type": "category", "showgrid": False, "zeroline": False, "automargin": True}
    layout = {
        "xaxis": {**axis, "title": {"text": "predicted"}, "constrain": "domain"},
        "yaxis": {**axis, "title": {"text": "true"}, "autorange": "reversed", "scaleanchor": "x"},
        "showlegend": False,
    }
    right = sum(confusion[at][at] for at in range(len(confusion)))
    total = sum(sum(row) for row in confusion)
    return Figure(title, f"{title}: {right} of {total} on the diagonal", figure_spec(data, layout), tall=True)


def error_bars(intervals: Sequence[Interval | None], values: Sequence[float]) -> dict[str, Any]:
    """Return plotly's bars for the intervals around values; of no length where an end is not known."""
    ends = [(finite(one.low), finite(one.high)) if one else (None, None) for one in intervals]
    return {
        "type": "data",
        "symmetric": False,
        "array": [
            max((value if high is None else high) - value, 0.0) for (_, high), value in zip(ends, values, strict=True)
        ],
        "arrayminus": [
            max(value - (value if low is None else low), 0.0) for (low, _), value in zip(ends, values, strict=True)
        ],
        "thickness": 1,
        "width": 3,
    }


def spans_decades(series: Sequence[Series]) -> bool:
    """Return whether all values are positive and span more than two decades."""
    values = [value for one in series for value in map(finite, one.y) if value is not None]
    return bool(values) and min(values) > 0 and max(values) > 100 * min(values)


def _thin(series: Series) -> Series:
    stride = -(-len(series.x) // _POINTS)
    if stride <= 1:
        return series
    kept = sorted({*range(0, len(series.x), stride), len(series.x) - 1})
    return Series(series.name, series.colour, [series.x[at] for at in kept], [series.y[at] for at in kept], series.dash)


def figure_spec(data: list[Any], layout: dict[str, Any]) -> dict[str, Any]:
    """Return traces and layout as plain values, with none of plotly's own colours."""
    plotted: dict[str, Any] = go.Figure(data=data, layout=go.Layout(template=None, **layout)).to_plotly_json()
    return {"data": plotted["data"], "layout": plotted["layout"]}
