"""Measurements of resistance with made-up cells, near those of the digits, for the tests of their page."""

import hashlib
import html
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from understudy.study.resistance_record import completed

MakeResistance = Callable[..., Path]

ALONE = {"ce": 0.927, "ls": 0.932}
KD = "temperature={},squared_factor={}"
# Accuracies by variant: of students of the ordinary teacher, of Nasty, of AST, of Stingy, of CMIM.
ATTACKS: dict[str, dict[str, tuple[float, ...]]] = {
    "kd": {
        KD.format(1, "True"): (0.934, 0.931, 0.932, 0.932, 0.921),
        KD.format(4, "True"): (0.945, 0.894, 0.931, 0.938, 0.919),
        KD.format(20, "True"): (0.943, 0.835, 0.913, 0.849, 0.905),
        KD.format(20, "False"): (0.931, 0.926, 0.928, 0.920, 0.917),
    },
    "hard_label": {
        "smoothing=0": (0.927, 0.927, 0.926, 0.927, 0.921),
        "smoothing=0.1": (0.930, 0.929, 0.93, 0.93, 0.92),
    },
    "uniform_tail": {"": (0.931, 0.931, 0.929, 0.929, 0.919)},
    "centred": {
        "per_class=False": (0.942, 0.704, 0.921, 0.905, 0.912),
        "per_class=True": (0.940, 0.71, 0.92, 0.90, 0.91),
    },
    "composition": {"temperature=50,beta=0.5": (0.942, 0.936, 0.940, 0.906, 0.918)},
    "skeptical": {"temperature=20": (0.937, 0.927, 0.934, 0.872, 0.916)},
    "averaging": {"views=4": (0.944, 0.930, 0.932, 0.937, 0.920)},
    "recovery": {"hidden=64": (0.943, 0.928, 0.931, 0.941, 0.919)},
}
LABELS = {
    "no_teacher": "No teacher",
    "kd": "Distillation, tuned",
    "hard_label": "Class alone",
    "uniform_tail": "Uniform tail",
    "centred": "Centred logits",
    "composition": "High-temperature composition",
    "skeptical": "Skeptical student",
    "averaging": "Averaging over augmentations",
    "recovery": "Recovery of hidden answers",
    "cake": "CAKE",
}
TEACHERS = {
    "ordinary": ("supervised", "none", 0.965),
    "nasty": ("nasty_teacher", "none", 0.911),
    "ast-paired": ("adversarial_sparse_teacher", "none", 0.936),
    "stingy": ("supervised", "top_k:2", 0.965),
    "cmim": ("cmim", "none", 0.963),
}
ENTROPY = {"ordinary": (0.12, 1.37, 2.24), "nasty": (0.55, 1.68, 2.27), "ast-paired": (0.05, 0.42, 2.1)}
REGIMES = {
    "labelled": ("the owner's images with all labels", 898, 898, 0.0),
    "partial:0.1": ("the owner's images with a tenth of the labels", 898, 90, -0.06),
    "unlabelled": ("other images of the same kind, without labels", 598, 0, -0.02),
    "data_free": ("no images at all", 0, 0, -0.2),
}
COMMAND = (
    "understudy resist --data digits --teachers ordinary=runs/ordinary nasty=runs/nasty --students mlp:12-12 --seeds 3"
)


def jitter(*words: object) -> float:
    """A small number that looks random and is always the same, in [-0.004, 0.004]."""
    return (hashlib.sha256(repr(words).encode()).digest()[0] / 255 - 0.5) * 0.008


def cell(place: dict[str, Any], accuracy: float) -> dict[str, Any]:
    """One training of the grid."""
    seen = accuracy + jitter("seed", place["seed"]) + jitter(*place.values())
    return {
        **place,
        "validation": {"value": seen - 0.01 + jitter(*place.values(), "v"), "n": 90, "by": "labels"},
        "accuracy": seen,
        "agreement": seen - 0.02,
        "chosen": True,
        "folder": "cells/" + "-".join(map(str, place.values())),
        "seconds": 6.4,
        "answers": {"asked": 0, "served": 53_880},
    }


def cells(
    teachers: Sequence[str], students: Sequence[str], regimes: Sequence[str], seeds: Sequence[int]
) -> list[dict[str, Any]]:
    """Every training of the grid; later students are a little better, and students without labels a little worse."""
    found = []
    for at, student in enumerate(students):
        for regime in regimes:
            shift = REGIMES[regime][3] + 0.02 * at
            for seed in seeds:
                place = {"teacher": None, "student": student, "regime": regime}
                if regime in ("labelled", "partial:0.1"):
                    for kind, options in (("ce", "smoothing=0"), ("ls", "smoothing=0.1")):
                        one = {**place, "attack": "no_teacher", "variant": options, "seed": seed}
                        found.append(cell(one, ALONE[kind] + shift * 1.5))
                for name in teachers:
                    column = list(TEACHERS).index(name)
                    suite = ATTACKS if regime != "data_free" else {"cake": {"": (0.93, 0.87, 0.84, 0.90, 0.91)}}
                    for attack, variants in suite.items():
                        for variant, accuracies in variants.items():
                            one = {**place, "teacher": name, "attack": attack, "variant": variant, "seed": seed}
                            found.append(cell(one, accuracies[column] + shift))
    return found


def interval(value: float, seeds: int) -> dict[str, Any]:
    """A mean over seeds with an interval of about the right width."""
    half = 0.04 * value if seeds > 1 else 0.0
    return {"value": value, "low": value - half, "high": value + half, "n": seeds}


