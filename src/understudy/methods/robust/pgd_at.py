"""PGD adversarial training: cross-entropy on images that an attack has perturbed.

L = CE(s(x'), y), where x' maximises the same loss within the radius.

Madry, Makelov, Schmidt, Tsipras, Vladu: Towards Deep Learning Models Resistant to Adversarial Attacks. ICLR 2018,
arXiv 1706.06083.

Fidelity: paper. The loss and the attack are the paper's; its networks and its schedule of 80,000 steps are not. The
recipes are those by which the field trains since: `paper_cifar10` is that of Rice, Wong, Kolter 2020 (arXiv
2002.11569), less its choice of the best checkpoint on test data. The attack sees the network in eval mode.
"""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from understudy.attacks import Start
from understudy.losses import hard_cross_entropy
from understudy.methods.method import Fidelity, preset
from understudy.methods.robust._presets import QuickPresets
from understudy.methods.robust_method import PAPER_RECIPE, RobustTraining
from understudy.training import Recipe
from understudy.training.seen import Seen


class PGDAT(QuickPresets, RobustTraining):
    """Train on perturbed images with the cross-entropy: the robust baseline, and how robust teachers are made.

    Madry, Makelov, Schmidt, Tsipras, Vladu: Towards Deep Learning Models Resistant to Adversarial Attacks. ICLR 2018,
    arXiv 1706.06083.
    """

    fidelity: ClassVar[Fidelity] = "paper"

    start: Start = "uniform"
    """Where the attack starts: the image, uniform in the ball, Gaussian of 0.001, or uniform in twice the ball."""
    fit: Recipe = PAPER_RECIPE.model_copy(update={"weight_decay": 5e-4})
    """How the network is trained."""

    @classmethod
    @preset
    def paper_cifar10(cls) -> "PGDAT":
        """CIFAR-10 at 8/255: 200 epochs, crops of 4 pixels and flips (Rice et al. 2020)."""
        return cls()

    def uses(self) -> frozenset[str]:
        """Return nothing: the loss looks at the perturbed images alone."""
        return frozenset()

    def loss(self, seen: Seen, extras: nn.Module | None) -> Mapping[str, Tensor]:  # noqa: ARG002 (has none)
        """Return the cross-entropy on the perturbed images."""
        return {"loss": hard_cross_entropy(seen.student_adversarial, seen.labels, reduction="mean")}
