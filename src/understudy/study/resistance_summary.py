"""What a resistance study says, worked out from its cells: paired differences over seeds, with their intervals.

Every number here follows from the cells of `resistance.json` and the accuracies of its teachers, so that a record that
was made up by hand, or put together from two machines, is summed up in the same way.

Differences are taken seed by seed and averaged: students of one seed start alike and see the same batches, whoever
teaches them, so that most of the luck of a seed cancels out. An interval is Student's t at 95 %; one seed has none.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from understudy.evaluation.statistics import mean_interval
from understudy.study.resistance_found import PLAIN, BySeed, Found

_Z95 = 1.959964
Interval = dict[str, Any]


def interval(values: Sequence[float]) -> Interval:
    """Return the mean over seeds with its interval; one seed shows no spread, so its ends are the value."""
    if len(values) == 1:
        return {"value": values[0], "low": values[0], "high": values[0], "n": 1}
    return mean_interval(values).to_json()


def summarise(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the summary of each defended teacher by name, without its verdict.

    Args:
        record: content of `resistance.json`, as far as it is measured: teachers, students, regimes, attacks, seeds,
            test and cells.
    """
    ordinary = next(one for one in record["teachers"] if one["ordinary"])
    found = Found(record)
    defended = [teacher for teacher in record["teachers"] if not teacher["ordinary"]]
    costs = {teacher["name"]: owner_cost(ordinary, teacher, record) for teacher in defended}
    return {
        teacher["name"]: {
            "cost": (cost := costs[teacher["name"]]),
            "regimes": {
                regime["name"]: _of_regime(found, regime["name"], ordinary, teacher, cost)
                for regime in record["regimes"]
            },
        }
        for teacher in defended
    }


def owner_cost(ordinary: Mapping[str, Any], teacher: Mapping[str, Any], record: Mapping[str, Any]) -> Interval:
    """Return how much accuracy the defence costs the owner, with "over": what its interval is taken over.

    Teachers of their own for each seed give an interval over seeds. One pair of teachers gives one over test images,
    with n = 1: it is about these two networks, and says nothing of another training. Both saw the same images, so
    that only those count on which one is right and the other is not ("parted").
    """
    pairs = {
        (ordinary["seeds"][seed], teacher["seeds"][seed]): (ordinary["accuracies"][seed], teacher["accuracies"][seed])
        for seed in map(str, record["seeds"])
    }
    differences = [first - second for first, second in pairs.values()]
    if len(pairs) > 1:
        return {**interval(differences), "over": "seeds"}
    rows, seed, cost = record["test"]["rows"], str(record["seeds"][0]), differences[0]
    half = _Z95 * math.sqrt(max(teacher["parted"][seed] - cost**2, 0.0) / rows)
    return {"value": cost, "low": cost - half, "high": cost + half, "n": 1, "over": "images"}


def _of_regime(
    found: Found, regime: str, ordinary: Mapping[str, Any], teacher: Mapping[str, Any], cost: Interval
) -> dict[str, Any]:
    students = {
        student: one
        for student in found.record["students"]
        if (one := _of_student(found, regime, student, ordinary, teacher, cost)) is not None
    }
    judged = {name: one["best"] for name, one in students.items() if one["best"]["against_alone"] is not None}
    worst = min(judged, key=lambda name: judged[name]["against_alone"]["value"], default=None)
    headline = None
    if worst is not None:
        kept = ("attack", "against_alone", "protection")
        headline = {"student": worst, **{name: judged[worst][name] for name in kept}}
    return {"students": students, "headline": headline}


