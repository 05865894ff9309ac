"""Tables of a measurement of resistance: every regime and student, every attacker, and what users of a teacher get."""

from collections.abc import Sequence
from dataclasses import replace

from understudy.report._format import DASH, NBSP, count, decimal, percent
from understudy.report._read import Interval
from understudy.report._resist_figures import entropies
from understudy.report._resist_read import Best, RegimeSummary, ResistanceRecord, StudentSummary, Teacher
from understudy.report._resist_words import (
    PLAIN,
    attack_label,
    gain_cell,
    headline_student,
    loss_cell,
    lost,
    regime_label,
    regimes_in_use,
    share_cell,
    students_in,
    teacher_colour,
    titled_case,
    turned,
)
from understudy.report._table import Cell, Column, Table
from understudy.report._words import value_of

OWNER = "accuracy of the ordinary teacher, less that of this one"
NAIVE = "plain distillation, with the values that serve the ordinary teacher's student best: what its student loses"
BEST = "accuracy of the best attacker's student of the ordinary teacher, less that of the best attacker's of this one"
GAIN = "accuracy of the best attacker's student, less that of the same student trained alone: what distilling is worth"
UNDEFENDED = "what the best attacker gains over the student alone when it distils from the ordinary teacher"
_BEST = [
    Column("Best loses", BEST),
    Column("Best over alone", GAIN),
    Column("Undefended", UNDEFENDED),
    Column("Best attacker", numeric=False),
    Column("Verdict", numeric=False),
]
ALONE_KINDS = {"ce": "hard labels", "ls": "smoothed labels", "hard_label": "in the place of a student alone"}


def protection_table(record: ResistanceRecord, *, every: bool = False) -> Table | None:
    """Return for every teacher and regime what is lost by whom: the owner, plain and the best attacker.

    Args:
        record: the measurement.
        every: all students; else the one with which an attacker gets furthest.
    """
    places = [
        (teacher.name, name, student, mine)
        for teacher in record.defended
        for name in regimes_in_use(record)
        for student, mine in of_students(record, teacher.name, name)
        if every or student == headline_student(record.of(teacher.name).regimes[name])
    ]
    if not places:
        return None
    several = any(len(students_in(record, name)) > 1 for name in regimes_in_use(record))
    many = len(regimes_in_use(record)) > 1
    columns = [
        Column("Teacher", numeric=False),
        Column("Owner pays", OWNER),
        Column("Plain loses", NAIVE),
        *([] if record.headline_missing else _BEST),
    ]
    rows = []
    for name, regime, student, mine in places:
        note = ", ".join([*([regime_label(regime)] if many else []), *([student] if several else [])])
        plain = mine.plain.protection if mine.plain else None
        losses = [number_of(loss_cell(record.of(name).cost)), number_of(loss_cell(plain))]
        best = [] if record.headline_missing else _best_cells(record, mine)
        case = [] if record.headline_missing else [_verdict_cell(record, name, regime, student)]
        rows.append([Cell(name, note=note), *losses, *best, *case])
    return Table(columns, rows, caption="What is lost, by teacher, regime and student")


def of_students(record: ResistanceRecord, teacher: str, regime: str) -> list[tuple[str, StudentSummary]]:
    """Return the students of a teacher in a regime, in the order of the record."""
    found = record.of(teacher).regimes.get(regime, RegimeSummary()).students
    return [(name, found[name]) for name in students_in(record, regime) if name in found]


def _verdict_cell(record: ResistanceRecord, teacher: str, regime: str, student: str) -> Cell:
    verdict = record.of(teacher).verdict
    found = [one for one in (verdict.findings if verdict else []) if (one.regime, one.student) == (regime, student)]
    if not found:
        return Cell(DASH)
    title, colour = titled_case(found[0].case)
    return Cell(title, colour=colour)


def _best_cells(record: ResistanceRecord, mine: StudentSummary) -> list[Cell]:
    best = mine.best or Best()
    cells = [loss_cell(best.protection), gain_cell(turned(best.against_alone)), gain_cell(best.help_of_ordinary)]
    name = attack_label(record, best.attack) or DASH
    return [*map(number_of, cells), Cell(name, note=percent(value_of(best.accuracy)))]


def number_of(cell: Cell) -> Cell:
    """Return a difference without its unit, for a table that states it once."""
    return replace(cell, text=cell.text.partition(NBSP)[0])


def attacks_table(record: ResistanceRecord, regime: str, student: str) -> Table | None:
    """Return what every attacker's student reached from every teacher, and how far that is below the ordinary's."""
    found = {teacher.name: dict(of_students(record, teacher.name, regime)).get(student) for teacher in record.defended}
    mine = {name: one for name, one in found.items() if one is not None}
    names = attackers(record, list(mine.values()))
    if not names:
        return None
    columns = [
        Column("Attacker", numeric=False),
        Column(record.ordinary.name if record.ordinary else "Ordinary", "student of the ordinary teacher"),
        *(Column(name, "student of this teacher; below, what it loses against the ordinary one") for name in mine),
    ]
    rows = [_owner_row(record, list(mine)), _alone_row(mine), *_plain_row(mine)]
    for name in names:
        ordinary = next((one.attacks[name].ordinary for one in mine.values() if name in one.attacks), None)
        best = [key for key, one in mine.items() if one.best is not None and one.best.attack == name]
        cells = [_attacked(one, name, best=key in best) for key, one in mine.items()]
        rows.append([Cell(attack_label(record, name)), share_cell(ordinary), *cells])
    return Table(columns, rows, caption=f"Students by attacker, {regime_label(regime)}, {student}")


