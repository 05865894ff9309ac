"""The teacher's logits less their mean over all queries: a decoy that is the same for every image is gone.

A defence trained without pairing images with their adversarial twins ends up with one wrong class that comes second
almost everywhere. An attacker who looks at all answers together sees it, and subtracts it.

The attack is of our own; the loss is that of Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network.
2015, arXiv 1503.02531.

Fidelity: instantiation. The mean is over every answer on file, of training crops and of whole images. Where decoys
differ with the predicted class (`per_class`) the mean is that over the queries of that class; the class's own entry is
centred with the mean over all queries all the same, or it would be taken out together with the decoys. Probabilities
are turned into logits with a floor under them; the same teacher and queries always give the same mean.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from understudy.methods.distiller import Knowledge, Taught
from understudy.methods.method import Fidelity
from understudy.methods.softened import Softened
from understudy.training.answers import Answers

_PIECE = 1 << 16  # rows whose one-hot classes are held at a time


def means_by_class(logits: Float[Tensor, "m k"]) -> Float[Tensor, "k k"]:
    """Return what to subtract from rows of each predicted class: the class's mean, and on the diagonal that of all.

    Classes that no row predicts have the mean of all rows.
    """
    classes = logits.shape[1]
    overall = logits.mean(dim=0)
    sums, counts = logits.new_zeros(classes, classes), logits.new_zeros(classes)
    for start in range(0, len(logits), _PIECE):
        rows = logits[start : start + _PIECE]
        chosen = functional.one_hot(rows.argmax(dim=1), classes).to(logits.dtype)  # (rows, k)
        sums, counts = sums + chosen.T @ rows, counts + chosen.sum(dim=0)
    means = torch.where(counts[:, None] > 0, sums / counts[:, None].clamp_min(1), overall)
    return torch.where(torch.eye(classes, dtype=torch.bool, device=logits.device), overall, means)


class Centred(Softened):
    """Distil logits from which the mean over all queries is subtracted.

    Our own attack on constant decoys, with the loss of Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural
    Network. 2015, arXiv 1503.02531.
    """

    fidelity: ClassVar[Fidelity] = "instantiation"

    per_class: bool = False
    """Whether the mean is that over the queries with the same predicted class."""

    def prepare(self, knowledge: Knowledge) -> Callable[[Taught], Taught]:
        """Take the mean over all answers, and subtract it from each."""
        logits = knowledge.served.all().logits()
        if self.per_class:
            means = means_by_class(logits)
        else:
            means = logits.mean(dim=0, keepdim=True).expand(logits.shape[1], -1)

        def centred(taught: Taught) -> Taught:
            theirs = taught.answers.logits()
            return replace(taught, answers=Answers(theirs - means[theirs.argmax(dim=1)], "logits"))

        return centred
