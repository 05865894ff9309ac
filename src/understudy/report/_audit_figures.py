"""Figures of an audit: quality over queries between the controls and the target, and the trades of the defences."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from understudy.report._audit_labels import Dot, label_sides
from understudy.report._audit_numbers import NO_DEFENCE, Group, Trade, control, groups
from understudy.report._audit_read import FIDELITY, AuditRecord
from understudy.report._audit_words import MEASURE_HELP, method_name, score_text
from understudy.report._figures import Figure, figure_spec
from understudy.report._format import count, finite
from understudy.report._read import Interval
from understudy.report._words import value_of

METHOD_COLOURS = ("c1", "c3", "c4", "c5", "c7", "c8")
_SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "star")
BANDS = (("Target", "ink", "solid"), ("No-query control", "c2", "dash"), ("Untrained network", "c6", "dot"))
"""Horizontal bands: name, colour word, line."""
_PIXELS = (330.0, 250.0)
"""Size for which labels are placed: on a telephone; where there is more room they are farther apart."""
_APART = 1.5
"""Ticks of the axis of queries are at least this factor apart, unless they are budgets."""
_ARMS = (("array", 1), ("arrayminus", -1))


def method_colour(record: AuditRecord, method: str) -> str:
    """Return a method's colour word, the same in every figure and table of the page."""
    return METHOD_COLOURS[record.methods.index(method) % len(METHOD_COLOURS)]


def quality_figure(
    record: AuditRecord, defence: str, probe: str, measure: str, *, title: str, noted: bool = True
) -> Figure | None:
    """Return one measure over queries, a curve for each method, with target and controls as bands.

    None where no run under the defence took the measure.
    """
    mine = [group for group in groups(record) if group.defence == defence and group.score(probe, measure)]
    if not any(group.queries for group in mine):
        return None
    curves = [_curve(record, mine, method, probe, measure) for method in record.methods]
    drawn = [one for one in curves if one is not None]
    queries = [group.queries for group in mine if group.queries > 0]
    low, high = 0.75 * min(queries, default=1), 1.33 * max(queries, default=1)
    data = [*_bands(record, probe, measure, (low, high)), *drawn]
    ticks = _ticks(record.budgets, queries, low, high)
    layout = {
        "xaxis": {
            "type": "log",
            "title": {"text": "queries (logarithmic)"},
            "tickmode": "array",
            "tickvals": ticks,
            "ticktext": [count(tick) for tick in ticks],
            "zeroline": False,
        },
        "yaxis": {"tickformat": ".2~f" if measure == FIDELITY else ".1~%", "zeroline": False},
        "showlegend": False,
        "hovermode": "closest",
    }
    names = ", ".join(method_name(method) for method in record.methods)
    alt = f"{title} over queries, {defence}, on {probe}: {names}; the tables have all numbers"
    return Figure(title, alt, figure_spec(data, layout), note=MEASURE_HELP.get(measure, "") if noted else "")


def trade_figure(found: Sequence[Trade]) -> Figure | None:
    """Return the copier's gain over the honest client's loss, a labelled dot for each defence; in points."""
    known = [
        (trade, 100 * gain, 100 * trade.honest_loss)
        for trade in found
        if (gain := value_of(trade.gain)) is not None and trade.honest_loss is not None
    ]
    if len(known) < 2:
        return None
    losses, gains = [loss for _, _, loss in known], [gain for _, gain, _ in known]
    bars = [_bar(trade.gain, gain) for trade, gain, _ in known]
    ends = [gain + sign * bar[side][0] for gain, bar in zip(gains, bars, strict=True) for side, sign in _ARMS]
    wide, high = max(max(losses) - min(*losses, 0), 2.0), max(max(ends) - min(ends), 2.0)
    left, right = min(*losses, 0) - 0.15 * wide, max(losses) + 0.15 * wide
    data = [
        go.Scatter(
            x=[loss],
            y=[gain],
            text=[_plain(trade.defence)],
            name=_plain(trade.defence),
            mode="markers+text",
            textposition=side,
            marker={"size": 10, "symbol": "circle-open" if trade.copier_loss is None else "circle"},
            error_y=bar,
            meta={"colour": "ink" if trade.copier_loss is None else "student"},
            hovertemplate="copier gains %{y:.1f}, honest client loses %{x:.1f} points<extra>%{fullData.name}</extra>",
        )
        for (trade, gain, loss), bar, side in zip(known, bars, _sides(known, bars, (left, right), ends), strict=True)
    ]
    fair = next((gain for trade, gain, _ in known if trade.defence == NO_DEFENCE), None)
    if fair is not None:
        data.insert(0, _fair_line(fair, right, min(ends) - 0.05 * high))
    layout = {
        "xaxis": {"title": {"text": "an honest client loses (points)"}, "zeroline": True, "range": [left, right]},
        "yaxis": {"title": {"text": "the best copier gains (points)"}, "zeroline": True},
        "showlegend": False,
        "hovermode": "closest",
    }
    alt = "For each defence, what an honest client loses and what the best copier gains; the table has the numbers"
    return Figure("The best copier's gain, and an honest client's loss", alt, figure_spec(data, layout))


