"""The logits themselves as values to regress on, and the order of the first few as a term of its own.

Squared error has no temperature, so that no choice of one can make it weigh what a defence has put in the tail; the
mean over all queries is taken off the teacher's logits, which takes constant decoys with it.

After Ba, Caruana: Do Deep Nets Really Need to be Deep? (regression on logits). NIPS 2014, arXiv 1312.6184.

Fidelity: instantiation. There the student regresses on standardised logits with squared error alone; here rows are
brought to mean zero, for softmax sees no more of them (and of probabilities no more is known), the means over
queries are taken off, and the order of the m largest logits is learnt by a logistic loss of each pair.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field, NonNegativeFloat
from torch import Tensor
from torch.nn import functional

from understudy.errors import ConfigError
from understudy.losses import hard_cross_entropy, widened
from understudy.methods.distiller import Distiller, Knowledge, Taught
from understudy.methods.image_presets import QuickPresets
from understudy.methods.method import Access, Fidelity
from understudy.models import Classifier
from understudy.training.answers import Answers


def centred_error(student: Float[Tensor, "b k"], teacher: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
    """Return the squared error between logits of which each row has mean zero, as a mean over classes."""
    ours, theirs = widened(student), widened(teacher)
    difference = (ours - ours.mean(dim=1, keepdim=True)) - (theirs - theirs.mean(dim=1, keepdim=True))
    return difference.square().mean(dim=1)


def rank_loss(student: Float[Tensor, "b k"], teacher: Float[Tensor, "b k"], *, top: int) -> Float[Tensor, " b"]:
    """Return the mean of ln(1 + exp(s_j − s_i)) over pairs where the teacher ranks i above j, both among its first.

    Args:
        student: logits s. Shape (b, k).
        teacher: logits; among equals the lower class comes first. Same shape.
        top: how many of the first classes are ordered, 2 to k.
    """
    first = teacher.argsort(dim=1, descending=True, stable=True)[:, :top]
    ours = widened(student).gather(1, first)  # (b, top), best of the teacher first
    above, below = torch.triu_indices(top, top, offset=1, device=student.device)
    return functional.softplus(ours[:, below] - ours[:, above]).mean(dim=1)


class Regression(QuickPresets, Distiller):
    """Regress on the teacher's centred logits, and on the order of the largest.

    After Ba, Caruana: Do Deep Nets Really Need to be Deep? NIPS 2014, arXiv 1312.6184.
    """

    fidelity: ClassVar[Fidelity] = "instantiation"
    requires: ClassVar[Access] = Access.LOGITS

    alpha: Annotated[float, Field(ge=0, le=1)] = 0.9
    """Weight of the answers against the labels, where labels are known."""
    rank_weight: NonNegativeFloat = 0.1
    """Weight of the order of the first classes against the squared error."""
    rank_top: Annotated[int, Field(ge=2)] = 3
    """How many of the first classes are ordered; not more than there are [m]."""
    over_queries: bool = True
    """Whether the mean over all queries is taken off the teacher's logits too."""

    def check_teacher(self, teacher: Classifier, student: Classifier, *, bank: object = None) -> None:
        """Refuse what any distiller refuses, and an order of more classes than there are.

        Raises:
            ConfigError: with what does not fit.
        """
        super().check_teacher(teacher, student, bank=bank)
        if self.rank_top > teacher.classes:
            raise ConfigError(
                f"rank_top is {self.rank_top}, of {teacher.classes} classes",
                where="--rank-top",
                fix=f"take {teacher.classes} or less",
            )

    def prepare(self, knowledge: Knowledge) -> Callable[[Taught], Taught]:
        """Turn answers into logits, less their mean over all queries."""
        mean = knowledge.served.all().logits().mean(dim=0) if self.over_queries else 0.0

        def centred(taught: Taught) -> Taught:
            return replace(taught, answers=Answers(taught.answers.logits() - mean, "logits"))

        return centred

    def loss(self, outputs: Tensor, taught: Taught) -> Tensor:
        """Return the mean of (1 − α)·CE + α·(error + w·rank) where labels are known, and of the bracket elsewhere."""
        labelled = hard_cross_entropy(outputs, taught.labels, reduction="none")
        theirs = taught.answers.logits()
        answered = centred_error(outputs, theirs)
        if self.rank_weight:
            answered = answered + self.rank_weight * rank_loss(outputs, theirs, top=self.rank_top)
        mixed = (1 - self.alpha) * labelled + self.alpha * answered
        return torch.where(taught.known, mixed, answered).mean()
