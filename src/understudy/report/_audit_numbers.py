"""What the cells of an audit say together: means over seeds, controls, and the trades of the defences."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from understudy.evaluation import statistics
from understudy.report._audit_read import FIDELITY, AuditCell, AuditRecord, ControlScore
from understudy.report._format import count, finite
from understudy.report._read import Interval
from understudy.report._words import value_of

MEASURES = ("linear", "few_shot", "knn", "mlp", FIDELITY)
"""In the order of the page."""
NO_DEFENCE = "none"
MARGIN = 0.01
"""Differences of scores below one point count as none when a defence is judged."""
_CHANCE = 0.1
"""A score within a tenth of the way from guessing to the target is near guessing."""


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed alone."""

    method: str
    budgets: tuple[int, ...]
    """In rising order; several where a larger budget changes nothing of what the method does."""
    defence: str
    cells: Sequence[AuditCell]

    @property
    def queries(self) -> float:
        """Mean number of rows charged."""
        return math.fsum(cell.queries for cell in self.cells) / len(self.cells)

    @property
    def budget(self) -> str:
        """The budgets in words."""
        return "budget " + " or ".join(count(budget) for budget in self.budgets)

    def score(self, probe: str, measure: str) -> Interval | None:
        """Return a score of the copy over the seeds."""
        bounds = (-1.0, 1.0) if measure == FIDELITY else (0.0, 1.0)
        return over_seeds([cell.score(probe, measure) for cell in self.cells], bounds=bounds)

    def gain(self, probe: str, measure: str) -> Interval | None:
        """Return the leakage over the seeds: the score above the no-query control."""
        return spread([cell.gain(probe, measure) for cell in self.cells], bounds=(-2.0, 2.0))


@dataclass(frozen=True)
class Trade:
    """What a defence does to the best copier, and what to an honest client."""

    defence: str
    best: Group
    """The best copy that any method made, with any of the budgets."""
    score: Interval
    gain: Interval | None
    honest: Interval | None
    honest_loss: float | None
    """What an honest client loses against the undefended target."""
    copier_loss: float | None
    """What the best copy loses against the best undefended copy; None for no defence."""


def measures(record: AuditRecord, probe: str) -> list[str]:
    """Return the measures that were taken on a probe's data set, the declared one first."""
    taken = {name for cell in record.cells for name, found in cell.scores.get(probe, {}).items() if found is not None}
    if any(cell.fidelity is not None for cell in record.cells):
        taken.add(FIDELITY)
    known = [name for name in MEASURES if name in taken] + sorted(taken - set(MEASURES))
    return sorted(known, key=lambda name: name != record.measure)


def main_measure(record: AuditRecord) -> str:
    """Return the measure that the page leads with: the one that was declared, or the first that was taken."""
    taken = measures(record, record.probe)
    return record.measure if record.measure in taken else next(iter(taken), MEASURES[0])


def groups(record: AuditRecord) -> list[Group]:
    """Return the finished cells by point of the grid, in its order; points that share their runs are one group."""
    found: dict[tuple[str, str, int], list[AuditCell]] = {}
    for cell in record.cells:
        found.setdefault((cell.defence, cell.method, cell.budget), []).append(cell)
    merged: dict[object, Group] = {}
    for defence, method, budget in sorted(found, key=lambda key: _place(record, *key)):
        cells = found[defence, method, budget]
        runs = frozenset(cell.folder or (budget, cell.seed) for cell in cells)
        before = merged.get((defence, method, runs))
        budgets = (*before.budgets, budget) if before else (budget,)
        merged[defence, method, runs] = Group(method, budgets, defence, cells)
    return list(merged.values())


def runs(record: AuditRecord) -> list[AuditCell]:
    """Return the cells whose runs differ, each once: what was paid for."""
    return list({cell.folder or (number, cell.seed): cell for number, cell in enumerate(record.cells)}.values())


def _place(record: AuditRecord, defence: str, method: str, budget: int) -> tuple[int, int, int]:
    return record.defences.index(defence), record.methods.index(method), budget