def _fair_line(gain: float, right: float, bottom: float) -> go.Scatter:
    """Return the line on which the copier loses exactly what an honest client loses."""
    end = min(right, gain - bottom)
    return go.Scatter(
        x=[0, end],
        y=[gain, gain - end],
        mode="lines",
        line={"width": 1.5, "dash": "dot"},
        hoverinfo="skip",
        meta={"colour": "muted"},
    )


def _curve(record: AuditRecord, mine: Sequence[Group], method: str, probe: str, measure: str) -> go.Scatter | None:
    found = [(group, score) for group in mine if group.method == method and (score := group.score(probe, measure))]
    own = sorted(((group, score) for group, score in found if value_of(score) is not None), key=lambda p: p[0].queries)
    if not own:
        return None
    at = record.methods.index(method)
    values = [value_of(score) or 0.0 for _, score in own]
    return go.Scatter(
        x=[group.queries for group, _ in own],
        y=values,
        name=_plain(method_name(method)),
        mode="lines+markers",
        line={"width": 2},
        marker={"size": 8, "symbol": _SYMBOLS[at % len(_SYMBOLS)]},
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [
                max((finite(score.high) or value) - value, 0) for (_, score), value in zip(own, values, strict=True)
            ],
            "arrayminus": [value - (finite(score.low) or value) for (_, score), value in zip(own, values, strict=True)],
            "thickness": 1,
            "width": 3,
        },
        customdata=[score_text(value, measure) for value in values],
        meta={"colour": method_colour(record, method)},
        hovertemplate="%{customdata} with %{x:,d} queries<extra>%{fullData.name}</extra>",
    )


def _bands(record: AuditRecord, probe: str, measure: str, ends: tuple[float, float]) -> list[Any]:
    target = record.target_scores.get(probe, {}).get(measure)
    if measure == FIDELITY:
        target = Interval(value=1.0, low=1.0, high=1.0)
    levels = (
        target,
        control(record.controls.no_query, probe, measure),
        control(record.controls.random, probe, measure),
    )
    drawn: list[Any] = []
    for (name, colour, dash), level in zip(BANDS, levels, strict=True):
        value = value_of(level)
        if level is None or value is None:
            continue
        low, high = finite(level.low), finite(level.high)
        if low is not None and high is not None and high > low:
            drawn.append(
                go.Scatter(
                    x=[*ends, *reversed(ends)],
                    y=[low, low, high, high],
                    fill="toself",
                    mode="lines",
                    line={"width": 0},
                    opacity=0.3,
                    hoverinfo="skip",
                    meta={"colour": colour},
                )
            )
        drawn.append(
            go.Scatter(
                x=list(ends),
                y=[value, value],
                name=name,
                mode="lines",
                line={"width": 1.5, "dash": dash},
                meta={"colour": colour},
                hovertemplate=f"{score_text(value, measure)}<extra>{name}</extra>",
            )
        )
    return drawn


def _ticks(budgets: Sequence[int], queries: Sequence[float], low: float, high: float) -> list[int]:
    """Return the budgets in sight, and what methods asked otherwise where there is room for it."""
    ticks = [budget for budget in sorted(set(budgets)) if low <= budget <= high]
    for asked in sorted({round(one) for one in queries}):
        if all(max(asked, tick) > _APART * min(asked, tick) for tick in ticks):
            ticks.append(asked)
    return sorted(ticks)


def _sides(
    known: Sequence[tuple[Trade, float, float]],
    bars: Sequence[dict[str, Any]],
    across: tuple[float, float],
    ends: Sequence[float],
) -> list[str]:
    """Return on which side of its dot each label stands."""
    wide, high = _PIXELS
    low, span = min(ends), max(max(ends) - min(ends), 1e-9)
    dots = []
    for (trade, gain, loss), bar in zip(known, bars, strict=True):
        low_end, high_end = gain - bar["arrayminus"][0], gain + bar["array"][0]
        heights = [(value - low) / span * high for value in (gain, low_end, high_end)]
        dots.append(Dot(trade.defence, (loss - across[0]) / (across[1] - across[0]) * wide, *heights))
    return label_sides(dots, width=wide)


def _bar(interval: Interval | None, value: float) -> dict[str, Any]:
    """Return the vertical bar of a gain in points."""
    low, high = (None, None) if interval is None else (finite(interval.low), finite(interval.high))
    up, down = (0.0 if high is None else 100 * high - value), (0.0 if low is None else value - 100 * low)
    return {
        "type": "data",
        "symmetric": False,
        "array": [max(up, 0.0)],
        "arrayminus": [max(down, 0.0)],
        "thickness": 1,
        "width": 0,
    }


def _plain(text: str) -> str:
    """Return a text without the signs that plotly reads as markup or as a placeholder."""
    return text.replace("<", "").replace(">", "").replace("%{", "")
