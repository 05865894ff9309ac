"""MART: adversarial training that cares most for samples which are wrong without any attack.

A boosted cross-entropy on the adversarial image, which also pushes the best wrong class down, and a divergence between
the answers to the two views, weighed by how wrong the clean answer is. No teacher takes part.

Wang, Zou, Yi, Bailey, Ma, Gu: Improving Adversarial Robustness Requires Revisiting Misclassified Examples. ICLR 2020
(https://github.com/YisenWang/MART); in short Wang et al. 2020, ICLR.

Fidelity: paper. Where the released code differs:

- It guards its logarithms with constants: 1.0001 instead of 1 in the boosted part, 1e-12 inside each, 1.0000001 in the
  weight (`official_constants`, `official_cifar10`). Here log(1 − p) is taken from the logits of the other classes,
  exactly, so that nothing has to be guarded.
- It gives the divergence's target as probabilities with a gradient, which turns NaN where one underflows to 0; here
  both sides are logarithms, and with `official_constants` the target is.
- Its radius is 0.031 with steps of 0.007 (`official_cifar10`); the default here is 8/255 with steps of 2/255.
- Its schedule for ResNet-18 is that of the defaults; for WideResNets it is λ = 6, a rate of 0.1, weight decay 7e-4 and
  90 epochs (`official_cifar10_wide`).
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from pydantic import NonNegativeFloat
from torch import Tensor, nn
from torch.nn import functional as F

from understudy.losses import kl_rows, reduce_rows, widened
from understudy.methods.method import Fidelity, preset
from understudy.methods.robust._presets import TRADES_THREAT, QuickPresets, stepped
from understudy.methods.robust_method import Inner, RobustTraining
from understudy.training import Recipe
from understudy.training.seen import Seen

RESNET_SCHEDULE = stepped(120, (75, 90, 100), weight_decay=3.5e-3, learning_rate=0.01)


def boosted_cross_entropy_rows(
    logits: Float[Tensor, "b k"], labels: Int[Tensor, " b"], *, official_constants: bool = False
) -> Float[Tensor, " b"]:
    """Return BCE_i = −log p_{i y} − log(1 − max_{k≠y} p_{ik}) of each row, finite for finite logits."""
    log_probs = F.log_softmax(widened(logits), dim=1)
    wrong = log_probs.scatter(1, labels[:, None], -torch.inf).argmax(dim=1, keepdim=True)
    if official_constants:
        room = torch.log(1.0001 - log_probs.exp().gather(1, wrong) + 1e-12).squeeze(1)
    else:  # 1 − p of one class is the sum of all others, which does not cancel
        room = log_probs.scatter(1, wrong, -torch.inf).logsumexp(dim=1)
    return F.nll_loss(log_probs, labels, reduction="none") - room


def weighted_kl_rows(
    clean: Float[Tensor, "b k"],
    adversarial: Float[Tensor, "b k"],
    labels: Int[Tensor, " b"],
    *,
    official_constants: bool = False,
) -> Float[Tensor, " b"]:
    """Return (1 − p_{x,i y})·KL(p_x,i ‖ p_x',i) of each row; gradient flows into both, and into the weight."""
    log_clean = F.log_softmax(widened(clean), dim=1)
    right = log_clean.gather(1, labels[:, None]).squeeze(1).exp()
    if not official_constants:
        return (1 - right) * kl_rows(clean, adversarial)
    guarded = torch.log(F.softmax(widened(adversarial), dim=1) + 1e-12)
    return (1.0000001 - right) * (log_clean.exp() * (log_clean - guarded)).sum(dim=1)


class MART(QuickPresets, RobustTraining):
    """Train under attack, with most weight on samples that are wrong without one.

    Wang et al. 2020, ICLR: Improving Adversarial Robustness Requires Revisiting Misclassified Examples.
    """

    fidelity: ClassVar[Fidelity] = "paper"
    inner: ClassVar[Inner] = "ce"

    weight: NonNegativeFloat = 5.0
    """Weight of the divergence between the answers to the two views [λ]."""
    official_constants: bool = False
    """Whether the released code's guards of its logarithms are used."""
    fit: Recipe = RESNET_SCHEDULE
    """How the model is trained."""

    @classmethod
    @preset
    def paper_cifar10(cls) -> "MART":
        """The paper's loss for ResNet-18 at a radius of 8/255: 120 epochs."""
        return cls()

    @classmethod
    @preset
    def official_cifar10(cls) -> "MART":
        """The released code's for ResNet-18: its constants, a radius of 0.031, steps of 0.007."""
        return cls(official_constants=True, **TRADES_THREAT)

    @classmethod
    @preset
    def official_cifar10_wide(cls) -> "MART":
        """The released code's for WideResNets: λ = 6, a rate of 0.1, 90 epochs."""
        return cls(
            weight=6.0, official_constants=True, fit=stepped(90, (75, 90, 100), weight_decay=7e-4), **TRADES_THREAT
        )

    def uses(self) -> frozenset[str]:
        """The model on both views."""
        return frozenset({"student_clean"})

    def loss(self, seen: Seen, extras: nn.Module | None) -> Mapping[str, Tensor]:  # noqa: ARG002
        """Return mean BCE_i + λ·mean (1 − p_{x,i y})·KL(p_x,i ‖ p_x',i)."""
        boosted = boosted_cross_entropy_rows(
            seen.student_adversarial, seen.labels, official_constants=self.official_constants
        )
        rows = weighted_kl_rows(
            seen.student_clean, seen.student_adversarial, seen.labels, official_constants=self.official_constants
        )
        divergence = reduce_rows(rows, reduction=self.reduction, classes=seen.classes)
        return {"loss": boosted.mean() + self.weight * divergence}
