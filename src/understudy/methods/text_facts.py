"""What the methods on text say of themselves in `result.json`: sizes, costs, what attacks gathered, how slots stand."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from understudy.attacks.text.base import Record
from understudy.evaluation import wilson
from understudy.models.text.adapter import Adapter, AdapterConfig, new_adapter
from understudy.models.text.backbone import Backbone
from understudy.models.text.predictor import TextClassifier
from understudy.training.foundation import CLEAN, Foundation


def parameters_of(adapter: AdapterConfig, backbone: Backbone) -> int:
    """Return the trained parameters of one slot: adapter and head."""
    fresh = new_adapter(backbone, adapter, seed=0)
    return fresh.parameters + sum(tensor.numel() for tensor in fresh.head.values())


def gathered(records: Sequence[Record]) -> dict[str, Any]:
    """Return what came of attacking training sentences, in numbers."""
    return {
        "sentences": len(records),
        **{status: sum(record.status == status for record in records) for status in ("success", "failed", "skipped")},
        "no_candidates": sum(record.no_candidates for record in records),
        "exhausted": sum(record.exhausted for record in records),
        "queries_mean": sum(record.queries for record in records) / len(records) if records else 0.0,
    }


def slot_report(
    slots: Mapping[str, TextClassifier], foundation: Foundation, *, limit: int = 300
) -> list[dict[str, Any]]:
    """Return the accuracy of each slot on clean training sentences that no attack was run on, and a warning with it.

    Methods may give one name to different slots: the SHA-256 tells them apart.

    Below chance, a slot has learnt to say the opposite of the clean model: the sign of training on attacked sentences
    alone.
    """
    clean = foundation.data.take(foundation.untouched[:limit])
    found = []
    for name, slot in slots.items():
        probs = slot.probs(clean.texts, clean.contexts)
        right = int((probs.argmax(dim=1) == clean.labels).sum())
        low = right / len(clean) < 1 / len(clean.classes) + 0.05
        found.append(
            {
                "name": name,
                "sha256": slot.sha256,
                "clean_accuracy": wilson(right, len(clean)).to_json(),
                "on": "training sentences that were not attacked",
                "warning": inverted(name) if low else None,
            }
        )
    return found


def inverted(name: str) -> str:
    """Return the warning about a slot that is no better than chance on clean sentences."""
    if name == CLEAN:
        return "the clean adapter is no better than chance: train it longer, or at another learning rate"
    return (
        f"{name} is no better than chance on clean sentences: it has learnt nothing, or to contradict the clean "
        "adapter; train it longer, with unchanged sentences beside the attacked ones (--anchor-ratio 1)"
    )


def costs(
    foundation: Foundation,
    *,
    model: Sequence[Adapter] | nn.Module,
    steps: int,
    seconds: float,
    passes: float = 1.0,
    on_clean: bool = True,
) -> dict[str, Any]:
    """Return what a model took to train and takes to ask.

    Args:
        foundation: of the run.
        model: the adapters that the model serves, or the network where it is another one.
        steps: optimiser steps beyond those of slot 0.
        seconds: of training beyond that of slot 0.
        passes: passes through the backbone that one prediction takes.
        on_clean: whether the method stands on slot 0, whose training then counts.
    """
    clean_steps = foundation.ground.clean_fit.steps(len(foundation.data)) if on_clean else 0
    if isinstance(model, nn.Module):
        weights = [value for value in model.parameters() if value.requires_grad]
        parameters = sum(value.numel() for value in weights)
        size = sum(value.numel() * value.element_size() for value in weights)
    else:
        parameters = sum(each.parameters + sum(value.numel() for value in each.head.values()) for each in model)
        size = model[0].bytes
    return {
        "trained_parameters": parameters,
        "adapter_bytes": size,
        "optimiser_steps": clean_steps + steps,
        "passes": float(passes),
        "train_s": round((foundation.clean_seconds if on_clean else 0.0) + seconds, 3),
    }
