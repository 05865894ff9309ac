"""The words of a measurement of resistance: attackers, regimes, students, verdicts, and the numbers of an owner."""

import math
from dataclasses import dataclass, replace

from understudy.report._format import DASH, NBSP, finite, percent, points
from understudy.report._read import Interval
from understudy.report._resist_read import (
    Attack,
    Regime,
    RegimeSummary,
    ResistanceRecord,
    StudentSummary,
    Teacher,
    Verdict,
)
from understudy.report._table import Cell, interval_cell, points_range
from understudy.report._words import titled, value_of

ALONE = "no_teacher"
"""The attacker that asks nobody: a student trained on labels alone."""
PLAIN = "Plain distillation"
"""The attacker who takes the teacher for an ordinary one; distillation that is tuned has its own label on file."""
CASES = {
    "protects": ("Holds", "c3"),
    "fails": ("Fails to an adaptive attacker", "c5"),
    "only_worsens": ("Only worsens the teacher", "c2"),
    "inconclusive": ("Undecided", "c6"),
    "no_headline": ("No verdict", "c6"),
}
"""What a verdict is called, and its colour word."""
_LEAST = 0.0005
"""Half of the least difference that is shown."""
TEACHER_COLOURS = ("c1", "c2", "c4", "c7", "c8", "c5", "c3")


@dataclass(frozen=True)
class Lead:
    """What a teacher is judged by: the regime and the student with which an attacker gets furthest."""

    regime: str
    student: str
    summary: StudentSummary


def lead(record: ResistanceRecord, teacher: str) -> Lead | None:
    """Return what a teacher is judged by; None where nothing of it may be judged.

    Of the students that its verdict is about, the one that ends furthest above the student alone.
    """
    summary = record.of(teacher)
    if record.headline_missing:
        return None
    every = [
        Lead(name, student, mine)
        for name, regime in summary.regimes.items()
        for student, mine in regime.students.items()
        if mine.best is not None and value_of(mine.best.against_alone) is not None
    ]
    verdict = summary.verdict or Verdict()
    judged = {(one.regime, one.student) for one in verdict.findings if one.case == verdict.case}
    alike = [one for one in every if (one.regime, one.student) in judged] or every
    # Where the ordinary teacher is of no use either, there is nothing to judge.
    return min([one for one in alike if _useful(one)] or alike, key=_short, default=None)


def _useful(one: Lead) -> bool:
    """Return whether students surely learn from the ordinary teacher what they do not know alone."""
    found = one.summary.best.help_of_ordinary if one.summary.best else None
    low = finite(found.low) if found is not None else None
    return low is not None and low > 0


def _short(one: Lead) -> float:
    value = value_of(one.summary.best.against_alone) if one.summary.best else None
    return math.inf if value is None else value


def headline_student(regime: RegimeSummary) -> str:
    """Return the student with which an attacker gets furthest; without a headline the first one."""
    return regime.headline.student if regime.headline else next(iter(regime.students), "")


def attack_label(record: ResistanceRecord, name: str) -> str:
    """Return what an attacker is called: its label on file, else its name."""
    found = attack_of(record, name)
    return (found.label if found else "") or name.replace("_", " ")


def attack_of(record: ResistanceRecord, name: str) -> Attack | None:
    """Return what is on file of an attacker."""
    return next((attack for attack in record.attacks if attack.name == name), None)


def regime_label(name: str) -> str:
    """Return what a regime is called: `partial:0.1` is `10 % labelled`."""
    word, _, share = name.partition(":")
    if word == "partial":
        try:
            part = 100 * float(share)
        except ValueError:
            return name
        return f"{part:g}{NBSP}% labelled"
    return name.replace("_", "-")


def regime_of(record: ResistanceRecord, name: str) -> Regime:
    """Return what is on file of a regime."""
    return next((regime for regime in record.regimes if regime.name == name), Regime(name=name))


def regimes_in_use(record: ResistanceRecord) -> list[str]:
    """Return the regimes that have numbers, in the order of the record."""
    used = [name for summary in record.summary.values() for name, regime in summary.regimes.items() if regime.students]
    named = [regime.name for regime in record.regimes if regime.name in used]
    return list(dict.fromkeys([*named, *used]))


