"""Figures of a measurement of resistance: plain against best attacker, attacker by attacker, and entropy."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from understudy.report._audit_figures import plain
from understudy.report._figures import Figure, error_bars, figure_spec
from understudy.report._format import finite, percent
from understudy.report._read import Interval
from understudy.report._resist_read import ResistanceRecord, StudentSummary, Teacher
from understudy.report._resist_rows import Level, Mark, rows_figure
from understudy.report._resist_words import (
    PLAIN,
    attack_label,
    headline_student,
    regime_label,
    regimes_in_use,
    students_in,
    teacher_colour,
)
from understudy.report._words import value_of

Legend = list[tuple[str, str, str]]
"""Words, colour word, and kind of the mark (`ring`, `dot`, `cross`) or line (`dashed`, `dotted`)."""

_PROTECTION_LEGEND: Legend = [
    ("plain distillation loses", "teacher", "ring"),
    ("the best attacker loses", "student", "dot"),
    ("the owner pays", "c2", "cross"),
]
ATTACKS_LEGEND: Legend = [
    ("student of the ordinary teacher", "teacher", "ring"),
    ("student of the defended teacher", "student", "dot"),
    ("student trained alone", "c2", "dashed"),
    ("the defended teacher itself", "student", "dotted"),
]
_IN_SIGHT = 0.09
"""Share below the best student that a figure shows at least; further down lie attackers that nobody would use."""
_SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "star")

Row = tuple[str, Interval | None, Interval | None, Interval | None]
"""Name; what plain distillation loses, what the best attacker loses, what the owner pays."""


def protection_legend(record: ResistanceRecord) -> Legend:
    """Return what the marks of the figure of protection mean; without a headline it has no best attacker."""
    return [one for one in _PROTECTION_LEGEND if one[2] != "dot" or not record.headline_missing]


def protection_figure(record: ResistanceRecord) -> Figure | None:
    """Return what plain distillation and the best attacker lose, and what the owner pays, by teacher and regime."""
    rows = [row for teacher in record.defended for row in _protections(record, teacher)]
    if not rows:
        return None
    best = [row[2] for row in rows]
    marks = [
        Mark("plain distillation loses", "teacher", "circle-open", 9, [row[1] for row in rows]),
        *([] if record.headline_missing else [Mark("best attacker loses", "student", "circle", 9, best)]),
        Mark("owner pays", "c2", "x-thin-open", 7, [row[3] for row in rows]),
    ]
    title = "What the attacker loses, and what the owner pays"
    alt = f"{title}, in {len(rows)} rows; the tables have the numbers"
    zero = Level("nothing", "muted", "solid", 0.0)
    names = [row[0] for row in rows]
    x_title = "points of test accuracy"
    return rows_figure(title, names, marks, levels=[zero], x_title=x_title, share=False, alt=alt)


def _protections(record: ResistanceRecord, teacher: Teacher) -> list[Row]:
    """Return a row for each regime, with the student of its headline."""
    summary, many = record.of(teacher.name), len(regimes_in_use(record)) > 1
    found: list[Row] = []
    for name in [name for name in regimes_in_use(record) if name in summary.regimes]:
        regime = summary.regimes[name]
        mine = regime.students.get(headline_student(regime))
        first = mine.plain.protection if mine is not None and mine.plain is not None else None
        best = regime.headline.protection if regime.headline else None
        if value_of(first) is not None or value_of(best) is not None:
            label = f"{teacher.name}\n{regime_label(name)}" if many else teacher.name
            found.append((label, first, best, summary.cost))
    return found


@dataclass(frozen=True)
class _Drawn:
    """What one figure of attackers shows: (attacker, of the ordinary teacher, of the defended one), and lines."""

    teacher: str
    student: str
    rows: Sequence[tuple[str, Interval | None, Interval | None]]
    levels: Sequence[Level]

    @property
    def intervals(self) -> list[Interval]:
        """All that is drawn with a bar."""
        return [one for row in self.rows for one in row[1:] if one is not None and value_of(one) is not None]


def figures_of(record: ResistanceRecord, regime: str, *, headline: bool) -> list[Figure]:
    """Return the figures of one regime on one scale: for each teacher the student of its headline, or all others."""
    drawn = []
    for teacher in record.defended:
        summary = record.of(teacher.name).regimes.get(regime)
        if summary is None or not summary.students:
            continue
        main = headline_student(summary)
        students = [main] if headline else [name for name in summary.students if name != main]
        drawn += [_drawn(record, teacher, summary.students[student], student) for student in students]
    drawn = [one for one in drawn if one.rows]
    if not drawn:
        return []
    several = len(students_in(record, regime)) > 1
    return [_attacks_figure(one, regime, _ends(drawn), several=several) for one in drawn]


def _drawn(record: ResistanceRecord, teacher: Teacher, mine: StudentSummary, student: str) -> _Drawn:
    """Return the attackers of one student, who gets furthest at the top."""
    rows = [(attack_label(record, name), one.ordinary, one.accuracy) for name, one in mine.attacks.items()]
    if mine.plain is not None:
        rows.append((PLAIN, mine.plain.ordinary, mine.plain.defended))
    known = sorted((row for row in rows if value_of(row[2]) is not None), key=lambda row: -(value_of(row[2]) or 0.0))
    return _Drawn(teacher.name, student, known, _levels(record, teacher, mine))


def _attacks_figure(one: _Drawn, regime: str, ends: tuple[float, float], *, several: bool) -> Figure:
    """Return the accuracy of each attacker's student, from the ordinary teacher and from a defended one."""
    marks = [
        Mark("from the ordinary teacher", "teacher", "circle-open", 9, [row[1] for row in one.rows]),
        Mark(f"from {one.teacher}", "student", "circle", 9, [row[2] for row in one.rows]),
    ]
    below = any((value_of(value) or 0.0) < ends[0] for value in one.intervals)
    notes = [one.student] * several + [f"arrows: below {percent(ends[0], 0)}"] * below
    return rows_figure(
        one.teacher,
        [row[0] for row in one.rows],
        marks,
        levels=one.levels,
        x_title="test accuracy of the student",
        share=True,
        alt=f"Students distilled from {one.teacher}, {regime_label(regime)}, attacker by attacker",
        note="; ".join(notes),
        ends=ends,
    )


