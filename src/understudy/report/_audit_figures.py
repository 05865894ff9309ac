"""Quality over queries: a curve for each method, between the target and the controls."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from understudy.report._audit_numbers import Group, control, groups
from understudy.report._audit_read import FIDELITY, AuditRecord
from understudy.report._audit_words import MEASURE_HELP, score_text
from understudy.report._figures import Figure, error_bars, figure_spec
from understudy.report._format import count, finite
from understudy.report._read import Interval
from understudy.report._words import method_name, value_of

METHOD_COLOURS = ("c1", "c3", "c4", "c5", "c7", "c8")
_SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "star")
BANDS = (("Target", "ink", "solid"), ("No-query control", "c2", "dash"), ("Untrained network", "c6", "dot"))
"""Horizontal bands: name, colour word, line."""
_APART = 1.5
"""Ticks of the axis of queries are at least this factor apart, unless they are budgets."""


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
        name=plain(method_name(method)),
        mode="lines+markers",
        line={"width": 2},
        marker={"size": 8, "symbol": _SYMBOLS[at % len(_SYMBOLS)]},
        error_y=error_bars([score for _, score in own], values),
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
                    opacity=0.2,
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


def plain(text: str) -> str:
    """Return a text without the signs that plotly reads as markup or as a placeholder."""
    return text.replace("<", "").replace(">", "").replace("%{", "")
