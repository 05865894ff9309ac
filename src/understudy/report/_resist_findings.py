"""What a measurement of resistance found, in sentences: does it hold, against whom, and at what cost."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from understudy.report._format import count, points
from understudy.report._read import Interval
from understudy.report._resist_read import ResistanceRecord, Teacher, Verdict
from understudy.report._resist_words import (
    ALONE,
    Lead,
    attack_label,
    case_of,
    gain_cell,
    lead,
    loss_cell,
    lost,
    made_by,
    regime_label,
    regimes_in_use,
    students_in,
    turned,
)
from understudy.report._robust_words import listed
from understudy.report._table import Cell, Fact
from understudy.report._words import value_of

_SAID = {
    "protects": "{names} {hold} against every attacker that was tried",
    "fails": "{names} {fail}: an attacker who adapts gets past",
    "only_worsens": "{names} {have} only become {worse}",
    "inconclusive": "{names} {stay} undecided",
    "no_headline": "{names} {have} no verdict",
}
_NAMED = 3
"""How many missing attackers are named in a sentence."""
BEST_ATTACKER = "Best attacker"
"""Heading of the one number on the first screen that is a name."""
_MARGIN = 0.0005
"""A tenth of a point, rounded, is the least that the page can show."""


@dataclass(frozen=True)
class Line:
    """One defended teacher on the first screen: verdict, cost, and what it takes from whom."""

    name: str
    made: str
    title: str
    colour: str
    cells: Sequence[tuple[str, Cell]]
    """Heading and number."""


@dataclass(frozen=True)
class ResistFindings:
    """The first screen: a sentence, a line and a sentence for each teacher, and what to hold against them."""

    first: str
    lines: Sequence[Line] = ()
    verdicts: Sequence[tuple[str, str]] = ()
    doubts: Sequence[str] = field(default=())

    @property
    def sentences(self) -> list[str]:
        """Everything, in order."""
        said = [f"{name}: {words}" if name else words for name, words in self.verdicts]
        return [self.first, *said, *self.doubts]


def resist_findings(record: ResistanceRecord) -> ResistFindings:
    """Return the summary of a measurement."""
    judged = [
        teacher
        for teacher in record.defended
        if any(regime.students for regime in record.of(teacher.name).regimes.values())
    ]
    if not judged:
        return ResistFindings(_nobody(record), doubts=_doubts(record))
    lines = [_line(record, teacher) for teacher in judged]
    return ResistFindings(_first(record, judged), lines, _verdicts(record, judged), _doubts(record))


def _nobody(record: ResistanceRecord) -> str:
    if record.defended:
        return "No training of this measurement was finished, so it says nothing of the teachers."
    return "No defended teacher was measured, so there is nothing to say on resistance."


def _first(record: ResistanceRecord, judged: Sequence[Teacher]) -> str:
    """Return which teachers hold and which do not, in one sentence."""
    groups: dict[str, list[str]] = {}
    for teacher in judged:
        verdict = record.of(teacher.name).verdict
        case = verdict.case if verdict else "inconclusive"
        groups.setdefault(case if case in _SAID else "inconclusive", []).append(quoted(teacher.name))
    said = [_said(case, groups[case]) for case in _SAID if case in groups]
    attackers = [attack for attack in record.attacks if attack.name != ALONE]
    tried = f"Against {count(len(attackers))} attackers, " if len(attackers) > 1 else ""
    return f"{tried}{'; '.join(said)}."


def _said(case: str, names: Sequence[str]) -> str:
    many = len(names) > 1
    words = {
        "names": listed(names),
        "hold": "hold" if many else "holds",
        "fail": "fail" if many else "fails",
        "stay": "stay" if many else "stays",
        "have": "have" if many else "has",
        "worse": "worse teachers" if many else "a worse teacher",
    }
    return _SAID[case].format(**words)


def quoted(name: str) -> str:
    """Return a name in quotation marks."""
    return f"\N{LEFT DOUBLE QUOTATION MARK}{name}\N{RIGHT DOUBLE QUOTATION MARK}"


def _verdicts(record: ResistanceRecord, judged: Sequence[Teacher]) -> list[tuple[str, str]]:
    """Return for each teacher what its record says of it, under its name and the place where its verdict hangs.

    The name is left out where there is but one. What a headline is missing is said once, elsewhere.
    """
    said = []
    for teacher in [] if record.headline_missing else judged:
        verdict = record.of(teacher.name).verdict
        if verdict is None:
            continue
        where, words = _hangs_on(record, teacher.name, verdict)
        head = ", ".join(filter(None, [teacher.name if len(judged) > 1 else "", where]))
        said.append((head if len(judged) > 1 else head[:1].upper() + head[1:], sentence(words)))
    return said


def _hangs_on(record: ResistanceRecord, teacher: str, verdict: Verdict) -> tuple[str, str]:
    """Return where the attacker gets furthest and the verdict there; one on a single student is told whole."""
    found = lead(record, teacher)
    of = [one for one in verdict.findings if found and (one.regime, one.student) == (found.regime, found.student)]
    if found is None or not of or len(verdict.findings) == 1:
        return "", verdict.words
    several = len(students_in(record, found.regime)) > 1
    return ", ".join([regime_label(found.regime), *([found.student] if several else [])]), of[0].words


def sentence(words: str) -> str:
    """Return words with a capital and a full stop."""
    text = words.strip()
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?')) else '.'}"


def _line(record: ResistanceRecord, teacher: Teacher) -> Line:
    title, colour = case_of(record, teacher.name)
    cells = [("Owner pays", loss_cell(record.of(teacher.name).cost))]
    found = lead(record, teacher.name)
    best = found.summary.best if found else None
    if found is None or best is None:
        return Line(teacher.name, made_by(teacher), title, colour, cells + _plain_only(record, teacher.name))
    plain = found.summary.plain
    cells += [
        ("Plain distillation loses", loss_cell(plain.protection if plain else None)),
        ("Best attacker loses", loss_cell(best.protection)),
        ("Best attacker over alone", gain_cell(turned(best.against_alone))),
        (BEST_ATTACKER, Cell(attack_label(record, best.attack), note=_where(record, found))),
    ]
    return Line(teacher.name, made_by(teacher), title, colour, cells)


def _where(record: ResistanceRecord, found: Lead) -> str:
    """Return the regime and the student that a verdict hangs on, where there is a choice of them."""
    several = len(students_in(record, found.regime)) > 1
    named = [regime_label(found.regime)] if len(regimes_in_use(record)) > 1 else []
    return ", ".join([*named, *([found.student] if several else [])])


def _plain_only(record: ResistanceRecord, teacher: str) -> list[tuple[str, Cell]]:
    """Return what plain distillation loses where no headline may be given; the regime where it loses least."""
    found: list[tuple[float, Interval]] = []
    for regime in record.of(teacher).regimes.values():
        for student in regime.students.values():
            protection = student.plain.protection if student.plain else None
            value = value_of(protection)
            if protection is not None and value is not None:
                found.append((value, protection))
    least = min(found, key=lambda pair: pair[0], default=None)
    return [("Plain distillation loses", loss_cell(least[1] if least else None))]


def line_facts(line: Line) -> list[Fact]:
    """Return the numbers of the one teacher of a page as headline numbers; the attacker's name goes with its number."""
    cells = dict(line.cells)
    attacker = cells.pop(BEST_ATTACKER, Cell(""))
    facts = []
    for name, cell in cells.items():
        mine = [cell.note, attacker.text, attacker.note] if name == "Best attacker loses" else [cell.note]
        facts.append(Fact(name, cell.text, ", ".join(filter(None, mine))))
    return facts


