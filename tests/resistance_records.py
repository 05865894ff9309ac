"""Resistance studies whose numbers are made up, for the tests of their summary, verdict and page."""

from collections.abc import Mapping, Sequence
from typing import Any

from understudy.study.resistance_record import completed

Accuracies = Mapping[str, float]
"""Test accuracy of each attack's students, by attack; `ce` and `ls` are the students without a teacher."""

ATTACKS: dict[str, list[dict[str, Any]]] = {
    "no_teacher": [{"smoothing": 0.0}, {"smoothing": 0.1}],
    "kd": [
        {"temperature": 1.0, "squared_factor": True},
        {"temperature": 4.0, "squared_factor": True},
        {"temperature": 20.0, "squared_factor": True},
        {"temperature": 20.0, "squared_factor": False},
    ],
    "hard_label": [{"smoothing": 0.0}, {"smoothing": 0.1}],
    "composition": [{}],
    "skeptical": [{"temperature": 20.0}],
    "uniform_tail": [{}],
    "centred": [{}],
    "averaging": [{}],
    "cake": [{}],
}
LABELS = {
    "no_teacher": "No teacher", "kd": "KD, tuned", "hard_label": "Hard label", "composition": "Composition",
    "skeptical": "Skeptical student", "uniform_tail": "Uniform tail", "centred": "Centred logits",
    "averaging": "Averaging", "cake": "CAKE",
}  # fmt: skip
ALONE = {"ce": 0.927, "ls": 0.932}
ORDINARY = {"kd": 0.948, "hard_label": 0.928, "composition": 0.942, "skeptical": 0.937}
JITTER = (0.0, 0.002, -0.002, 0.001, -0.001)
"""What each seed adds to every accuracy."""

PROTECTS = {"kd": 0.925, "hard_label": 0.928, "composition": 0.929, "skeptical": 0.926}
FAILS = {"kd": 0.884, "hard_label": 0.927, "composition": 0.945, "skeptical": 0.937}
WORSENS = {"kd": 0.908, "hard_label": 0.906, "composition": 0.905, "skeptical": 0.904}
"""Students of a teacher that has lost 4 points, as theirs have."""


def made_up(
    defended: Mapping[str, tuple[float, Accuracies]] | None = None,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    students: Sequence[str] = ("mlp:widths=12-12",),
    regimes: Sequence[str] = ("labelled",),
    ordinary: Accuracies = ORDINARY,
    alone: Accuracies = ALONE,
    attacks: Sequence[str] = tuple(ATTACKS),
    spread: float = 0.001,
    own_teachers: bool = True,
    **more: Any,
) -> dict[str, Any]:
    """Return the content of a `resistance.json`.

    Args:
        defended: accuracy of each defended teacher, and of its students by attack; a protecting one by default.
        seeds: of the students.
        students: specs.
        regimes: names.
        ordinary: accuracies of the ordinary teacher's students by attack.
        alone: of students without a teacher.
        attacks: which attacks were made.
        spread: how far seeds lie apart in what is not common to all students of a seed.
        own_teachers: whether each seed has teachers of its own.
        more: entries that replace those made up here.
    """
    given = {"protected": (0.964, PROTECTS)} if defended is None else dict(defended)
    teachers = {"ordinary": (0.965, ordinary), **given}
    if "cake" in attacks and "data_free" not in regimes:
        regimes = (*regimes, "data_free")
    cells = []
    for regime in regimes:
        for student_number, student in enumerate(students):
            for seed_number, seed in enumerate(seeds):
                luck = JITTER[seed_number % len(JITTER)] - 0.004 * student_number
                where = {"student": student, "regime": regime, "seed": seed}
                if "no_teacher" in attacks and regime not in ("unlabelled", "data_free"):
                    for variant, kind in enumerate(("ce", "ls")):
                        cells.append(_cell("no_teacher", variant, alone[kind] + luck, teacher=None, **where))
                for number, (teacher, (_, reached)) in enumerate(teachers.items()):
                    own = spread * ((seed_number + number) % 3 - 1) if number else 0.0
                    for attack in attacks:
                        if attack == "no_teacher" or (attack == "cake") != (regime == "data_free"):
                            continue
                        for variant in range(len(ATTACKS.get(attack, [{}]))):
                            # KD's third variant is the one that sparse answers spoil.
                            worse = 0.004 * variant + (0.05 if attack == "kd" and variant == 2 and number else 0.0)
                            cells.append(
                                _cell(
                                    attack, variant, of(reached, attack) + luck + own - worse, teacher=teacher, **where
                                )
                            )
    record = {
        "format": 1,
        "kind": "resistance",
        "name": "resistance-example",
        "date": "2026-11-22T09:00:00+00:00",
        "command": "understudy resist --data digits --teachers ordinary=runs/ordinary protected=runs/protected",
        "data": {"source": "digits", "rows": 1400, "classes": [str(digit) for digit in range(10)]},
        "queries": None,
        "test": {"source": "digits", "split": "test", "rows": 397},
        "teachers": [
            _teacher(name, accuracy, seeds, own=own_teachers, number=number)
            for number, (name, (accuracy, _)) in enumerate(teachers.items())
        ],
        "students": list(students),
        "regimes": [_regime(name) for name in regimes],
        "attacks": [_attack(name) for name in attacks],
        "seeds": list(seeds),
        "teacher_scores": {
            name: {
                "accuracy": _about(accuracy),
                "nll": _about(0.12 + 0.1 * number),
                "ece": _about(0.02 + 0.01 * number),
                "entropy": {"1": _about(0.11), "4": _about(1.37 - 0.4 * number), "20": _about(2.21)},
                "l1": None if name == "ordinary" else _about(0.21),
                "top1_kept": None if name == "ordinary" else _about(1.0),
            }
            for number, (name, (accuracy, _)) in enumerate(teachers.items())
        },
        "cells": cells,
        "answers": {"asked": 2800, "served": 61600, "gather_s": 3.4, "fit_s": 212.5},
        "failures": [],
        "notes": [],
        "settings": {"margin": 0.01, "held_out": 0.1, "preset": "digits", "options": {}},
        "machine": {"understudy": "0.5.0", "python": "3.11.9", "cpu": "made up", "cores": 2, "device": "cpu"},
        **more,
    }
    return completed(record)