def over_seeds(scores: Sequence[Interval | None], *, bounds: tuple[float, float]) -> Interval | None:
    """Return the mean over seeds with its 95 % t interval; the range for two, the score's own interval for one."""
    known = [one for one in scores if one is not None and finite(one.value) is not None]
    if len(known) == 1:
        return known[0]
    return spread([one.value for one in known], bounds=bounds)


def spread(values: Sequence[float | None], *, bounds: tuple[float, float]) -> Interval | None:
    """Return the mean with its 95 % t interval from three values on, and with their range below that."""
    known = [value for value in map(finite, values) if value is not None]
    if not known:
        return None
    if len(known) < 3:
        return Interval(value=sum(known) / len(known), low=min(known), high=max(known), n=len(known))
    found = statistics.mean_interval(known)
    low, high = max(bounds[0], found.low), min(bounds[1], found.high)
    return Interval(value=found.value, low=low, high=high, n=found.n)


def control(which: Sequence[ControlScore], probe: str, measure: str) -> Interval | None:
    """Return the scores of a control over its seeds and numbers of images: their mean and range."""
    found = [one.score(probe, measure) for one in which]
    if len([one for one in found if one is not None]) == 1:
        return next(one for one in found if one is not None)
    values = [one.value for one in found if one is not None and finite(one.value) is not None]
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Interval(value=sum(known) / len(known), low=min(known), high=max(known), n=len(known))


def honest(record: AuditRecord, defence: str, probe: str, measure: str) -> Interval | None:
    """Return an honest client's score behind a defence; without one it is the target's own."""
    found = [one.scores.get(probe, {}).get(measure) for one in record.honest if one.defence == defence]
    mean = over_seeds(found, bounds=(0.0, 1.0))
    if mean is None and defence == NO_DEFENCE:
        return record.target_scores.get(probe, {}).get(measure)
    return mean


def trades(record: AuditRecord, measure: str) -> list[Trade]:
    """Return what each defence changes on the main data set: the maximum over all methods and budgets."""
    probe, every = record.probe, groups(record)
    reference = best(every, NO_DEFENCE, probe, measure)
    target = value_of(record.target_scores.get(probe, {}).get(measure))
    found = []
    for defence in record.defences:
        top = best(every, defence, probe, measure)
        score = top.score(probe, measure) if top else None
        if top is None or score is None or score.value is None:
            continue
        served = honest(record, defence, probe, measure)
        loss = None if target is None or value_of(served) is None else target - (value_of(served) or 0.0)
        # A difference of cosines is no number of points.
        compared = reference is not None and defence != NO_DEFENCE and measure != FIDELITY
        base = reference.score(probe, measure) if reference and compared else None
        lost = None if base is None or base.value is None else base.value - score.value
        found.append(Trade(defence, top, score, top.gain(probe, measure), served, loss, lost))
    return found


def best(every: Sequence[Group], defence: str, probe: str, measure: str) -> Group | None:
    """Return the runs with the best score under a defence, whatever the method and the budget."""
    scored = [
        (value, group)
        for group in every
        if group.defence == defence and (value := value_of(group.score(probe, measure))) is not None
    ]
    # Of equal scores, the one for fewer queries.
    return max(scored, key=lambda pair: (pair[0], -pair[1].queries))[1] if scored else None


def near_chance(record: AuditRecord, score: Interval | None, measure: str) -> bool:
    """Return whether a score on the main data set is hardly better than guessing."""
    value, chance = value_of(score), record.chance
    target = value_of(record.target_scores.get(record.probe, {}).get(measure))
    if value is None or chance is None or target is None:
        return False
    return value <= chance + _CHANCE * max(target - chance, 0.0)


def informative(record: AuditRecord) -> bool:
    """Return whether the target carries information: its answers vary, and a probe on them beats guessing."""
    if record.carries_information is False:
        return False
    score, chance = record.target_scores.get(record.probe, {}).get(main_measure(record)), record.chance
    low = None if score is None else finite(score.low)
    return low is None or chance is None or low > chance
