"""Audits with the numbers of a small real study, written by hand, for the tests of their page."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

MakeAudit = Callable[..., Path]

# (linear, few-shot, fidelity) of a copy with the largest budget, by method and defence.
BEST = {
    ("rda", "none"): (0.966, 0.842, 0.981),
    ("rda", "noise:0.5"): (0.941, 0.761, 0.855),
    ("rda", "topk:5"): (0.896, 0.658, 0.804),
    ("rda", "rounding:1"): (0.964, 0.829, 0.963),
    ("cont_steal", "none"): (0.952, 0.807, 0.895),
    ("cont_steal", "noise:0.5"): (0.912, 0.711, 0.910),
    ("cont_steal", "topk:5"): (0.896, 0.633, 0.800),
    ("cont_steal", "rounding:1"): (0.944, 0.792, 0.893),
    ("conventional", "none"): (0.949, 0.825, 0.971),
    ("conventional", "noise:0.5"): (0.876, 0.613, 0.800),
    ("conventional", "topk:5"): (0.910, 0.776, 0.780),
    ("conventional", "rounding:1"): (0.936, 0.793, 0.941),
}
HONEST = {"none": (0.972, 0.854), "noise:0.5": (0.133, 0.115), "topk:5": (0.864, 0.677), "rounding:1": (0.940, 0.807)}
TARGET = (0.972, 0.854)
NO_QUERY = (0.883, 0.729, 0.604)
RANDOM = (0.734, 0.431, 0.567)
MEASURES = ("linear", "few_shot")


def interval(value: float, half: float = 0.012) -> dict[str, Any]:
    """A score with an interval of about the right width."""
    return {"value": value, "low": max(-1.0, value - half), "high": min(1.0, value + half), "n": 397}


def scores(values: tuple[float, ...], shift: float = 0.0) -> dict[str, Any]:
    """The probes of one network, on one data set."""
    return {name: interval(value + shift) for name, value in zip(MEASURES, values, strict=False)}


def counts(rows: int, *, budget: int | None, repeated: int = 0) -> dict[str, Any]:
    """One account of a ledger."""
    return {
        "rows": rows,
        "requests": -(-rows // 256),
        "sent": rows,
        "answered": rows,
        "unanswered": 0,
        "failed": 0,
        "distinct": rows - repeated,
        "repeated": repeated,
        "replayed": 0,
        "budget": budget,
    }


def cell(method: str, budget: int, defence: str, seed: int, *, budgets: list[int], probes: list[str]) -> dict[str, Any]:
    """One run of the grid; less budget makes a copy that lies between control and best."""
    linear, few, fidelity = BEST[method, defence]
    part = 1.0 if budget == max(budgets) else 0.45
    shift = 0.004 * (seed - 1)
    values = (NO_QUERY[0] + part * (linear - NO_QUERY[0]), NO_QUERY[1] + part * (few - NO_QUERY[1]))
    queries = min(budget, 400) if method == "conventional" else budget
    return {
        "method": method,
        "budget": budget,
        "defence": defence,
        "seed": seed,
        "folder": f"cells/{method}-b{budget}-{defence}-s{seed}",
        "images": queries // 10 if method == "rda" else min(queries, 400),
        "queries": queries,
        "partial": False,
        "ledger": {"extraction": counts(queries, budget=budget), "evaluation": counts(0, budget=None)},
        "scores": {probe: scores(values, shift) for probe in probes},
        "fidelity": interval(0.6 + part * (fidelity - 0.6), 0.004),
        "leakage": {
            probe: {name: value + shift - base for name, value, base in zip(MEASURES, values, NO_QUERY, strict=False)}
            for probe in probes
        },
        "cost": 1.5 * queries / 1000,
    }


def audit(
    *,
    methods: list[str] | None = None,
    budgets: list[int] | None = None,
    defences: list[str] | None = None,
    seeds: list[int] | None = None,
    probes: list[str] | None = None,
) -> dict[str, Any]:
    """A whole `audit.json`."""
    methods = methods or ["rda", "cont_steal", "conventional"]
    budgets = budgets or [100, 1000]
    defences = defences or ["none", "rounding:1", "topk:5", "noise:0.5"]
    seeds = [0, 1, 2] if seeds is None else seeds
    probes = probes or ["digits"]
    return {
        "format": 1,
        "target": {
            "name": "digits-encoder",
            "spec": "runs/encoder",
            "access": "embeddings",
            "input_shape": [1, 8, 8],
            "width": 96,
            "sha256": "9f2c" * 16,
        },
        "owner": "Example Ltd",
        "authorised_by": "J. Doe, head of research",
        "surrogate": "cnn:widths=24-48-96",
        "queries": {"source": "digits[600:1000]", "rows": 400, "adapted": None},
        "probes": [{"source": p, "classes": 10, "train_rows": 400, "test_rows": 397, "adapted": None} for p in probes],
        "methods": methods,
        "budgets": budgets,
        "defences": defences,
        "seeds": seeds,
        "price_per_1000": 1.5,
        "currency": "EUR",
        "copied_frac": 0.9,
        "cells": [
            cell(method, budget, defence, seed, budgets=budgets, probes=probes)
            for method in methods
            for budget in budgets
            for defence in defences
            for seed in seeds
        ],
        "failures": [],
        "controls": {
            name: [
                {
                    "seed": seed,
                    "images": images,
                    "scores": {probe: scores(values, 0.01 * (seed - 1)) for probe in probes},
                    "fidelity": interval(values[2], 0.003),
                }
                for images in (40, 100)
                for seed in seeds
            ]
            for name, values in (("random", RANDOM), ("no_query", NO_QUERY))
        },
        "target_scores": {probe: scores(TARGET) for probe in probes},
        "carries_information": True,
        "honest": [
            {"defence": defence, "seed": seed, "scores": {probe: scores(HONEST[defence]) for probe in probes}}
            for defence in defences
            for seed in seeds
        ],
        "about_defences": {
            "rounding:1": {"words": "numbers are rounded to 1 decimal", "random": False},
            "topk:5": {"words": "the 5 largest numbers are kept, the others are 0", "random": False},
            "noise:0.5": {"words": "Gaussian noise of deviation 0.5 on every number", "random": True},
        },
        "options": {"rda": {"patches": 10, "fit": {"epochs": 40}}, "cont_steal": {"fit": {"epochs": 40}}},
        "summary": [],
        "command": "understudy audit --target runs/encoder --data 'digits[600:1000]' --methods rda,cont_steal",
        "machine": {"understudy": "0.1.0", "python": "3.11.7", "device": "cpu", "packages": {"torch": "2.13.0"}},
    }


@pytest.fixture
def make_audit(tmp_path: Path) -> MakeAudit:
    """Return a function that writes the folder of an audit: `edit` changes the JSON in place, the rest makes it."""

    def make(edit: Callable[[dict[str, Any]], object] | None = None, **parts: Any) -> Path:
        written = audit(**parts)
        if edit is not None:
            edit(written)
        folder = tmp_path / "audit"
        folder.mkdir(exist_ok=True)
        (folder / "audit.json").write_text(json.dumps(written), encoding="utf-8")
        return folder

    return make
