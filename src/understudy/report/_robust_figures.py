"""Figures of an evaluation under attack: what is left as the change may grow, and class by class."""

from collections.abc import Sequence

import plotly.graph_objects as go

from understudy.report._audit_figures import plain
from understudy.report._figures import Figure, Series, dot_figure, error_bars, figure_spec
from understudy.report._format import percent
from understudy.report._robust_read import RobustRecord, Sweep, SweepPoint
from understudy.report._robust_words import (
    attack_name,
    class_name,
    epsilon_text,
    model_colour,
    model_name,
    norm_text,
)
from understudy.report._words import value_of

_SYMBOLS = ("circle", "diamond", "square", "triangle-up")
_TICKS = 6
"""About the most sizes that are written under the curve."""


def epsilon_figure(record: RobustRecord) -> Figure | None:
    """Return the share that stays right over the size of the change, a curve for each network; None without two."""
    curves = {key: _points(sweep) for key, sweep in record.sweep.items()}
    drawn = {key: points for key, points in curves.items() if key in record.models and len(points) > 1}
    if not drawn:
        return None
    end = _end(list(drawn.values()), record.threat.epsilon)
    drawn = {key: [point for point in points if point.epsilon <= end] for key, points in drawn.items()}
    data = [_curve(record, key, points, at) for at, (key, points) in enumerate(drawn.items())]
    sizes = sorted({size for points in drawn.values() for size in (point.epsilon for point in points)})
    data.append(_threat_line(record))
    ticks = _ticks(sizes, record.threat.epsilon)
    layout = {
        "xaxis": {
            "title": {"text": f"size of the change that is allowed ({norm_text(record.threat)})"},
            "tickmode": "array",
            "tickangle": 0,
            "tickvals": ticks,
            "ticktext": ["0" if size == 0 else epsilon_text(record.threat, size) for size in ticks],
            "zeroline": False,
        },
        "yaxis": {"tickformat": ".0%", "rangemode": "tozero"},
        "showlegend": len(drawn) > 1,
        "hovermode": "closest",
    }
    names = ", ".join(model_name(record, key) for key in drawn)
    attacks = list(dict.fromkeys(attack_name(record, record.sweep[key].attack) for key in drawn))
    title = f"Share of images that stay right under {' and '.join(filter(None, attacks)) or 'attack'}"
    return Figure(title, f"{title}, by the size of the change: {names}", figure_spec(data, layout))


def _points(sweep: Sweep) -> list[SweepPoint]:
    return sorted((point for point in sweep.points if value_of(point.robust) is not None), key=lambda p: p.epsilon)


def _end(curves: Sequence[Sequence[SweepPoint]], threat: float) -> float:
    """Return the size at which no curve has anything left, beyond which there is nothing to see; else the last."""
    ends = [next((point.epsilon for point in points if not value_of(point.robust)), None) for points in curves]
    last = max(point.epsilon for points in curves for point in points)
    return max([threat, *(last if end is None else end for end in ends)])


def _curve(record: RobustRecord, key: str, points: Sequence[SweepPoint], at: int) -> go.Scatter:
    values = [value_of(point.robust) or 0.0 for point in points]
    return go.Scatter(
        x=[point.epsilon for point in points],
        y=values,
        name=plain(model_name(record, key)),
        mode="lines+markers",
        line={"width": 2},
        marker={"size": 7, "symbol": _SYMBOLS[at % len(_SYMBOLS)]},
        error_y=error_bars([point.robust for point in points], values),
        customdata=[epsilon_text(record.threat, point.epsilon) if point.epsilon else "0" for point in points],
        meta={"colour": model_colour(record, key)},
        hovertemplate="%{y:.1%} at %{customdata}<extra>%{fullData.name}</extra>",
    )


def _threat_line(record: RobustRecord) -> go.Scatter:
    """Return the size at which the rest of the page counts, as an upright line."""
    size = record.threat.epsilon
    return go.Scatter(
        x=[size, size],
        y=[0, 1],
        mode="lines",
        line={"width": 1.5, "dash": "dot"},
        showlegend=False,
        hoverinfo="skip",
        meta={"colour": "muted"},
    )


def _ticks(sizes: Sequence[float], threat: float) -> list[float]:
    """Return the sizes to write down: all of them, or evenly some, and always the threat's own and the last."""
    least = (sizes[-1] - sizes[0]) / _TICKS
    kept = [size for size in (threat, sizes[-1]) if size in sizes]
    for size in sizes:
        if all(abs(size - other) >= least for other in kept):
            kept.append(size)
    return sorted(set(kept))


def classes_figure(record: RobustRecord) -> Figure | None:
    """Return the shares of each class that stay right as they are and in the worst case, for the page's network."""
    scores = record.scores.get(record.subject)
    if scores is None or len(scores.per_class) < 2:
        return None
    names = [class_name(record, one.name) for one in scores.per_class]
    if len(set(names)) < len(names):
        names = [str(at) for at in range(len(names))]
    groups = [
        Series("No attack", "c3", [], [value_of(one.clean) for one in scores.per_class]),
        Series("Worst case", "c5", [], [value_of(one.worst) for one in scores.per_class]),
    ]
    return dot_figure("Right by class", names, groups, x_title="class")


def class_sentence(record: RobustRecord) -> str:
    """Return which class is the weakest and which the strongest; empty with fewer than two."""
    scores = record.scores.get(record.subject)
    found = [(value_of(one.worst), class_name(record, one.name)) for one in (scores.per_class if scores else [])]
    known = [(value, name) for value, name in found if value is not None]
    if len(known) < 2 or min(known)[0] == max(known)[0]:
        return ""
    (low, weakest), (high, strongest) = min(known), max(known)
    said = f"The weakest class is {weakest}, of which {percent(low)} of the images stay right in the worst case; "
    return f"{said}the strongest is {strongest} with {percent(high)}."
