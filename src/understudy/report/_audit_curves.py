"""Quality over queries: the area under a method's curve, and where it has closed the gap to the target."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from understudy.report._audit_numbers import Group, groups, spread
from understudy.report._audit_read import AuditCell, AuditRecord
from understudy.report._read import Interval
from understudy.report._words import value_of


@dataclass(frozen=True)
class Curve:
    """One method under one defence: what it got, over the queries it was charged for."""

    method: str
    defence: str
    area: Interval | None
    """Area under quality over log queries, divided by the width: a mean quality."""
    copied_at: float | None
    """Queries at which the copy had closed the declared share of the gap; None where it never did."""
    at_first: bool
    """Whether the first point had closed it already, so that fewer queries may do."""
    gap: float | None
    """Largest share of the gap that was closed."""


def curves(record: AuditRecord, measure: str) -> list[Curve]:
    """Return area and reach of each method under each defence, on the main data set."""
    every = groups(record)
    asked = [group.queries for group in every if group.queries > 0]
    ends = (min(asked), max(asked)) if asked else (0.0, 0.0)
    found = []
    for defence in record.defences:
        for method in record.methods:
            mine = [group for group in every if group.method == method and group.defence == defence]
            if mine:
                found.append(_curve(record, mine, measure, ends))
    return found


def _curve(record: AuditRecord, mine: Sequence[Group], measure: str, ends: tuple[float, float]) -> Curve:
    probe = record.probe
    seeds = sorted({cell.seed for group in mine for cell in group.cells})
    areas = []
    for seed in seeds:
        cells = [cell for group in mine for cell in group.cells if cell.seed == seed]
        points = _points([(float(cell.queries), value_of(cell.score(probe, measure))) for cell in cells])
        floors = [_floor(cell, probe, measure) for cell in cells]
        floor = next((one for one in floors if one is not None), None)
        areas.append(area(points, ends, floor=floor))
    target = value_of(record.target_scores.get(probe, {}).get(measure))
    closed = _points([(group.queries, _closed(group, probe, measure, target)) for group in mine])
    reached = crossing(closed, record.copied_frac)
    return Curve(
        mine[0].method,
        mine[0].defence,
        spread(areas, bounds=(0.0, 1.0)),
        reached,
        at_first=bool(closed) and closed[0][1] >= record.copied_frac,
        gap=max((share for _, share in closed), default=None),
    )


def area(points: Sequence[tuple[float, float]], ends: tuple[float, float], *, floor: float | None) -> float | None:
    """Return the mean of a curve over log queries between two ends, linear in log queries between its points.

    Before its first point a copier has what the no-query control has; after its last it keeps what it got.

    Args:
        points: (queries, quality), in order of queries.
        ends: fewest and most queries, both positive.
        floor: quality without any query; None where it is not known and the curve begins late.
    """
    low, high = ends
    if not points or not 0 < low < high:
        return None
    first, last = points[0], points[-1]
    if first[0] > low and floor is None:
        return None
    total = (floor or 0.0) * math.log(first[0] / low)
    for (x0, y0), (x1, y1) in pairwise(points):
        total += 0.5 * (y0 + y1) * math.log(x1 / x0)
    total += last[1] * math.log(high / last[0])
    return total / math.log(high / low)


def crossing(points: Sequence[tuple[float, float]], level: float) -> float | None:
    """Return the fewest queries at which a curve, linear in log queries between its points, reaches a level."""
    if not points:
        return None
    if points[0][1] >= level:
        return points[0][0]
    for (x0, y0), (x1, y1) in pairwise(points):
        if y1 >= level:
            return float(x0 * (x1 / x0) ** ((level - y0) / (y1 - y0)))
    return None


def _points(pairs: Sequence[tuple[float, float | None]]) -> list[tuple[float, float]]:
    """Return the known points with queries, in order; of several with the same queries the best."""
    top: dict[float, float] = {}
    for queries, value in pairs:
        if value is not None and queries > 0:
            top[queries] = max(value, top.get(queries, value))
    return sorted(top.items())


def _floor(cell: AuditCell, probe: str, measure: str) -> float | None:
    score, gain = value_of(cell.score(probe, measure)), cell.gain(probe, measure)
    return None if score is None or gain is None else score - gain


def _closed(group: Group, probe: str, measure: str, target: float | None) -> float | None:
    """Return the share of the gap from the no-query control to the target that was closed, over the seeds."""
    shares = []
    for cell in group.cells:
        score, floor = value_of(cell.score(probe, measure)), _floor(cell, probe, measure)
        if score is not None and floor is not None and target is not None and target > floor:
            shares.append((score - floor) / (target - floor))
    return sum(shares) / len(shares) if shares else None
