"""The cells of a resistance study, looked up by what they are: which are chosen, and what a worst case still lacks."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

ALONE = "no_teacher"
"""The attack that is none: students trained on labels alone, with which all others are compared."""
HARD_LABEL, PLAIN, WITHOUT_DATA = "hard_label", "kd", "cake"
DATA_FREE_REGIME = "data_free"
_LEAST = ("uniform_tail", "centred", "composition", "skeptical")
_EITHER = (("averaging", "recovery"), (WITHOUT_DATA,))
BySeed = Mapping[int, float]
"""One number for each seed that has one."""


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


def missing_attacks(record: Mapping[str, Any]) -> list[str]:
    """Return what a headline needs and the record lacks, in words.

    Students alone, hard labels, and plain KD at several temperatures, 1 among them, each at every seed. Without them
    the worst case of the attackers that are there could be a mild one.
    """
    found, missing = Found(record), []
    teachers = [one["name"] for one in record["teachers"]]
    for regime in (one["name"] for one in record["regimes"] if one["name"] != DATA_FREE_REGIME):
        for student in record["students"]:
            where: dict[str, Any] = {"regime": regime, "student": student}
            lacks = [] if regime == "unlabelled" else found.lacks_alone(where)
            for teacher in teachers:
                if not found.whole(found.values("accuracy", attack=HARD_LABEL, teacher=teacher, **where)):
                    lacks.append(f"the hard-label attack on {teacher}")
                if not found.softened_and_not(teacher, where):
                    lacks.append(f"plain KD at temperature 1 and at another from {teacher}")
            missing += [f"{words} ({regime}, {student})" for words in lacks]
    return missing


def weak_points(record: Mapping[str, Any]) -> list[str]:
    """Return what else a suite should have before it may say that a teacher is protected."""
    names = {one["name"]: one["label"] for one in record["attacks"]}
    weak = [_words(name) for name in _LEAST if name not in names]
    return weak + [" or ".join(map(_words, some)) for some in _EITHER if not names.keys() & set(some)]


def _words(name: str) -> str:
    return name.replace("_", " ")


class Found:
    """The chosen cells of a record, looked up by what they are."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        self.record = record
        self.options = _options(record["attacks"])
        self.attacks = {one["name"]: one["regimes"] for one in record["attacks"] if one["name"] != ALONE}
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

    def attacks_in(self, regime: str) -> list[str]:
        """Return the attacks of a regime, with the one that needs no data."""
        return [name for name, regimes in self.attacks.items() if regime in regimes or name == WITHOUT_DATA]

    def whole(self, values: BySeed) -> bool:
        """Return whether there is a number at every seed."""
        return all(seed in values for seed in self.record["seeds"])

    def lacks_alone(self, where: Mapping[str, Any]) -> list[str]:
        """Return which students without a teacher are missing, in words."""
        named = {"ce": "students without a teacher", "ls": "students without a teacher, on smoothed labels"}
        return [
            words
            for kind, words in named.items()
            if not self.whole(self.values("accuracy", attack=ALONE, kind=kind, **where))
        ]

    def softened_and_not(self, teacher: str, where: Mapping[str, Any]) -> bool:
        """Return whether plain KD was tried at temperature 1 and at another one, at every seed."""
        seeds: dict[bool, set[int]] = {True: set(), False: set()}
        for cell in self.cells:
            if all(cell[name] == value for name, value in {**where, "attack": PLAIN, "teacher": teacher}.items()):
                seeds[self.options[PLAIN, cell["variant"]].get("temperature", 4) == 1].add(cell["seed"])
        return all(seeds[plain].issuperset(self.record["seeds"]) for plain in (True, False))

    def of_attack(self, key: str, attack: str, teacher: str, regime: str, student: str) -> dict[int, Any]:
        """Return one entry of an attack's chosen cells by seed.

        Who has images can do without them, so that the data-free attacker is one of every regime's.
        """
        regime = DATA_FREE_REGIME if attack == WITHOUT_DATA else regime
        return self.values(key, attack=attack, teacher=teacher, regime=regime, student=student)

    def alone(self, regime: str, student: str, ordinary: str) -> tuple[str | None, dict[int, float]]:
        """Return the yardstick, and what it is: the better student without a teacher.

        Where labels are scarce the ordinary teacher's class alone is a yardstick, too, for no defence that keeps its
        answers right can give away less; where there are none it is the only one.
        """
        where: dict[str, Any] = {"regime": regime, "student": student}
        kinds = {kind: self.values("accuracy", attack=ALONE, kind=kind, **where) for kind in ("ce", "ls")}
        if regime == "unlabelled" or regime.startswith("partial"):
            kinds[HARD_LABEL] = self.values("accuracy", attack=HARD_LABEL, teacher=ordinary, **where)
        kinds = {kind: values for kind, values in kinds.items() if values}
        best = max(kinds, key=lambda kind: _mean(kinds[kind]), default=None)
        return best, kinds[best] if best else {}


def _options(attacks: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], Mapping[str, Any]]:
    return {(attack["name"], one["key"]): one["options"] for attack in attacks for one in attack["variants"]}


def _mean(values: BySeed) -> float:
    return math.fsum(values.values()) / len(values)