def _doubts(record: ResistanceRecord) -> list[str]:
    said = []
    if record.headline_missing:
        named = record.headline_missing[:_NAMED]
        rest = len(record.headline_missing) - len(named)
        more = f" and {count(rest)} more, listed at the end" if rest else ""
        what = f"{', '.join(named)}{more}" if more else listed(named)
        said.append(
            f"No headline is given, because this is missing: {what}. The best of a suite without it would look better "
            "for the owner than it is."
        )
    if record.failures:
        number = count(len(record.failures))
        many = "training was" if len(record.failures) == 1 else "trainings were"
        said.append(
            f"{number} {many} not finished. An attacker without its training reaches nothing here, which flatters "
            "the defence."
        )
    return [*said, *_cheap_losses(record), *record.notes]


def _cheap_losses(record: ResistanceRecord) -> list[str]:
    """Return which teachers cost their owner more than the best attacker loses."""
    worse = []
    for teacher in record.defended:
        cost, found = value_of(record.of(teacher.name).cost), lead(record, teacher.name)
        protection = found.summary.best.protection if found and found.summary.best else None
        taken = value_of(protection)
        if cost is not None and taken is not None and cost > max(0.0, taken + _MARGIN):
            said = f"{points(cost, signed=False)}; the attacker {lost(protection)}"
            worse.append(f"{quoted(teacher.name)} ({said})")
    if not worse:
        return []
    return [f"The owner pays more than the best attacker loses with {listed(worse)}."]
