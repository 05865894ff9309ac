"""What a resistance study says, worked out from its cells: paired differences over seeds, with their intervals.

Every number here follows from the cells of `resistance.json` and the accuracies of its teachers, so that a record that
was made up by hand, or put together from two machines, is summed up in the same way.

Differences are taken seed by seed and averaged: students of one seed start alike and see the same batches, whoever
teaches them, so that most of the luck of a seed cancels out. An interval is Student's t at 95 %; one seed has none.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from understudy.evaluation.statistics import mean_interval

ALONE = "no_teacher"
"""The attack that is none: students trained on labels alone, with which all others are compared."""
HARD_LABEL, PLAIN = "hard_label", "kd"
_Z95 = 1.959964
Interval = dict[str, Any]
BySeed = Mapping[int, float]
"""One number for each seed that has one."""


def interval(values: Sequence[float]) -> Interval:
    """Return the mean over seeds with its interval; one seed shows no spread, so its ends are the value."""
    if len(values) == 1:
        return {"value": values[0], "low": values[0], "high": values[0], "n": 1}
    return mean_interval(values).to_json()


def alone_kind(options: Mapping[str, Any]) -> str:
    """Return which student without a teacher a variant trains: `ce` (hard labels) or `ls` (smoothed ones)."""
    return "ls" if options.get("smoothing", 0) else "ce"


def choose(cells: Iterable[Mapping[str, Any]], attacks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the cells with "chosen" set: of the variants of one attack, the best on validation images.

    The choice is made anew for each teacher, student, regime and seed. Both kinds of student without a teacher are
    kept, for each is a yardstick. Of two that are equally good, the one that is listed first is taken.
    """
    order = {(attack["name"], one["key"]): place for attack in attacks for place, one in enumerate(attack["variants"])}
    options = _options(attacks)
    best: dict[tuple[Any, ...], tuple[float, int]] = {}
    listed = [dict(cell) for cell in cells]

    def place(cell: Mapping[str, Any]) -> tuple[tuple[Any, ...], tuple[float, int]]:
        kind = alone_kind(options[cell["attack"], cell["variant"]]) if cell["attack"] == ALONE else ""
        key = (*(cell[name] for name in ("teacher", "student", "regime", "attack", "seed")), kind)
        value = cell["validation"]["value"] if cell["validation"] else -math.inf
        return key, (value, -order[cell["attack"], cell["variant"]])

    for cell in listed:
        key, rank = place(cell)
        best[key] = max(best.get(key, rank), rank)
    return [{**cell, "chosen": best[place(cell)[0]] == place(cell)[1]} for cell in listed]


