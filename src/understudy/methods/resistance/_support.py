"""Which classes the sparse targets keep: a class that all of them keep is a decoy, and anyone can subtract it."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from understudy.bank import Bank
from understudy.losses import kept_classes
from understudy.models import Classifier, evaluating
from understudy.runs.run import Run

WARN_ABOVE = 0.8
"""Share of the targets, above which a class that they keep is called a constant decoy."""
_BATCH = 512


class Support:
    """Counts the classes that the targets of an epoch keep; a companion of the training loop.

    Args:
        classes: number of classes.
        keep: classes that a target keeps.
        run: whose event log gets an entry an epoch, in the phase "support".
        steps_per_epoch: of the phase.
    """

    name = "support"

    def __init__(self, classes: int, *, keep: int, run: Run, steps_per_epoch: int) -> None:
        self._keep, self._run, self._steps_per_epoch = keep, run, steps_per_epoch
        self._counts: Int64[Tensor, " k"] = torch.zeros(classes, dtype=torch.int64, device=run.device)
        self._remark = ""

    def add(self, kept: Bool[Tensor, "b k"]) -> Float[Tensor, ""]:
        """Count a batch; return the largest share of a class in the epoch so far, on the device."""
        self._counts += kept.sum(dim=0)
        return self._shares().max()

    def _shares(self) -> Float[Tensor, " k"]:
        rows = self._counts.sum().to(torch.float32) / self._keep
        return self._counts.to(torch.float32) / rows.clamp_min(1)

    def restore(self, step: int, kept: Mapping[str, Tensor]) -> None:
        """Go on from a checkpoint, with the counts and the log of then."""
        self._run.events.rewind(self.name, step // self._steps_per_epoch + 1)
        if kept:
            self._counts.copy_(kept["counts"])
        else:
            self._counts.zero_()
        logged = [entry["metrics"] for entry in self._run.events if entry["phase"] == self.name]
        self._remark = _decoy(logged[-1]) if logged else ""

    def remark(self) -> str:
        """Return a warning, from the end of the first epoch on in which most targets kept one class."""
        return self._remark

    def state(self, step: int) -> dict[str, Tensor]:  # noqa: ARG002 (the protocol's signature)
        """Return the counts."""
        return {"counts": self._counts.clone()}

    def epoch_ended(self, epoch: int, module: nn.Module, optimiser: torch.optim.Optimizer) -> None:  # noqa: ARG002
        """Log the share of the targets that keep each class, and the class that most keep; begin a new count."""
        shares = self._shares().tolist()
        top = max(shares)
        entry = {"share": top, "class": shares.index(top), "warning": float(top > WARN_ABOVE)}
        each = {f"share_{label}": share for label, share in enumerate(shares)}
        self._run.events.append(self.name, epoch + 1, {**entry, **each})
        self._remark = _decoy(entry)
        self._counts.zero_()


def _decoy(entry: Mapping[str, float]) -> str:
    return f"targets keep class {entry['class']} ({entry['share']:.0%})" if entry["warning"] else ""


@torch.no_grad()
def support_histogram(model: Classifier, attacked: Bank, *, keep: int, device: torch.device) -> list[float]:
    """Return for each class the share of adversarial images on which it is among the `keep` largest outputs."""
    counts = torch.zeros(model.classes, dtype=torch.int64, device=device)
    with evaluating(model):
        for rows in torch.split(torch.arange(len(attacked)), _BATCH):
            counts += kept_classes(model(attacked.rows(rows).inputs).float(), keep).sum(dim=0)
    return [count / len(attacked) for count in counts.tolist()]


def support_facts(histogram: list[float], *, adversarial_rows: int, keep: int) -> dict[str, Any]:
    """Return what is to be told of a support histogram, with a warning where one class is nearly always in it."""
    top = max(histogram)
    label = histogram.index(top)
    warned = top > WARN_ABOVE
    support = {
        "histogram": histogram, "keep": keep, "rows": adversarial_rows, "top_share": top, "top_class": label,
        "warning": warned,
    }  # fmt: skip
    if not warned:
        return {"support": support, "notes": []}
    note = (
        f"Class {label} is among the {keep} that the target keeps on {top:.0%} of the adversarial images: a constant "
        "decoy, which an attacker can take away by subtracting the mean logits."
    )
    return {"support": support, "notes": [note]}
