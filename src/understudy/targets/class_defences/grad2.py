"""Answers that send a copy's gradient in a chosen direction as far as a bound allows: gradient redirection."""

from typing import Annotated, ClassVar

import torch
from jaxtyping import Float, Float64, Int64
from pydantic import Field
from torch import Tensor

from understudy.targets.class_defences._networks import check_images, gradient_products, load_owned, owned_digest
from understudy.targets.class_defences.base import ClassDefence


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


class GRAD2(ClassDefence):
    """Redirect the gradient of who trains on the answers: max ⟨Gᵀỹ, v⟩ with ‖ỹ - y‖₁ ≤ ε, solved exactly.

    G_k = ∇_w ln F_k(x) of a surrogate student F, v = -Gᵀy: the answers that undo, as far as the bound allows, what the
    true ones would teach. The scores are g = Gv. The gradient is that of all weights of the surrogate.

    Mazeika, Li, Forsyth: How to Steer Your Adversary: Targeted and Efficient Model Stealing Defenses with Gradient
    Redirection. ICML 2022, arXiv 2206.14157.
    """

    name: ClassVar[str] = "grad2"
    main: ClassVar[str | None] = "epsilon"
    summary: ClassVar[str] = "sends the gradient of a copy backwards as far as a bound allows"
    random: ClassVar[bool] = False
    personal: ClassVar[bool] = False
    reference: ClassVar[str] = "Mazeika et al. 2022"

    epsilon: Annotated[float, Field(ge=0, le=2)]
    """Largest L1 distance from the clean probabilities [ε]; 0 changes nothing."""
    surrogate: str
    """Run folder of the network whose gradients stand for the copy's; its path holds no comma and no plus."""

    @property
    def keeps_top1(self) -> bool:
        """Only where nothing moves; see `ClassDefence.keeps_top1`."""
        return self.epsilon == 0

    def check(self, classes: int) -> None:
        """Refuse a surrogate of other classes; see `ClassDefence.check`."""
        load_owned(self.surrogate, classes=classes, where=f"defence {self.name}")

    def identity(self) -> str:
        """Return the hash of the surrogate; see `ClassDefence.identity`."""
        return owned_digest(self.surrogate)

    def serve(
        self,
        y: Float64[Tensor, "b k"],
        *,
        images: Float[Tensor, " b *input"] | None,
        keys: Int64[Tensor, " b"],  # noqa: ARG002
        seed: int,  # noqa: ARG002
        memory: dict[str, Tensor],  # noqa: ARG002
    ) -> Float64[Tensor, "b k"]:
        """Return `y` with probability moved to where it misleads most; see `ClassDefence.serve`."""
        if self.epsilon == 0:
            return y.clone()
        where = f"defence {self.name}"
        surrogate = load_owned(self.surrogate, classes=y.shape[1], where=where).to(y.device)
        queries = check_images(images, surrogate, where=where)
        products, _ = gradient_products(surrogate, queries, y, norms=False)
        return redirected(y, -products, epsilon=self.epsilon)