def _owner_row(record: ResistanceRecord, teachers: Sequence[str]) -> list[Cell]:
    """Return what the teachers reach, and what each of them costs its owner."""
    scores = record.teacher_scores
    first = record.ordinary.name if record.ordinary else ""
    cells = []
    for name in teachers:
        cost = value_of(record.of(name).cost)
        cell = share_cell(scores[name].accuracy if name in scores else None)
        cells.append(Cell(cell.text, note="" if cost is None else f"owner pays {loss_cell(record.of(name).cost).text}"))
    return [
        Cell("The teacher itself", colour="ink"),
        share_cell(scores[first].accuracy if first in scores else None),
        *cells,
    ]


def _alone_row(mine: dict[str, StudentSummary]) -> list[Cell]:
    alone = next((one.alone for one in mine.values() if value_of(one.alone) is not None), None)
    kind = next((one.alone_kind for one in mine.values() if one.alone_kind), "")
    note = ALONE_KINDS.get(kind or "", "")
    title = "Class of the ordinary teacher" if kind == "hard_label" else "Student alone"
    return [Cell(title, note=note, colour="c2"), share_cell(alone), *[Cell(DASH)] * len(mine)]


def _plain_row(mine: dict[str, StudentSummary]) -> list[list[Cell]]:
    """Return what plain distillation reaches; its variant is the same for every teacher."""
    known = {name: one.plain for name, one in mine.items() if one.plain is not None}
    if not known:
        return []
    first = next(iter(known.values()))
    cells = []
    for name in mine:
        plain = known.get(name)
        cell = share_cell(plain.defended if plain else None)
        cells.append(Cell(cell.text, note=lost(plain.protection) if plain else ""))
    return [[Cell(PLAIN, note=spaced(first.variant)), share_cell(first.ordinary), *cells]]


def spaced(key: str) -> str:
    """Return the key of a variant with room to break its line."""
    return key.replace(",", ", ").replace("=", " = ") or "as it is"


def attackers(record: ResistanceRecord, found: Sequence[StudentSummary]) -> list[str]:
    """Return the attackers that have numbers, in the order of the record."""
    used = [name for one in found for name in one.attacks]
    return list(dict.fromkeys([*(attack.name for attack in record.attacks if attack.name in used), *used]))


def _attacked(one: StudentSummary, name: str, *, best: bool) -> Cell:
    attacked = one.attacks.get(name)
    if attacked is None:
        return Cell(DASH)
    notes = filter(None, [lost(attacked.protection), "best" if best else ""])
    return Cell(share_cell(attacked.accuracy).text, note=", ".join(notes), strong=best)


def users_table(record: ResistanceRecord) -> Table | None:
    """Return what the owner's own users get of every teacher: accuracy, calibration, entropy, changed answers."""
    scored = [teacher for teacher in record.teachers if teacher.name in record.teacher_scores]
    if not scored:
        return None
    served = any(record.teacher_scores[teacher.name].l1 is not None for teacher in scored)
    temperatures = sorted({at for teacher in scored for at, _ in entropies(record, teacher.name)})
    columns = [
        Column("Teacher", numeric=False),
        Column("Accuracy"),
        Column("Owner pays", OWNER),
        Column("NLL", "mean negative log-likelihood of the true class, in nats: lower is better"),
        Column("ECE", "expected calibration error: how far confidence is from accuracy"),
        *(Column(f"Entropy, T = {at:g}", "mean entropy of the softened answers, in nats") for at in temperatures),
        *([Column("L1", "mean distance between the answers served and those of the network; 2 is the most")] * served),
        *([Column("Top-1 kept", "share of answers whose first class is still the network's")] * served),
    ]
    rows = [_user_row(record, teacher, temperatures, served=served) for teacher in scored]
    return Table(columns, rows, caption="What the owner's users get")


def _user_row(record: ResistanceRecord, teacher: Teacher, temperatures: Sequence[float], *, served: bool) -> list[Cell]:
    scores, found = record.teacher_scores[teacher.name], dict(entropies(record, teacher.name))
    cost = Cell(DASH) if teacher.ordinary else loss_cell(record.of(teacher.name).cost)
    return [
        Cell(teacher.name, colour=teacher_colour(record, teacher.name)),
        share_cell(scores.accuracy),
        cost,
        number_cell(scores.nll),
        number_cell(scores.ece),
        *(number_cell(found.get(at), 2) for at in temperatures),
        *([number_cell(scores.l1)] if served else []),
        *([share_cell(scores.top1_kept)] if served else []),
    ]


def number_cell(interval: Interval | None, digits: int = 3) -> Cell:
    """Return a cell with a number that is no share, and its range over the seeds."""
    value = value_of(interval)
    if interval is None or value is None:
        return Cell(DASH)
    ends = [decimal(end, digits) for end in (interval.low, interval.high)]
    return Cell(decimal(value, digits), note="" if DASH in ends or ends[0] == ends[1] else " to ".join(ends))


def failures_table(record: ResistanceRecord) -> Table | None:
    """Return the trainings that were not finished, and why."""
    if not record.failures:
        return None
    columns = [Column(title, numeric=False) for title in ("Training", "Regime", "Student", "Seed", "Error")]
    rows = [
        [
            Cell(
                attack_label(record, one.attack) or one.folder or DASH,
                note=" ".join(filter(None, [f"from {one.teacher}" if one.teacher else "", one.variant])),
            ),
            Cell(regime_label(one.regime) or DASH),
            Cell(one.student or DASH),
            Cell(DASH if one.seed is None else count(one.seed)),
            Cell(one.error or DASH),
        ]
        for one in record.failures
    ]
    return Table(columns, rows, caption="Trainings that were not finished")
