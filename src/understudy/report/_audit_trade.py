"""What defences take, and from whom: the best copier's gain over an honest client's loss."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from understudy.report._audit_figures import plain
from understudy.report._audit_labels import Dot, label_sides
from understudy.report._audit_numbers import NO_DEFENCE, Trade
from understudy.report._figures import Figure, figure_spec
from understudy.report._format import finite
from understudy.report._words import value_of

_PIXELS = (330.0, 250.0)
"""Size for which labels are placed: on a telephone; where there is more room they are farther apart."""
_LEAST = 2.0
"""An axis shows two points or more, so that chance does not fill the figure."""
Ends = tuple[float, float]


def trade_figure(found: Sequence[Trade]) -> Figure | None:
    """Return the copier's gain over the honest client's loss, a labelled dot for each defence; in points.

    None where fewer than two defences have both.
    """
    dots = [_dot(trade) for trade in found if value_of(trade.gain) is not None and trade.honest_loss is not None]
    if len(dots) < 2:
        return None
    across = _axis([dot.x for dot in dots] + [0.0])
    up = _axis([end for dot in dots for end in (dot.low, dot.high)])
    sides = label_sides([_in_pixels(dot, across, up) for dot in dots], width=_PIXELS[0])
    data = [_scatter(dot, side) for dot, side in zip(dots, sides, strict=True)]
    data = [*(_fair_line(dot, across, up) for dot in dots if dot.label == NO_DEFENCE), *data]
    layout = {
        "xaxis": {"title": {"text": "an honest client loses (points)"}, "range": list(across)},
        "yaxis": {"title": {"text": "the best copier gains (points)"}, "range": list(up)},
        "showlegend": False,
        "hovermode": "closest",
    }
    alt = "For each defence, what an honest client loses and what the best copier gains; the table has the numbers"
    return Figure("The best copier's gain, and an honest client's loss", alt, figure_spec(data, layout))


def _dot(trade: Trade) -> Dot:
    """Return the place of a defence, in points."""
    gain, loss = 100 * (value_of(trade.gain) or 0.0), 100 * (trade.honest_loss or 0.0)
    low, high = (finite(end) for end in (trade.gain.low, trade.gain.high)) if trade.gain else (None, None)
    return Dot(trade.defence, loss, gain, gain if low is None else 100 * low, gain if high is None else 100 * high)


def _axis(values: Sequence[float]) -> Ends:
    middle, span = (max(values) + min(values)) / 2, max(max(values) - min(values), _LEAST)
    return middle - 0.64 * span, middle + 0.64 * span


def _in_pixels(dot: Dot, across: Ends, up: Ends) -> Dot:
    x = (dot.x - across[0]) / (across[1] - across[0]) * _PIXELS[0]
    y, low, high = ((value - up[0]) / (up[1] - up[0]) * _PIXELS[1] for value in (dot.y, dot.low, dot.high))
    return Dot(dot.label, x, y, low, high)


def _scatter(dot: Dot, side: str) -> go.Scatter:
    none = dot.label == NO_DEFENCE
    bar: dict[str, Any] = {"type": "data", "symmetric": False, "thickness": 1, "width": 0}
    return go.Scatter(
        x=[dot.x],
        y=[dot.y],
        text=[plain(dot.label)],
        name=plain(dot.label),
        mode="markers+text",
        textposition=side,
        marker={"size": 10, "symbol": "circle-open" if none else "circle"},
        error_y={**bar, "array": [max(dot.high - dot.y, 0.0)], "arrayminus": [max(dot.y - dot.low, 0.0)]},
        meta={"colour": "ink" if none else "student"},
        hovertemplate="copier gains %{y:.1f}, honest client loses %{x:.1f} points<extra>%{fullData.name}</extra>",
    )


def _fair_line(none: Dot, across: Ends, up: Ends) -> go.Scatter:
    """Return the line on which the copier loses exactly what an honest client loses, inside the figure."""
    end = min(across[1], none.y - up[0])
    return go.Scatter(
        x=[0, end],
        y=[none.y, none.y - end],
        mode="lines",
        line={"width": 1.5, "dash": "dot"},
        hoverinfo="skip",
        meta={"colour": "muted"},
    )
