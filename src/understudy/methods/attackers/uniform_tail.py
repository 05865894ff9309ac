"""The teacher's confidence without its second thoughts: all that lies below the first class is spread evenly.

What a defence puts on wrong classes (decoys, a sparse second place) is gone, and how sure the teacher is of its class
is kept. The attack is of our own; the target is the virtual teacher of teacher-free distillation, with a confidence
that differs from image to image because it is the answer's.

Yuan, Tay, Li, Wang, Feng: Revisiting Knowledge Distillation via Label Smoothing Regularization (virtual teacher).
CVPR 2020, arXiv 1909.11723.

Fidelity: instantiation. There the confidence is one constant, and the virtual teacher's class the label.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat
from torch import Tensor

from understudy.methods.distiller import Knowledge, Taught
from understudy.methods.method import Access, Fidelity
from understudy.methods.softened import Softened
from understudy.training.answers import Answers


def uniform_tail(probs: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
    """Return the rows with the largest entry kept, and what it leaves spread evenly over the other classes.

    Args:
        probs: rows that sum to one. Shape (b, k), k at least 2.

    Returns:
        Rows that sum to one, with the same first class: among equals, the lowest.
    """
    confidence, top = probs.max(dim=1, keepdim=True)
    rest = (1 - confidence).clamp_min(0) / (probs.shape[1] - 1)
    return torch.scatter(rest.expand_as(probs), 1, top, confidence)


class UniformTail(Softened):
    """Distil the teacher's first class and its confidence, with the rest spread evenly.

    After the virtual teacher of Yuan et al.: Revisiting Knowledge Distillation via Label Smoothing Regularization.
    CVPR 2020, arXiv 1909.11723.
    """

    fidelity: ClassVar[Fidelity] = "instantiation"
    requires: ClassVar[Access] = Access.TOP_K

    temperature: PositiveFloat = 1.0
    """Softening of both distributions, once the tail is even [T]."""
    alpha: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Weight of the answers against the labels, where labels are known; at 1 no label is used."""

    def prepare(self, knowledge: Knowledge) -> Callable[[Taught], Taught]:  # noqa: ARG002
        """Even out the tail of every answer."""

        def evened(taught: Taught) -> Taught:
            probs = uniform_tail(taught.answers.softened(1.0))
            return replace(taught, answers=Answers(probs, "probabilities"))

        return evened
