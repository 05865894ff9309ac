"""Figures of text classifiers under attack: clean against attacked accuracy, and the entropy that a gate sees."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from understudy.report._adapt_read import CLEAN, AdaptersRecord
from understudy.report._adapt_tables import protocols
from understudy.report._adapt_words import (
    ADAPTIVE,
    STATIC,
    beside_adaptive,
    mean_of,
    method_colour,
    method_label,
    rows_beside,
    slot_colour,
    slot_label,
)
from understudy.report._audit_figures import plain
from understudy.report._audit_labels import Dot, label_sides
from understudy.report._figures import Figure, figure_spec
from understudy.report._format import finite, percent
from understudy.report._words import value_of

_PIXELS = (300.0, 300.0)
"""Size for which labels are placed: on a telephone; where there is more room they are farther apart."""
_LEAST = 0.04
"""An axis shows four points or more, so that chance does not fill the figure."""
_HEIGHT = 400
_BINS = 20
"""Most bins of a histogram; a record has finer ones, of which those that are filled are put together."""
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
Ends = tuple[float, float]
Legend = list[tuple[str, str, str]]


def trade_legend(record: AdaptersRecord) -> Legend:
    """Return what the marks of the trade-off mean."""
    marks = [("static: attacked beforehand", "ink", "ring"), ("adaptive: attacked itself", "ink", "dot")]
    return marks[: len(protocols(record))]


def trade_figure(record: AdaptersRecord) -> Figure | None:
    """Return the mean of clean and attacked accuracy over clean accuracy: a ring (static) and a dot (adaptive) each.

    A line joins them where both count the same sentences. None where no method has both numbers.
    """
    dots = [dot for method in record.scored if (dot := _dot(record, method.key)) is not None]
    if not dots:
        return None
    keys = [method.key for method in record.scored if _dot(record, method.key) is not None]
    across, up = _axis([dot.x for dot in dots]), _axis([end for dot in dots for end in (dot.low, dot.high)])
    sides = label_sides([_in_pixels(dot, across, up) for dot in dots], width=_PIXELS[0])
    data = [
        trace for key, dot, side in zip(keys, dots, sides, strict=True) for trace in _traces(record, key, dot, side)
    ]
    layout = {
        "xaxis": {**_shares(across), "title": {"text": "clean accuracy"}, "nticks": 8},
        "yaxis": {**_shares(up), "title": {"text": "mean of clean and attacked"}},
        "showlegend": False,
        "hovermode": "closest",
    }
    best = max(dots, key=lambda dot: dot.y)
    alt = f"Mean of clean and attacked accuracy over clean; static, {best.label} is highest at {percent(best.y)}"
    title = "Mean of clean and attacked accuracy over clean accuracy"
    return Figure(title, alt, figure_spec(data, layout), note=_counted(record), height=_HEIGHT)


def _counted(record: AdaptersRecord) -> str:
    """Return on how many sentences the protocols of a figure count accuracy under attack."""
    found = [(name, rows_beside(record, name)) for name in protocols(record) if rows_beside(record, name)]
    if len(found) > 1 and beside_adaptive(record) != "static_mean":
        return f"static and adaptive on the same {found[0][1]}"
    return ", ".join(f"{name} on {rows}" for name, rows in found)


def _dot(record: AdaptersRecord, key: str) -> Dot | None:
    """Return the place of a method: its static mean over its clean accuracy, with a bar down to the adaptive one."""
    clean = value_of(record.of(key).clean)
    static, adaptive = (value_of(mean_of(record, key, name)) for name in (STATIC, ADAPTIVE))
    if clean is None or static is None:
        return None
    ends = [static, static if adaptive is None else adaptive]
    return Dot(method_label(record, key), clean, static, min(ends), max(ends))


def _axis(values: Sequence[float]) -> Ends:
    middle, span = (max(values) + min(values)) / 2, max(max(values) - min(values), _LEAST)
    return max(middle - 0.62 * span, -0.02), min(middle + 0.62 * span, 1.02)


def _shares(ends: Ends) -> dict[str, Any]:
    """Return an axis of shares between two ends; a short one has tenths of a per cent."""
    return {"range": list(ends), "tickformat": ".0%" if ends[1] - ends[0] > 0.06 else ".1~%", "zeroline": False}


def _in_pixels(dot: Dot, across: Ends, up: Ends) -> Dot:
    x = (dot.x - across[0]) / (across[1] - across[0]) * _PIXELS[0]
    y, low, high = ((value - up[0]) / (up[1] - up[0]) * _PIXELS[1] for value in (dot.y, dot.low, dot.high))
    return Dot(dot.label, x, y, low, high)


def _traces(record: AdaptersRecord, key: str, dot: Dot, side: str) -> list[Any]:
    """Return a line between both protocols, the ring of one with its label, and the dot of the other."""
    colour, adaptive = method_colour(record, key), value_of(mean_of(record, key, ADAPTIVE)) is not None
    joined = adaptive and rows_beside(record, STATIC) == rows_beside(record, ADAPTIVE)
    other = dot.low if dot.y == dot.high else dot.high
    ends = [("circle-open", dot.y, STATIC), ("circle", other, ADAPTIVE)]
    line = go.Scatter(
        x=[dot.x, dot.x],
        y=[dot.y, other],
        mode="lines",
        line={"width": 1.5, "dash": "dot"},
        hoverinfo="skip",
        meta={"colour": colour},
    )
    marks = [
        go.Scatter(
            x=[dot.x],
            y=[y],
            text=[plain(dot.label)] if name == STATIC else None,
            name=f"{plain(dot.label)}, {name}",
            mode="markers+text" if name == STATIC else "markers",
            textposition=side if name == STATIC else None,
            marker={"size": 10, "symbol": symbol, "line": {"width": 2 * symbol.endswith("open")}},
            meta={"colour": colour},
            hovertemplate="%{y:.1%} on average, %{x:.1%} clean<extra>%{fullData.name}</extra>",
        )
        for symbol, y, name in ends[: 1 + adaptive]
    ]
    return [*([line] if joined else []), *marks]


def entropy_figure(record: AdaptersRecord) -> Figure | None:
    """Return how the entropy of the clean adapter's predictions is spread, for each kind of text."""
    profile = record.profile
    if profile is None or len(profile.bins) < 2:
        return None
    edges = [finite(edge) or 0.0 for edge in profile.bins]
    kinds = {name: counts for name, counts in profile.entropy.items() if len(counts) == len(edges) - 1 and any(counts)}
    if not kinds:
        return None
    edges, shown = _fitted(edges, kinds)
    data = [
        go.Scatter(
            # The last edge once more, so that the step of the last bin is drawn to its end.
            x=edges,
            y=[many / math.fsum(counts) for many in (*counts, counts[-1])],
            name=plain(_kind(record, name)),
            mode="lines",
            line={"width": 2, "shape": "hv", "dash": _DASHES[at % len(_DASHES)]},
            meta={"colour": slot_colour(record, name)},
            hovertemplate="%{y:.1%}<extra>%{fullData.name}</extra>",
        )
        for at, (name, counts) in enumerate(shown.items())
    ]
    layout = {
        "xaxis": {
            "title": {"text": "entropy of its prediction (nats)"},
            "zeroline": False,
            "range": [edges[0], edges[-1]],
        },
        "yaxis": {"title": {"text": "share of the sentences"}, "tickformat": ".0%", "rangemode": "tozero"},
        "showlegend": len(data) > 1,
    }
    title = "How unsure the clean adapter is"
    alt = f"{title}, by kind of text: {', '.join(_kind(record, name) for name in shown)}"
    return Figure(title, alt, figure_spec(data, layout), height=330)


def _fitted(edges: Sequence[float], kinds: Mapping[str, Sequence[float]]) -> tuple[list[float], dict[str, list[float]]]:
    """Return the bins that hold anything, as many as can be told apart, and what lies in each of them."""
    filled = [at for at in range(len(edges) - 1) if any(counts[at] for counts in kinds.values())]
    first, last = filled[0], filled[-1] + 1
    step = math.ceil((last - first) / _BINS)
    starts = range(first, last, step)
    shown = {name: [math.fsum(counts[at : min(at + step, last)]) for at in starts] for name, counts in kinds.items()}
    return [*(edges[at] for at in starts), edges[last]], shown


def _kind(record: AdaptersRecord, name: str) -> str:
    return "Clean text" if name == CLEAN else slot_label(record, name)
