"""TRADES: right on clean images, and the same answer on adversarial ones.

The loss is CE on the clean image and β·KL between the student's answers to the two views; the attack climbs that
divergence. No teacher takes part.

Zhang, Yu, Jiao, Xing, El Ghaoui, Jordan: Theoretically Principled Trade-off between Robustness and Accuracy. ICML 2019,
arXiv 1901.08573 (https://github.com/yaodongyu/TRADES).

Fidelity: paper. Where the released code differs:

- It gives the divergence's target as probabilities with a gradient, which turns NaN where one underflows to 0, as its
  users report; here both sides are logarithms. The gradient flows into both arguments, there and here.
- It computes the clean answer anew at each step of the attack, and once more in the loss; here once for the attack, in
  eval mode, and once for the loss. That is 27 instead of 39 forward passes a step, and one BatchNorm update fewer.
- Its radius is 0.031 with steps of 0.007 (`official_cifar10`); the default here is 8/255 with steps of 2/255.
"""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import NonNegativeFloat
from torch import Tensor, nn

from understudy.losses import hard_cross_entropy, kl_rows, reduce_rows
from understudy.methods.method import Fidelity, preset
from understudy.methods.robust._presets import TRADES_THREAT, QuickPresets, stepped
from understudy.methods.robust_method import Inner, RobustTraining
from understudy.training import Recipe
from understudy.training.seen import Seen


class TRADES(QuickPresets, RobustTraining):
    """Train to be right on clean images and to answer alike on adversarial ones.

    Zhang et al.: Theoretically Principled Trade-off between Robustness and Accuracy. ICML 2019, arXiv 1901.08573.
    """

    fidelity: ClassVar[Fidelity] = "paper"
    inner: ClassVar[Inner] = "kl_student"

    beta: NonNegativeFloat = 6.0
    """Weight of the divergence between the answers to the two views [β, 1/λ]."""
    fit: Recipe = stepped(76, (75,))
    """How the model is trained."""

    @classmethod
    @preset
    def paper_cifar10(cls) -> "TRADES":
        """The paper's values at a radius of 8/255: 76 epochs."""
        return cls()

    @classmethod
    @preset
    def official_cifar10(cls) -> "TRADES":
        """The released code's radius of 0.031 and steps of 0.007."""
        return cls(**TRADES_THREAT)

    def uses(self) -> frozenset[str]:
        """The model on both views."""
        return frozenset({"student_clean"})

    def loss(self, seen: Seen, extras: nn.Module | None) -> Mapping[str, Tensor]:  # noqa: ARG002
        """Return CE(s(x), y) + β·KL(p_x ‖ p_x'), with gradient into both distributions."""
        labelled = hard_cross_entropy(seen.student_clean, seen.labels, reduction="mean")
        rows = kl_rows(seen.student_clean, seen.student_adversarial)
        return {"loss": labelled + self.beta * reduce_rows(rows, reduction=self.reduction, classes=seen.classes)}
