"""Answers bent by the reverse sigmoid: many true rankings have one served value."""

from typing import Annotated, ClassVar

import torch
from jaxtyping import Float, Float64, Int64
from pydantic import Field
from torch import Tensor

from understudy.targets.class_defences.base import ClassDefence

_EDGE = 1e-12
"""How near to 0 and 1 a probability comes in the logit; with γ = 0.2 it decides 0.4 % of the bend at the ends."""


def reverse_sigmoid(y: Float64[Tensor, "b k"], *, beta: float, gamma: float) -> Float64[Tensor, "b k"]:
    """Return y - β(sigmoid(γ·ln(y / (1 - y))) - ½), neither clipped nor normalised.

    Lee et al. 2019. y is kept 1e-12 away from 0 and 1; the odds are not capped, so that y > ½ is lowered, as it should
    be (one public implementation caps them at 1 and leaves such y as they are).

    Args:
        y: probabilities. Shape (b, k).
        beta: size of the bend [β], >= 0.
        gamma: its slope [γ], > 0.
    """
    inside = y.clamp(_EDGE, 1 - _EDGE)
    return y - beta * (torch.sigmoid(gamma * torch.logit(inside)) - 0.5)


class ReverseSigmoid(ClassDefence):
    """Bend the probabilities by the reverse sigmoid, clip at 0 and renormalise: ỹ ∝ max(0, y - β(s(y) - ½)).

    s(y) = sigmoid(γ·ln(y / (1 - y))). Small probabilities are raised and their order is turned round; large ones are
    lowered. Where no class has more than half, the top-1 may change.

    Lee et al.: Defending Against Neural Network Model Stealing Attacks Using Deceptive Perturbations. IEEE Security
    and Privacy Workshops 2019, arXiv 1806.00054.
    """

    name: ClassVar[str] = "reverse_sigmoid"
    main: ClassVar[str | None] = "beta"
    summary: ClassVar[str] = "bends the probabilities so that many true ones give one served value"
    random: ClassVar[bool] = False
    personal: ClassVar[bool] = False
    reference: ClassVar[str] = "Lee et al. 2019"

    beta: Annotated[float, Field(ge=0, le=100)]
    """Size of the bend [β]; 0 changes nothing."""
    gamma: Annotated[float, Field(gt=0, le=100)] = 0.2
    """Slope of the bend over the logit [γ]."""

    @property
    def keeps_top1(self) -> bool:
        """Only where nothing is bent; see `ClassDefence.keeps_top1`."""
        return self.beta == 0

    def serve(
        self,
        y: Float64[Tensor, "b k"],
        *,
        images: Float[Tensor, " b *input"] | None,  # noqa: ARG002
        keys: Int64[Tensor, " b"],  # noqa: ARG002
        seed: int,  # noqa: ARG002
        memory: dict[str, Tensor],  # noqa: ARG002
    ) -> Float64[Tensor, "b k"]:
        """Return `y` bent, clipped at 0 and renormalised; see `ClassDefence.serve`."""
        bent = reverse_sigmoid(y, beta=self.beta, gamma=self.gamma).clamp_min(0)
        return bent / bent.sum(dim=1, keepdim=True)  # never 0: every class with y <= ½ keeps its y at least
