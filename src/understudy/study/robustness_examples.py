"""Images that fell under attack, clean and perturbed, to be shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from understudy.attacks import AUTOATTACK
from understudy.data import ImageSet, as_float
from understudy.evaluation._outcomes import Attacked
from understudy.evaluation.masking import Sweep
from understudy.evaluation.red_flags import Check
from understudy.evaluation.robustness import Suite
from understudy.models import Classifier
from understudy.runs.tensors import save_tensors
from understudy.study.robustness_job import Robustness

EXAMPLES = "examples.safetensors"
SHOWN = 10
"""Images that are shown, at most."""


@dataclass(frozen=True, eq=False)
class Tried:
    """One network, and all that was found of it."""

    key: str
    """Its role: last, best, against or teacher."""
    spec: str
    network: Classifier
    suite: Suite
    checks: list[Check]
    sweep: Sweep | None = None
    transferred: Attacked | None = None


def save_examples(
    path: Path, job: Robustness, data: ImageSet, positions: torch.Tensor, tried: Mapping[str, Tried]
) -> list[dict[str, Any]]:
    """Write images that fell, clean and perturbed, and return what is said of each.

    Args:
        path: of the safetensors file: `clean` and `adversarial`, float32 of shape (m, c, h, w), in the record's order.
        job: what was asked.
        data: the images that were tried.
        positions: where they stand in their split.
        tried: networks by role.
    """
    one, teacher = tried["last"], tried.get("teacher")
    attack = next((name for name in _by_strength(job.attacks) if len(one.suite.attacks[name].rows)), None)
    if attack is None:
        empty = torch.zeros(0, *data.shape)
        save_tensors(path, {"clean": empty, "adversarial": empty}, {"kind": "examples"})
        return []
    found = one.suite.attacks[attack]
    chosen = _spread(data.labels.cpu()[found.rows])
    rows, perturbed = found.rows[chosen], found.images[chosen]
    clean = as_float(data.images[rows.to(data.images.device)]).contiguous()
    save_tensors(path, {"clean": clean, "adversarial": perturbed}, {"kind": "examples"})
    asked = [_top(network, images) for network in (one, teacher) for images in (clean, perturbed)]
    return [
        {
            "row": int(positions[row]),
            "model": "last",
            "attack": attack,
            "label": int(data.labels[row]),
            "clean": asked[0][number],
            "adversarial": asked[1][number],
            "teacher_clean": asked[2][number],
            "teacher_adversarial": asked[3][number],
        }
        for number, row in enumerate(rows.tolist())
    ]


def _top(one: Tried | None, images: torch.Tensor) -> list[int | None]:
    if one is None:
        return [None] * len(images)
    place = next(one.network.parameters(), images)
    with torch.no_grad():
        classes: list[int | None] = one.network(images.to(place.device)).argmax(1).tolist()
    return classes


def _spread(labels: torch.Tensor) -> list[int]:
    """Return some positions, of different classes as far as there are."""
    turns: dict[int, int] = {}
    order = []
    for position, label in enumerate(labels.tolist()):
        turns[label] = turns.get(label, 0) + 1
        order.append((turns[label], label, position))
    return [position for _, _, position in sorted(order)[:SHOWN]]


def _by_strength(attacks: Sequence[str]) -> list[str]:
    kinds = (AUTOATTACK, "cw", "pgd", "")
    return sorted(attacks, key=lambda name: next(place for place, kind in enumerate(kinds) if name.startswith(kind)))
