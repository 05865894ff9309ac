"""Evaluations under attack with realistic numbers, written by hand, for the tests of their page."""

import html
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from understudy.runs.tensors import save_tensors

MakeRobustness = Callable[..., Path]

CLASSES = ["airplane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
EPSILON = 8 / 255
ROWS = 1000
COMMAND = "understudy evaluate runs/crdnd-s0 --data cifar10 --attack fgsm,pgd20,cw,autoattack --epsilon 8/255"
# (clean, FGSM, PGD-20, CW, AutoAttack) of each network.
SHARES = {
    "last": (0.843, 0.562, 0.508, 0.491, 0.472),
    "best": (0.829, 0.571, 0.523, 0.502, 0.489),
    "against": (0.848, 0.559, 0.497, 0.478, 0.453),
    "teacher": (0.851, 0.601, 0.561, 0.553, 0.531),
}
ATTACKS = ("fgsm", "pgd20", "cw", "autoattack")
PER_CLASS = (0.61, 0.70, 0.31, 0.18, 0.29, 0.35, 0.55, 0.57, 0.66, 0.50)


def interval(value: float, n: int = ROWS) -> dict[str, Any]:
    """A share with an interval of about the right width; that it is Wilson's is not the subject here."""
    half = 1.96 * math.sqrt(max(value * (1 - value), 0.002) / n)
    return {"value": value, "low": max(0.0, value - half), "high": min(1.0, value + half), "n": n}


def network(role: str, name: str, *, method: str | None = "crdnd") -> dict[str, Any]:
    """What one network is."""
    return {
        "name": name,
        "role": role,
        "spec": "wideresnet:depth=34-10" if role == "teacher" else "resnet18:stem=cifar",
        "parameters": 46_200_000 if role == "teacher" else 11_170_000,
        "macs": 6_660_000_000 if role == "teacher" else 555_000_000,
        "sha256": role[0] * 64,
        "trained_by": method,
        "fidelity": "instantiation" if method == "crdnd" else "official" if method else None,
    }


def attack(name: str, label: str, *, steps: int = 20, objective: str = "cross-entropy") -> dict[str, Any]:
    """One attack and its values."""
    return {
        "name": name,
        "label": label,
        "objective": objective,
        "steps": steps,
        "step": EPSILON / 4,
        "start": "none" if name == "fgsm" else "uniform",
        "restarts": 1,
        "what": f"what {label} does",
    }


def scores(key: str) -> dict[str, Any]:
    """What became of one network; the teacher is spared AutoAttack, as the evaluation does."""
    clean, *left = SHARES[key]
    left = left[:3] if key == "teacher" else left
    return {
        "clean": interval(clean),
        "attacks": {
            name: {"robust": interval(value), "seconds": 20.0 * (at + 1)}
            for at, (name, value) in enumerate(zip(ATTACKS, left, strict=False))
        },
        "worst": interval(left[-1]),
        "per_class": [
            {
                "class": label,
                "clean": interval(min(worst + 0.35, 0.97), 100),
                "worst": interval(worst, 100),
                "rows": 100,
            }
            for label, worst in zip(CLASSES, PER_CLASS, strict=True)
        ],
    }


def pair(a: str, b: str, attack: str, only: tuple[int, int], p: float) -> dict[str, Any]:
    """One comparison of two networks, image by image."""
    difference = (only[0] - only[1]) / ROWS
    return {
        "a": a,
        "b": b,
        "attack": attack,
        "both": 430,
        "only_a": only[0],
        "only_b": only[1],
        "neither": ROWS - 430 - sum(only),
        "difference": difference,
        "low": difference - 0.02,
        "high": difference + 0.02,
        "p_value": p,
    }


def flag(name: str = "square_wins", *, model: str = "last", acknowledged: bool = False) -> dict[str, Any]:
    """A red flag."""
    return {
        "name": name,
        "model": model,
        "what": "Square, which sees no gradient, still found mistakes after the attacks that do",
        "measured": "2.3 points",
        "expected": "at most 0.2 points",
        "meaning": "The gradients seem to lead nowhere: they may be masked.",
        "to_do": "add autoattack",
        "acknowledged": acknowledged,
    }


def robustness(keys: tuple[str, ...] = ("last", "best", "against", "teacher")) -> dict[str, Any]:
    """A whole `robustness.json`."""
    roles = {"best": ("crdnd-s0", "crdnd"), "last": ("crdnd-s0", "crdnd"), "teacher": ("wrn-34-10", None)}
    roles["against"] = ("rslad-s0", "rslad")
    return {
        "format": 1,
        "kind": "robustness",
        "date": "2026-11-22T07:31:00+00:00",
        "threat": {"norm": "linf", "epsilon": EPSILON},
        "data": {"source": "cifar10", "split": "test", "rows": ROWS, "of": 10_000, "classes": CLASSES},
        "models": {key: network(key, roles[key][0], method=roles[key][1]) for key in keys},
        "attacks": [
            attack("fgsm", "FGSM", steps=1),
            attack("pgd20", "PGD-20"),
            attack("cw", "CW", steps=30, objective="margin"),
            {**attack("autoattack", "AutoAttack", objective="four attacks in turn"), "steps": None, "step": None},
        ],
        "scores": {key: scores(key) for key in keys},
        "sweep": {
            key: {
                "attack": "pgd20",
                "points": [
                    {"epsilon": at / 255, "robust": interval(max(0.0, SHARES[key][0] - 0.042 * at + 0.0003 * at * at))}
                    for at in (0, 2, 4, 8, 12, 16, 24, 32)
                ],
            }
            for key in keys
            if key != "teacher"
        },
        "paired": [
            pair("last", "against", "clean", (41, 46), 0.668),
            pair("last", "against", "worst", (58, 31), 0.0056),
        ],
        "transfer": {
            "from": "teacher",
            "to": "last",
            "attack": "pgd20",
            "transferred": interval(0.671),
            "white_box": interval(0.508),
        },
        "parting": {
            "teacher": "teacher",
            "student": "last",
            "attack": "the worst of fgsm, pgd20, cw",
            "attacks": ["fgsm", "pgd20", "cw"],
            "clean": {"both_right": 800, "student_only": 43, "teacher_only": 51, "both_wrong": 106},
            "both_right": 411,
            "student_only": 61,
            "teacher_only": 120,
            "both_wrong": 408,
            "per_class": [
                {"class": label, "both_right": 40, "student_only": at, "teacher_only": 12, "both_wrong": 48 - at}
                for at, label in enumerate(CLASSES)
            ],
        },
        "flags": [],
        "checks": [
            {
                "name": name,
                "model": key,
                "passed": True,
                "measured": f"{name} of {key}",
                "what": f"{name} as it should be",
            }
            for key in keys
            if key != "teacher"
            for name in ("order", "zero_gradients", "sweep")
        ],
        "verdict": "47.2 % robust",
        "notes": [],
        "examples": [
            {
                "row": 7 * at,
                "model": "last",
                "attack": "pgd20",
                "label": at % 10,
                "clean": at % 10,
                "adversarial": (at + 1) % 10,
                "teacher_clean": at % 10,
                "teacher_adversarial": (at + at % 2) % 10,
            }
            for at in range(6)
        ],
        "settings": {
            "seed": 0,
            "batch_size": 250,
            "precision": "float32",
            "command": COMMAND,
            "versions": {"torch": "2.13.0"},
        },
    }


def examples(many: int, shape: tuple[int, ...] = (3, 32, 32)) -> dict[str, torch.Tensor]:
    """Smooth pictures, and the same with a change of the full radius in one half and none in the other."""
    ramp = torch.linspace(0.2, 0.8, shape[-1]).expand(shape)
    clean = torch.stack([ramp.roll(3 * at, dims=-1) for at in range(many)])
    change = torch.zeros_like(clean)
    half = shape[-1] // 2
    change[..., :half] = EPSILON * (-1.0) ** torch.arange(half)
    return {"clean": clean, "adversarial": (clean + change).clamp(0, 1)}


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
        text = re.sub(r"</?(?:b|code|abbr)\b[^>]*>", "", bare)
        plain = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())
        return Text(plain, re.findall(r'<section id="([^"]+)"', bare))

    return words