def summarise(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the summary of each defended teacher by name, without its verdict.

    Args:
        record: content of `resistance.json`, as far as it is measured: teachers, students, regimes, attacks, seeds,
            test and cells.
    """
    ordinary = next(one for one in record["teachers"] if one["ordinary"])
    found = _Found(record)
    return {
        teacher["name"]: {
            "cost": owner_cost(ordinary, teacher, record),
            "regimes": {
                regime["name"]: _of_regime(found, regime["name"], ordinary, teacher) for regime in record["regimes"]
            },
        }
        for teacher in record["teachers"]
        if not teacher["ordinary"]
    }


def owner_cost(ordinary: Mapping[str, Any], teacher: Mapping[str, Any], record: Mapping[str, Any]) -> Interval:
    """Return how much accuracy the defence costs the owner, with "over": what its interval is taken over.

    Teachers of their own for each seed give an interval over seeds. One pair of teachers gives one over test images,
    with n = 1: it is about these two networks, and says nothing of another training.
    """
    pairs = {
        (ordinary["seeds"][seed], teacher["seeds"][seed]): (ordinary["accuracies"][seed], teacher["accuracies"][seed])
        for seed in map(str, record["seeds"])
    }
    differences = [first - second for first, second in pairs.values()]
    if len(pairs) > 1:
        return {**interval(differences), "over": "seeds"}
    same = teacher["keeps_top1"] and len(set(next(iter(pairs)))) == 1
    rows, both = record["test"]["rows"], next(iter(pairs.values()))
    half = 0.0 if same else _Z95 * math.sqrt(math.fsum(share * (1 - share) / rows for share in both))
    return {
        "value": differences[0],
        "low": differences[0] - half,
        "high": differences[0] + half,
        "n": 1,
        "over": "images",
    }


def missing_attacks(record: Mapping[str, Any]) -> list[str]:
    """Return what a headline needs and the record lacks, in words: students alone, hard labels, and KD at T = 1.

    Without them the worst case of the attackers that are there could be a mild one.
    """
    found, missing = _Found(record), []
    teachers = [one["name"] for one in record["teachers"]]
    for regime in (one["name"] for one in record["regimes"] if one["name"] != "data_free"):
        for student in record["students"]:
            where: dict[str, Any] = {"regime": regime, "student": student}
            lacks = []
            if regime != "unlabelled":
                named = {"ce": "students without a teacher", "ls": "students without a teacher, on smoothed labels"}
                lacks += [
                    words
                    for kind, words in named.items()
                    if not found.values("accuracy", attack=ALONE, kind=kind, **where)
                ]
            for teacher in teachers:
                if not found.values("accuracy", attack=HARD_LABEL, teacher=teacher, **where):
                    lacks.append(f"the hard-label attack on {teacher}")
                if not found.at_temperature_1(teacher, where):
                    lacks.append(f"plain KD at temperature 1 from {teacher}")
            missing += [f"{words} ({regime}, {student})" for words in lacks]
    return missing


class _Found:
    """The chosen cells of a record, looked up by what they are."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        self.record = record
        self.options = _options(record["attacks"])
        self.attacks = [one["name"] for one in record["attacks"] if one["name"] != ALONE]
        self.cells = record["cells"]

    def values(self, key: str, *, chosen: bool = True, kind: str = "", **what: object) -> dict[int, Any]:
        """Return one entry of the cells that are so, by seed."""
        return {
            cell["seed"]: cell[key]
            for cell in self.cells
            if (cell["chosen"] or not chosen)
            and cell[key] is not None
            and all(cell[name] == value for name, value in what.items())
            and (not kind or alone_kind(self.options[cell["attack"], cell["variant"]]) == kind)
        }

    def at_temperature_1(self, teacher: str, where: Mapping[str, Any]) -> bool:
        """Return whether plain KD was tried without softening."""
        what = {**where, "attack": PLAIN, "teacher": teacher}
        return any(
            all(cell[name] == value for name, value in what.items())
            and self.options[PLAIN, cell["variant"]].get("temperature") == 1
            for cell in self.cells
        )

    def alone(self, regime: str, student: str, ordinary: str) -> tuple[str | None, dict[int, float]]:
        """Return the yardstick, and what it is: the better student without a teacher.

        Without labels there is no such student. The ordinary teacher's class alone takes its place: no defence that
        keeps its answers right can give away less.
        """
        where: dict[str, Any] = {"regime": regime, "student": student}
        kinds = {kind: self.values("accuracy", attack=ALONE, kind=kind, **where) for kind in ("ce", "ls")}
        kinds = {kind: values for kind, values in kinds.items() if values}
        if not kinds and regime == "unlabelled":
            values = self.values("accuracy", attack=HARD_LABEL, teacher=ordinary, **where)
            return (HARD_LABEL, values) if values else (None, {})
        best = max(kinds, key=lambda kind: _mean(kinds[kind]), default=None)
        return best, kinds[best] if best else {}


def _of_regime(found: _Found, regime: str, ordinary: Mapping[str, Any], teacher: Mapping[str, Any]) -> dict[str, Any]:
    students = {
        student: one
        for student in found.record["students"]
        if (one := _of_student(found, regime, student, ordinary, teacher)) is not None
    }
    judged = {name: one["best"] for name, one in students.items() if one["best"]["against_alone"] is not None}
    worst = min(judged, key=lambda name: judged[name]["against_alone"]["value"], default=None)
    headline = None
    if worst is not None:
        kept = ("attack", "against_alone", "protection")
        headline = {"student": worst, **{name: judged[worst][name] for name in kept}}
    return {"students": students, "headline": headline}


def _of_student(
    found: _Found, regime: str, student: str, ordinary: Mapping[str, Any], teacher: Mapping[str, Any]
) -> dict[str, Any] | None:
    where: dict[str, Any] = {"regime": regime, "student": student}
    kind, alone = found.alone(regime, student, ordinary["name"])
    own: dict[str, BySeed] = {}
    others: dict[str, BySeed] = {}
    attacks = {}
    for attack in found.attacks:
        values = found.values("accuracy", attack=attack, teacher=teacher["name"], **where)
        before = found.values("accuracy", attack=attack, teacher=ordinary["name"], **where)
        if before:
            others[attack] = before
        if not values:
            continue
        own[attack] = values
        counts: dict[str, int] = {}
        for key in found.values("variant", attack=attack, teacher=teacher["name"], **where).values():
            counts[str(key)] = counts.get(str(key), 0) + 1
        agreement = found.values("agreement", attack=attack, teacher=teacher["name"], **where)
        attacks[attack] = {
            "variant_counts": counts,
            "accuracy": _interval(values),
            "agreement": _interval(agreement),
            "ordinary": _interval(before),
            "protection": _difference(before, values),
            "against_alone": _difference(alone, values),
        }
    if not own:
        return None
    return {
        "alone": _interval(alone),
        "alone_kind": kind,
        "attacks": attacks,
        "plain": _plain(found, ordinary["name"], teacher["name"], where),
        "best": _best(own, others, alone, _costs(ordinary, teacher)),
    }


def _best(own: Mapping[str, BySeed], others: Mapping[str, BySeed], alone: BySeed, costs: BySeed) -> dict[str, Any]:
    """Return the best attacker of the defended teacher beside the best one of the ordinary teacher."""
    first = max(own, key=lambda name: _mean(own[name]))
    top = max(others, key=lambda name: _mean(others[name]), default=None)
    before = others[top] if top else {}
    protection = _paired(before, own[first])
    return {
        "attack": first,
        "accuracy": _interval(own[first]),
        "ordinary_best": {"attack": top, "accuracy": _interval(before)} if top else None,
        "protection": _interval(protection),
        "against_alone": _difference(alone, own[first]),
        "help_of_ordinary": _difference(before, alone),
        "beyond_cost": _interval({seed: value - costs[seed] for seed, value in protection.items()}),
    }


def _plain(found: _Found, ordinary: str, teacher: str, where: Mapping[str, Any]) -> dict[str, Any] | None:
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
    pick: Callable[[str], dict[int, float]] = lambda name: found.values(  # noqa: E731
        "accuracy", chosen=False, attack=PLAIN, variant=variant, teacher=name, **where
    )
    before, after = pick(ordinary), pick(teacher)
    if not before or not after:
        return None
    record = {one["name"]: one for one in found.record["teachers"]}
    costs = _costs(record[ordinary], record[teacher])
    protection = _paired(before, after)
    return {
        "variant": variant,
        "ordinary": _interval(before),
        "defended": _interval(after),
        "protection": _interval(protection),
        "beyond_cost": _interval({seed: value - costs[seed] for seed, value in protection.items()}),
    }


def _costs(ordinary: Mapping[str, Any], teacher: Mapping[str, Any]) -> BySeed:
    return {int(seed): value - teacher["accuracies"][seed] for seed, value in ordinary["accuracies"].items()}


def _options(attacks: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], Mapping[str, Any]]:
    return {(attack["name"], one["key"]): one["options"] for attack in attacks for one in attack["variants"]}


def _mean(values: BySeed) -> float:
    return math.fsum(values.values()) / len(values)


def _paired(first: BySeed, second: BySeed) -> dict[int, float]:
    """Return first minus second at the seeds that both have."""
    return {seed: first[seed] - second[seed] for seed in first if seed in second}


def _difference(first: BySeed, second: BySeed) -> Interval | None:
    return _interval(_paired(first, second))


def _interval(values: BySeed) -> Interval | None:
    return interval(list(values.values())) if values else None