def students_in(record: ResistanceRecord, regime: str) -> list[str]:
    """Return the students that have numbers in a regime, in the order of the record."""
    found = [summary.regimes[regime] for summary in record.summary.values() if regime in summary.regimes]
    used = [name for one in found for name in one.students]
    return list(dict.fromkeys([*(name for name in record.students if name in used), *used]))


def case_of(record: ResistanceRecord, teacher: str) -> tuple[str, str]:
    """Return what a teacher's verdict is called, and its colour word."""
    verdict = record.of(teacher).verdict
    return titled_case(verdict.case if verdict else "inconclusive")


def titled_case(case: str) -> tuple[str, str]:
    """Return what a verdict is called, and its colour word."""
    return CASES.get(case, (case.replace("_", " ").capitalize(), "c6"))


def made_by(teacher: Teacher) -> str:
    """Return how a teacher was made and what stands before it, in a few words; a name that it bears is not repeated."""
    method = titled(teacher.method, teacher.fidelity) if teacher.method else ""
    own = "independent instantiation" if teacher.fidelity == "instantiation" and "instantiation" not in method else ""
    shown = "" if method.lower() == teacher.name.lower() else method
    served = f"behind {teacher.serving}" if teacher.serving not in ("", "none") else ""
    return ", ".join(filter(None, [shown, own, served]))


def teacher_colour(record: ResistanceRecord, name: str) -> str:
    """Return a teacher's colour word, the same in every figure of the page."""
    names = [teacher.name for teacher in record.defended]
    return TEACHER_COLOURS[names.index(name) % len(TEACHER_COLOURS)] if name in names else "teacher"


def turned(interval: Interval | None) -> Interval | None:
    """Return a difference the other way round: who was subtracted from becomes who is subtracted."""
    if interval is None:
        return None
    value, low, high = (None if end is None else -end for end in (interval.value, interval.low, interval.high))
    return Interval(value=value, low=high, high=low, n=interval.n)


def loss_cell(interval: Interval | None, *, note: str = "") -> Cell:
    """Return a cell with points that somebody loses, and their range over the seeds; below zero somebody gains."""
    cell = gain_cell(interval)
    return Cell(cell.text.removeprefix("+"), note=note or cell.note.replace("+", ""))


def lost(interval: Interval | None) -> str:
    """Return what a student loses, in words; empty where it is not known."""
    value = value_of(interval)
    if value is None:
        return ""
    return f"gains {points(-value, signed=False)}" if value < -_LEAST else f"loses {points(abs(value), signed=False)}"


def gain_cell(interval: Interval | None) -> Cell:
    """Return a cell with a difference in points and its sign, and its range over the seeds."""
    value = value_of(interval)
    return Cell(DASH) if value is None else Cell(points(value), note=points_range(interval))


def share_cell(interval: Interval | None) -> Cell:
    """Return a cell with a share, and its range over the seeds as the second line where there is one."""
    cell = interval_cell(interval)
    alike = interval is not None and _shown(interval.low) == _shown(interval.high)
    return replace(cell, note="") if alike else cell


def share_text(interval: Interval | None) -> str:
    """Return a share for a sentence."""
    return percent(value_of(interval))


def _shown(end: float | None) -> str:
    number = finite(end)
    return "" if number is None else f"{100 * number:.1f}"


def spread(record: ResistanceRecord) -> str:
    """Say what the ranges on the page are, which depends on the number of seeds."""
    owner = [record.of(teacher.name).cost for teacher in record.defended]
    images = any(cost is not None and cost.over == "images" for cost in owner)
    seeds = len(record.seeds)
    if seeds < 2:
        said = "One seed shows no spread, so students have no ranges"
        return f"{said}; that of the owner is over test images." if images else f"{said}."
    said = f"Bars and second lines show 95{NBSP}% intervals of the mean over {seeds} seeds"
    return f"{said}; those of the owner are over test images, for one pair of teachers." if images else f"{said}."