def of(reached: Accuracies, attack: str) -> float:
    """Return the accuracy of an attack's students; attacks that are not named stay behind the others."""
    return reached.get(attack, 0.7 if attack == "cake" else min(reached.values()) - 0.004)


def _cell(
    attack: str, variant: int, accuracy: float, *, teacher: str | None, student: str, regime: str, seed: int
) -> dict[str, Any]:
    key = _variants(attack)[variant]["key"]
    by = "answers" if regime in ("unlabelled", "data_free") else "labels"
    folder = f"cells/{regime}/{student.replace(':', '-')}/{teacher or 'none'}/{attack}-{key}-s{seed}"
    return {
        "teacher": teacher,
        "student": student,
        "regime": regime,
        "attack": attack,
        "variant": key,
        "seed": seed,
        "validation": {"value": accuracy + 0.003, "low": accuracy - 0.04, "high": accuracy + 0.03, "n": 140, "by": by},
        "accuracy": accuracy,
        "agreement": None if teacher is None else accuracy - 0.005,
        "folder": folder,
        "seconds": 4.2,
        "answers": {"asked": 0, "served": 0 if teacher is None else 1400},
    }


def _variants(attack: str) -> list[dict[str, Any]]:
    from understudy.study.resistance_attacks import variant_key

    return [{"key": variant_key(options), "options": options} for options in ATTACKS.get(attack, [{}])]


def _teacher(name: str, accuracy: float, seeds: Sequence[int], *, own: bool, number: int) -> dict[str, Any]:
    shift = {str(seed): JITTER[place % len(JITTER)] if own else 0.0 for place, seed in enumerate(seeds)}
    return {
        "name": name,
        "spec": f"runs/{name}-{{seed}}" if own else f"runs/{name}",
        "ordinary": number == 0,
        "method": "supervised" if number == 0 else "stingy_teacher",
        "fidelity": "paper" if number == 0 else "official",
        "serving": "none" if number == 0 else "top_k:2",
        "keeps_top1": None if number == 0 else True,
        "seeds": {str(seed): f"{number}{seed if own else 0}".ljust(64, "a") for seed in seeds},
        "accuracies": {seed: accuracy + moved for seed, moved in shift.items()},
        "parted": {seed: 0.0 if number == 0 else abs(0.965 - accuracy) + 0.01 for seed in shift},
        "about": {},
    }


def _regime(name: str) -> dict[str, Any]:
    words = {
        "labelled": "all of the owner's images, with their labels",
        "unlabelled": "the owner's images without a label",
        "data_free": "no images at all",
    }
    free = name == "data_free"
    labels = {"labelled": 1260, "unlabelled": 0, "data_free": 0}.get(name, 126)
    return {
        "name": name,
        "words": words.get(name, f"the owner's images, with labels for {name.partition(':')[2]} of them"),
        "images": 0 if free else 1260,
        "labels": labels,
        "held_out": 0 if free else 140,
    }


def _attack(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": LABELS.get(name, name),
        "summary": "made up",
        "paper": "made up",
        "fidelity": "paper",
        "regimes": ["data_free"] if name == "cake" else ["labelled", "unlabelled", "partial:0.1"],
        "variants": _variants(name),
    }


def _about(value: float) -> dict[str, Any]:
    return {"value": value, "low": value - 0.004, "high": value + 0.004, "n": 3}