def _of_student(
    found: Found,
    regime: str,
    student: str,
    ordinary: Mapping[str, Any],
    teacher: Mapping[str, Any],
    cost: Interval,
) -> dict[str, Any] | None:
    kind, alone = found.alone(regime, student, ordinary["name"])
    own: dict[str, BySeed] = {}
    others: dict[str, BySeed] = {}
    attacks = {}
    unfinished = []
    for attack in found.attacks_in(regime):
        where = {"attack": attack, "regime": regime, "student": student}
        values = found.of_attack("accuracy", teacher=teacher["name"], **where)
        before = found.of_attack("accuracy", teacher=ordinary["name"], **where)
        if found.whole(before):
            others[attack] = before
        if not found.whole(values):
            unfinished.append(attack)
        if not values:
            continue
        if found.whole(values):
            own[attack] = values
        counts: dict[str, int] = {}
        for key in found.of_attack("variant", teacher=teacher["name"], **where).values():
            counts[str(key)] = counts.get(str(key), 0) + 1
        agreement = found.of_attack("agreement", teacher=teacher["name"], **where)
        attacks[attack] = {
            "variant_counts": counts,
            "accuracy": _share(values),
            "agreement": _share(agreement),
            "ordinary": _share(before),
            "protection": _difference(before, values),
            "against_alone": _difference(alone, values),
        }
    if not own:
        return None
    costs = _costs(ordinary, teacher)
    doubt = (cost["high"] - cost["low"]) / 2 if cost["over"] == "images" else 0.0
    return {
        "alone": _share(alone),
        "alone_kind": kind,
        "attacks": attacks,
        "unfinished": unfinished,
        "plain": _plain(found, ordinary["name"], teacher["name"], {"regime": regime, "student": student}, costs, doubt),
        "best": _best(own, others, alone, costs, doubt),
    }


def _best(
    own: Mapping[str, BySeed], others: Mapping[str, BySeed], alone: BySeed, costs: BySeed, doubt: float
) -> dict[str, Any]:
    """Return the best attacker of the defended teacher beside the best one of the ordinary teacher."""
    first = max(own, key=lambda name: _mean(own[name]))
    top = max(others, key=lambda name: _mean(others[name]), default=None)
    before = others[top] if top else {}
    protection = _paired(before, own[first])
    return {
        "attack": first,
        "accuracy": _share(own[first]),
        "ordinary_best": {"attack": top, "accuracy": _share(before)} if top else None,
        "protection": _interval(protection),
        "against_alone": _difference(alone, own[first]),
        "help_of_ordinary": _difference(before, alone),
        "beyond_cost": _beyond(protection, costs, doubt),
    }


def _plain(
    found: Found, ordinary: str, teacher: str, where: Mapping[str, Any], costs: BySeed, doubt: float
) -> dict[str, Any] | None:
    """Return plain distillation: the variant, with the squared factor, that validation likes best on the ordinary one.

    It is what somebody does who takes the teacher for an ordinary one.
    """
    tried: dict[str, list[float]] = {}
    for cell in found.cells:
        same = all(cell[name] == value for name, value in {**where, "attack": PLAIN, "teacher": ordinary}.items())
        if same and found.options[PLAIN, cell["variant"]].get("squared_factor", True):
            tried.setdefault(cell["variant"], []).append(cell["validation"]["value"] if cell["validation"] else 0.0)
    variant = max(tried, key=lambda key: math.fsum(tried[key]) / len(tried[key]), default=None)
    if variant is None:
        return None
    what = {**where, "attack": PLAIN, "variant": variant}
    before, after = (found.values("accuracy", chosen=False, teacher=name, **what) for name in (ordinary, teacher))
    if not before or not after:
        return None
    protection = _paired(before, after)
    return {
        "variant": variant,
        "ordinary": _share(before),
        "defended": _share(after),
        "protection": _interval(protection),
        "beyond_cost": _beyond(protection, costs, doubt),
    }


def _beyond(protection: BySeed, costs: BySeed, doubt: float) -> Interval | None:
    """Return what students lose beyond the owner's own loss; `doubt` about that loss widens the interval."""
    found = _interval({seed: value - costs[seed] for seed, value in protection.items()})
    if found is None:
        return None
    low, high = (math.hypot(found[end] - found["value"], doubt) for end in ("low", "high"))
    return {**found, "low": found["value"] - low, "high": found["value"] + high}


def _costs(ordinary: Mapping[str, Any], teacher: Mapping[str, Any]) -> BySeed:
    return {int(seed): value - teacher["accuracies"][seed] for seed, value in ordinary["accuracies"].items()}


def _mean(values: BySeed) -> float:
    return math.fsum(values.values()) / len(values)


def _paired(first: BySeed, second: BySeed) -> dict[int, float]:
    """Return first minus second at the seeds that both have."""
    return {seed: first[seed] - second[seed] for seed in first if seed in second}


def _difference(first: BySeed, second: BySeed) -> Interval | None:
    return _interval(_paired(first, second))


def _interval(values: BySeed) -> Interval | None:
    return interval(list(values.values())) if values else None


def _share(values: BySeed) -> Interval | None:
    """Return the mean of shares, whose interval few seeds could carry beyond 0 or 1."""
    found = _interval(values)
    return found and {**found, "low": max(found["low"], 0.0), "high": min(found["high"], 1.0)}