def attack(name: str, variants: Sequence[str], regimes: Sequence[str]) -> dict[str, Any]:
    """One attacker of the suite."""
    options = [dict(part.split("=") for part in key.split(",") if part) for key in variants]
    for one in options:
        for key, value in one.items():
            one[key] = json.loads(value.lower())
    return {
        "name": name,
        "label": LABELS[name],
        "summary": f"What {LABELS[name]} does with the answers.",
        "paper": f"The paper of {name}",
        "fidelity": "instantiation" if name == "composition" else "paper",
        "regimes": list(regimes),
        "variants": [{"key": key, "options": one} for key, one in zip(variants, options, strict=True)],
    }


def resistance(
    *,
    teachers: Sequence[str] = ("ordinary", "nasty", "ast-paired", "stingy"),
    students: Sequence[str] = ("mlp:12-12",),
    regimes: Sequence[str] = ("labelled", "unlabelled"),
    seeds: Sequence[int] = (0, 1, 2),
    cells_of: Callable[..., list[dict[str, Any]]] = cells,
    edit: Callable[[dict[str, Any]], object] | None = None,
) -> dict[str, Any]:
    """A whole `resistance.json`, summed up and judged by the functions that do this in a study."""
    record: dict[str, Any] = {
        "format": 1,
        "kind": "resistance",
        "name": "resistance-1a2b3c",
        "date": "2026-11-22T07:31:00+00:00",
        "command": COMMAND,
        "data": {"source": "digits[:898]", "rows": 898, "classes": 10},
        "queries": {"source": "digits[898:1200]", "rows": 598, "labelled": False} if "unlabelled" in regimes else None,
        "test": {"source": "digits[898:]", "split": "test", "rows": 899},
        "teachers": [teacher(name, seeds) for name in teachers],
        "students": list(students),
        "regimes": [
            {"name": name, "words": words, "images": images, "labels": labels, "held_out": 0.1}
            for name, (words, images, labels, _) in REGIMES.items()
            if name in regimes
        ],
        "attacks": [
            attack("no_teacher", ["smoothing=0", "smoothing=0.1"], regimes),
            *(attack(name, list(variants), regimes) for name, variants in ATTACKS.items()),
            *([attack("cake", [""], ["data_free"])] if "data_free" in regimes else []),
        ],
        "seeds": list(seeds),
        "teacher_scores": {
            name: {
                "accuracy": interval(TEACHERS[name][2], len(seeds)),
                "nll": interval(0.21, len(seeds)),
                "ece": interval(0.031, len(seeds)),
                "entropy": {
                    temperature: interval(value, len(seeds))
                    for temperature, value in zip(("1", "4", "20"), ENTROPY[name], strict=True)
                }
                if name in ENTROPY
                else {},
                "l1": interval(0.113, len(seeds)) if name == "stingy" else None,
                "top1_kept": interval(1.0, 1) if name == "stingy" else None,
            }
            for name in teachers
        },
        "cells": cells_of(teachers, students, regimes, seeds),
        "answers": {"asked": 44_900, "served": 6_420_700, "gather_s": 12.5, "fit_s": 1_260.0},
        "failures": [],
        "notes": [],
        "settings": {"margin": 0.01, "held_out": 0.1, "options": {"fit": {"epochs": 60, "batch_size": 64}}},
        "machine": {"understudy": "0.5.0", "device": "cpu", "packages": {"torch": "2.13.0"}},
    }
    if edit is not None:
        edit(record)
    return completed(record)


def teacher(name: str, seeds: Sequence[int]) -> dict[str, Any]:
    """One teacher of the grid; Stingy is the ordinary one behind a defence."""
    method, serving, accuracy = TEACHERS[name]
    base = "ordinary" if name == "stingy" else name
    return {
        "name": name,
        "spec": f"runs/{base}-s{{seed}}",
        "ordinary": name == "ordinary",
        "method": method,
        "fidelity": "paper",
        "serving": serving,
        "keeps_top1": True if name == "stingy" else None,
        "seeds": {str(seed): hashlib.sha256(f"{base}{seed}".encode()).hexdigest() for seed in seeds},
        "accuracies": {str(seed): accuracy + jitter(base, seed) for seed in seeds},
        "about": {"omega": 0.04, "temperature": 4.0} if name == "nasty" else {},
    }


@dataclass(frozen=True)
class Text:
    """A page as one reads it: its words with plain spaces, and the ids of its sections."""

    words: str
    sections: list[str]


@pytest.fixture
def read() -> Callable[[Path], Text]:
    """Return a function that reads a page: no markup, scripts or styles."""

    def words(page: Path) -> Text:
        source = page.read_text(encoding="utf-8")
        bare = re.sub(r"<(script|style).*?</\1>", " ", source, flags=re.DOTALL)
        text = re.sub(r"</?(?:b|code|abbr|strong)\b[^>]*>", "", bare)
        plain = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())
        return Text(plain, re.findall(r'<section id="([^"]+)"', bare))

    return words


@pytest.fixture
def make_resistance(tmp_path: Path) -> MakeResistance:
    """Return a function that writes the folder of a measurement; `after` changes the JSON once it is summed up."""

    def make(after: Callable[[dict[str, Any]], object] | None = None, **parts: Any) -> Path:
        written = resistance(**parts)
        if after is not None:
            after(written)
        folder = tmp_path / "resistance-1a2b3c"
        folder.mkdir(exist_ok=True)
        (folder / "resistance.json").write_text(json.dumps(written), encoding="utf-8")
        return folder

    return make
