"""Label and very soft answer in one target: at a high temperature the decoys of a teacher are as small as the rest.

The student's cross-entropy is taken against (1 − β)·label + β·softmax(z / T) with a large T, at which the answers are
almost even: what is left of them ranks the classes, and no decoy stands out.

After the high-temperature composition of Jandial, Khasbage, Pal, Balasubramanian, Krishnamurthy: Distilling the
Undistillable: Learning from a Nasty Teacher. ECCV 2022, arXiv 2210.11728.

Fidelity: instantiation. A restatement of the idea from a description of it, without the paper's text or code. The
student has temperature 1. Where no label is known, the answer's own class stands for it.
"""

from typing import Annotated, ClassVar

import torch
from jaxtyping import Float, Int
from pydantic import Field, PositiveFloat
from torch import Tensor
from torch.nn import functional

from understudy.losses import soft_cross_entropy
from understudy.methods.distiller import Distiller, Taught
from understudy.methods.image_presets import QuickPresets
from understudy.methods.method import Access, Fidelity


def composed(labels: Int[Tensor, " b"], soft: Float[Tensor, "b k"], *, beta: float) -> Float[Tensor, "b k"]:
    """Return (1 − β)·onehot(labels) + β·soft: rows that sum to one.

    Args:
        labels: classes. Shape (b,).
        soft: the teacher's softened probabilities. Shape (b, k).
        beta: the answers' share, 0 to 1.
    """
    return torch.lerp(functional.one_hot(labels, soft.shape[1]).to(soft.dtype), soft, beta)


class Composition(QuickPresets, Distiller):
    """Learn from labels mixed with very soft answers.

    After Jandial, Khasbage, Pal, Balasubramanian, Krishnamurthy: Distilling the Undistillable: Learning from a Nasty
    Teacher. ECCV 2022, arXiv 2210.11728; our restatement.
    """

    fidelity: ClassVar[Fidelity] = "instantiation"
    requires: ClassVar[Access] = Access.LOGITS

    temperature: PositiveFloat = 50.0
    """Softening of the answers; 50 or more takes decoys down to the rest [T]."""
    beta: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the answers in the target, against the labels [β]."""

    def loss(self, outputs: Tensor, taught: Taught) -> Tensor:
        """Return the cross-entropy against (1 − β)·onehot(y) + β·softmax(z / T)."""
        target = composed(taught.labels, taught.answers.softened(self.temperature), beta=self.beta)
        return soft_cross_entropy(outputs, target, reduction="batchmean")
