"""Answers that turn a copy's gradient as far as a bound allows: maximising angular deviation."""

from typing import ClassVar

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn
from torch.nn import functional

from understudy.targets.class_defences._against_gradients import AgainstGradients
from understudy.targets.class_defences._networks import gradient_products
from understudy.targets.class_defences.measures import l1_distance

_MARGIN = 1e-4


def most_turning_class(
    products: Float64[Tensor, "b k"], squared_lengths: Float64[Tensor, "b k"]
) -> Int64[Tensor, " b"]:
    """Return the class k whose one-hot row maximises ‖G_k/‖G_k‖ - Gᵀy/‖Gᵀy‖‖², the heuristic of Orekondy et al. 2020.

    That is the smallest cosine of G_k and Gᵀy. Of equal classes the first is taken.

    Args:
        products: G Gᵀy, so that its number k is ⟨G_k, Gᵀy⟩. Shape (b, k).
        squared_lengths: ‖G_k‖². Shape (b, k).
    """
    return (products / squared_lengths.clamp_min(1e-300).sqrt()).argmin(dim=1)


def mixed_towards(
    y: Float64[Tensor, "b k"], target: Int64[Tensor, " b"], *, epsilon: float, keep_top1: bool
) -> Float64[Tensor, "b k"]:
    """Return (1 - a)y + a·onehot(target) with the largest a that the bound allows: a = min(1, ε / ‖onehot - y‖₁).

    Args:
        y: clean probabilities. Shape (b, k).
        target: a class a row. Shape (b,).
        epsilon: largest L1 distance from `y` [ε].
        keep_top1: stop before another class reaches the largest one: by 1e-4, or by what they differ if that is less.
    """
    vertex = functional.one_hot(target, y.shape[1]).to(y)
    share = (epsilon / l1_distance(y, vertex).clamp_min(1e-300)).clamp_max(1.0)
    if keep_top1:
        top = y.argmax(dim=1)
        gap = (y.amax(dim=1) - y.gather(1, target.unsqueeze(1)).squeeze(1)).clamp_min(0)
        room = (gap - gap.clamp_max(_MARGIN)) / (1 + gap)  # at (1 - a)·gap = a + margin
        share = torch.where(top == target, share, share.minimum(room))
    return torch.lerp(y, vertex, share.unsqueeze(1))


class MAD(AgainstGradients):
    """Poison the answer so that the gradient of who trains on it points elsewhere (maximising angular deviation).

    max over ỹ of ‖Gᵀỹ/‖Gᵀỹ‖ - Gᵀy/‖Gᵀy‖‖² with ‖ỹ - y‖₁ ≤ ε, G_k = ∇_w ln F_k(x) of a surrogate F. The heuristic of
    the paper: the best one-hot row e*, and ỹ = (1 - a)y + a·e* with a = min(1, ε / ‖e* - y‖₁). The gradient is that of
    all weights of the surrogate. keep_top1 stops the mixing before the largest class changes; the paper's variant of
    that name looks among other rows, and is not built.

    Orekondy, Schiele, Fritz: Prediction Poisoning: Towards Defenses Against DNN Model Stealing Attacks. ICLR 2020,
    arXiv 1906.10908.
    """

    name: ClassVar[str] = "mad"
    summary: ClassVar[str] = "turns the gradient of a copy as far as a bound allows"
    reference: ClassVar[str] = "Orekondy et al. 2020"

    keep_top1: bool = False
    """Whether the predicted class stays."""

    @property
    def keeps_top1(self) -> bool:
        """As the option says; see `ClassDefence.keeps_top1`."""
        return self.keep_top1 or self.epsilon == 0

    def against(
        self, surrogate: nn.Module, images: Float[Tensor, " b *input"], y: Float64[Tensor, "b k"]
    ) -> Float64[Tensor, "b k"]:
        """Return `y` mixed with the class that turns the gradient most; see `AgainstGradients.against`."""
        products, lengths = gradient_products(surrogate, images, y, norms=True)
        assert lengths is not None
        return mixed_towards(y, most_turning_class(products, lengths), epsilon=self.epsilon, keep_top1=self.keep_top1)
