"""Answers that send a copy's gradient in a chosen direction as far as a bound allows: gradient redirection."""

from typing import ClassVar

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from understudy.targets.class_defences._against_gradients import AgainstGradients
from understudy.targets.class_defences._networks import gradient_products


def redirected(y: Float64[Tensor, "b k"], scores: Float64[Tensor, "b k"], *, epsilon: float) -> Float64[Tensor, "b k"]:
    """Return the ỹ that maximises Σ_k ỹ_k g_k over the probabilities with ‖ỹ - y‖₁ ≤ ε: the exact greedy solution.

    Mazeika et al. 2022: up to ε/2 of probability moves from the classes of the lowest scores to the class of the
    highest. Of equal highest scores the first class receives, and classes of that score give nothing.

    Args:
        y: clean probabilities. Shape (b, k).
        scores: g. Shape (b, k).
        epsilon: largest L1 distance from `y` [ε].
    """
    best = scores.argmax(dim=1, keepdim=True)
    gives = y.masked_fill(scores == scores.gather(1, best), 0)
    order = scores.argsort(dim=1, stable=True)
    available = gives.gather(1, order)
    before = available.cumsum(dim=1) - available
    taken = (epsilon / 2 - before).clamp_min(0).minimum(available)  # in order of the scores
    moved = torch.zeros_like(y).scatter(1, order, taken)
    return (y - moved).scatter_add(1, best, taken.sum(dim=1, keepdim=True))


class GRAD2(AgainstGradients):
    """Redirect the gradient of who trains on the answers: max ⟨Gᵀỹ, v⟩ with ‖ỹ - y‖₁ ≤ ε, solved exactly.

    G_k = ∇_w ln F_k(x) of a surrogate student F, v = -Gᵀy: the answers that undo, as far as the bound allows, what the
    true ones would teach. The scores are g = Gv. The gradient is that of all weights of the surrogate.

    Mazeika, Li, Forsyth: How to Steer Your Adversary: Targeted and Efficient Model Stealing Defenses with Gradient
    Redirection. ICML 2022, arXiv 2206.14157.
    """

    name: ClassVar[str] = "grad2"
    summary: ClassVar[str] = "sends the gradient of a copy backwards as far as a bound allows"
    reference: ClassVar[str] = "Mazeika et al. 2022"

    @property
    def keeps_top1(self) -> bool:
        """Only where nothing moves; see `ClassDefence.keeps_top1`."""
        return self.epsilon == 0

    def against(
        self, surrogate: nn.Module, images: Float[Tensor, " b *input"], y: Float64[Tensor, "b k"]
    ) -> Float64[Tensor, "b k"]:
        """Return `y` with probability moved to where it misleads most; see `AgainstGradients.against`."""
        products, _ = gradient_products(surrogate, images, y, norms=False)
        return redirected(y, -products, epsilon=self.epsilon)
