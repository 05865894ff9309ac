"""What the trainings of a text study told of themselves: slots, attacked training sentences, warnings."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from understudy.study.text_methods import Chosen


@dataclass(frozen=True)
class Model:
    """One row of a study: slot 0, or what a method made of it."""

    key: str
    chosen: Chosen
    facts: Mapping[int, Mapping[str, Any]]
    """What each seed's training left, as `trained.json` holds it."""


def slots_told(models: Sequence[Model]) -> list[dict[str, Any]]:
    """Return each slot's accuracy on clean sentences, once a seed, with the models that share it."""
    listed: dict[tuple[str, int, str | None], dict[str, Any]] = {}
    for model in models:
        for seed, facts in model.facts.items():
            for slot in facts.get("slots", ()):
                one = listed.setdefault((slot["name"], seed, slot.get("sha256")), {**slot, "seed": seed, "models": []})
                one["models"].append(model.key)
    return list(listed.values())


def gather_told(models: Sequence[Model]) -> tuple[dict[str, Any], bool]:
    """Return what attacking training sentences gave, summed over seeds, and whether all models tell the same of it.

    Where they do not, as with other numbers of sentences, the first model of each seed counts.
    """
    listed: dict[str, dict[int, Mapping[str, Any]]] = {}
    alike = True
    for model in models:
        for seed, facts in model.facts.items():
            for spec, counted in facts.get("gather", {}).items():
                alike &= listed.setdefault(spec, {}).setdefault(seed, counted) == counted
    counts = ("sentences", "success", "failed", "skipped", "no_candidates")
    found = {
        spec: {
            **{name: sum(one[name] for one in by_seed.values()) for name in counts},
            "queries_mean": mean(one["queries_mean"] for one in by_seed.values()),
        }
        for spec, by_seed in listed.items()
    }
    return found, alike


def warnings_told(models: Sequence[Model], slots: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what is wrong with slots and models; a slot is told with its models where another has its name."""
    said: dict[str, None] = {}
    names = Counter((slot["name"], slot["seed"]) for slot in slots)
    for slot in slots:
        if slot.get("warning"):
            whose = f", {', '.join(slot['models'])}" if names[slot["name"], slot["seed"]] > 1 else ""
            said[f"Seed {slot['seed']}{whose}: {slot['warning']}"] = None
    for model in models:
        for seed, facts in model.facts.items():
            said |= {f"{model.key}, seed {seed}: {line}": None for line in facts.get("warnings", ())}
    return list(said)


def mean(values: Iterable[float]) -> float | None:
    """Return the mean of some values, None where there are none."""
    listed = list(values)
    return math.fsum(listed) / len(listed) if listed else None