def _ends(drawn: Sequence[_Drawn]) -> tuple[float, float]:
    """Return where the axis of figures that are compared begins and ends, in whole per cent.

    It begins above attackers that end so far below all that matters that they would press the others together.
    """
    values = [value_of(one) or 0.0 for figure in drawn for one in figure.intervals]
    levels = [level.at for figure in drawn for level in figure.levels]
    lows = [finite(one.low) for figure in drawn for one in figure.intervals]
    highs = [finite(one.high) for figure in drawn for one in figure.intervals]
    low = min([*values, *levels, *(low for low in lows if low is not None)])
    high = max([*values, *levels, *(high for high in highs if high is not None)])
    cut = min([max(values) - _IN_SIGHT, *levels])
    start = cut if min(values) < cut - _IN_SIGHT / 3 else low
    return math.floor(100 * start) / 100, min(1.0, math.ceil(100 * high) / 100)


def _levels(record: ResistanceRecord, teacher: Teacher, mine: StudentSummary) -> list[Level]:
    """Return what a student reaches alone, and what the teacher reaches."""
    scores = record.teacher_scores.get(teacher.name)
    found = [
        ("student trained alone", "c2", "dash", value_of(mine.alone)),
        (f"{teacher.name} itself", "student", "dot", value_of(scores.accuracy) if scores else None),
    ]
    return [Level(name, colour, dash, at) for name, colour, dash, at in found if at is not None]


def entropy_figure(record: ResistanceRecord) -> Figure | None:
    """Return the mean entropy of the softened answers by temperature, a curve for each teacher."""
    found = {teacher.name: entropies(record, teacher.name) for teacher in record.teachers}
    drawn = {name: values for name, values in found.items() if values}
    if not drawn:
        return None
    data = []
    for at, (name, values) in enumerate(drawn.items()):
        heights = [value_of(one) or 0.0 for _, one in values]
        data.append(
            go.Scatter(
                x=[f"T = {temperature:g}" for temperature, _ in values],
                y=heights,
                name=plain(name),
                mode="lines+markers",
                line={"width": 1.5},
                marker={"size": 8, "symbol": _SYMBOLS[at % len(_SYMBOLS)]},
                error_y=error_bars([one for _, one in values], heights),
                meta={"colour": teacher_colour(record, name)},
                hovertemplate="%{y:.2f} nats<extra>%{fullData.name}</extra>",
            )
        )
    layout = {
        "xaxis": {"type": "category", "title": {"text": "temperature that softens the answers"}},
        "yaxis": {"rangemode": "tozero", "title": {"text": "nats"}},
        "showlegend": len(drawn) > 1,
        "hovermode": "closest",
    }
    title = "Mean entropy of the answers"
    return Figure(title, f"{title} by temperature: {', '.join(drawn)}", figure_spec(data, layout))


def entropies(record: ResistanceRecord, teacher: str) -> list[tuple[float, Interval]]:
    """Return (temperature, mean entropy in nats) of a teacher's answers, in order of temperature."""
    scores = record.teacher_scores.get(teacher)
    measured = (scores.entropy if scores else {}).items()
    known = [(float(temperature), one) for temperature, one in measured if one is not None]
    return sorted((pair for pair in known if value_of(pair[1]) is not None), key=lambda pair: pair[0])