@pytest.fixture
def make_robustness(tmp_path: Path) -> MakeRobustness:
    """Return a function that writes the folder of an evaluation.

    `edit` changes the JSON in place; `images` are the tensors of the examples, None for no such file.
    """

    def make(edit: Callable[[dict[str, Any]], object] | None = None, **parts: Any) -> Path:
        images = parts.pop("images", examples(6))
        written = robustness(**parts)
        if edit is not None:
            edit(written)
        folder = tmp_path / "robustness-crdnd-s0-1a2b3c"
        folder.mkdir(exist_ok=True)
        (folder / "robustness.json").write_text(json.dumps(written), encoding="utf-8")
        if images is not None:
            save_tensors(folder / "examples.safetensors", images, {})
        return folder

    return make


@pytest.fixture
def make_robust_run(make_run: Callable[..., Path]) -> MakeRobustness:
    """Return a function that writes a finished run of a robust method; `edit` changes its result in place."""
    return lambda edit=None, **parts: robust_run(make_run, edit, **parts)


def robust_run(
    make_run: Callable[..., Path], edit: Callable[[dict[str, Any]], object] | None = None, **parts: Any
) -> Path:
    """A finished run of a robust method, with a first look at every network under attack."""

    def look(pgd20: float, cw: float) -> dict[str, Any]:
        attacks = {"pgd20": interval(pgd20), "cw": interval(cw)}
        return {"norm": "linf", "epsilon": EPSILON, "rows": ROWS, "attacks": attacks, "worst": interval(cw - 0.004)}

    def attacked(result: dict[str, Any]) -> None:
        for key in ("samples", "bank_bytes", "synthetic"):
            del result[key]
        old = result["scores"]
        result |= {
            "method": "crdnd",
            "family": "robust",
            "fidelity": "instantiation",
            "preset": "paper_cifar10",
            "threat": {"norm": "linf", "epsilon": EPSILON},
            "teacher_evaluations": 250_000,
            "answers": {"asked": 50_000, "served": 150_000},
            "held_out": {"rows": 1000, "best_epoch": 24, "best": 0.531, "last": 0.512},
            "guard": {"collapsed_in_epoch": None},
            "data": {"source": "cifar10", "split": "test", "rows": 10_000, "classes": result["data"]["classes"]},
            "scores": {
                "student": old["student"] | {"robust": look(0.508, 0.491)},
                "teacher": old["teacher"] | {"robust": look(0.561, 0.553)},
                "best": old["real_control"] | {"robust": look(0.523, 0.502)},
            },
            "timing_s": {"train": 8_123.0, "evaluate": 75.0},
        }
        if edit is not None:
            edit(result)

    rows: list[dict[str, Any]] = []
    for at in range(30):
        metrics = {"loss": 2.0 - 0.03 * at, "accuracy": 0.4 + 0.01 * at, "robust": 0.25 + 0.008 * at}
        rows.append({"phase": "train", "step": 20 * at, "wall_s": float(at), "metrics": metrics})
        rows.append({"phase": "held_out", "step": at + 1, "wall_s": float(at), "metrics": {"robust": 0.3 + 0.007 * at}})
    command = "understudy distil crdnd --teacher runs/wrn --student resnet18:stem=cifar --data cifar10"
    environment = {"command": command}
    return make_run(**{"name": "crdnd-s0", "edit": attacked, "events": rows, "environment": environment, **parts})
