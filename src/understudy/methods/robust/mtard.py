"""Two teachers: a robust one for adversarial images, a natural one for clean ones, balanced as the student learns.

The weights of the two divergences move at every step towards how much of each is still left to learn, relative to where
it started, so that neither teacher is forgotten.

Zhao, Yu, Sun, Zhao, Wei: Enhanced Accuracy and Robustness via Multi-Teacher Adversarial Distillation. ECCV 2022; in
short Zhao et al. 2022, ECCV (https://github.com/zhaoshiji123/MTARD).

Fidelity: paper. Where the released code differs:

- It averages the divergences over samples and classes (`official_cifar10`, reduction class_mean), and multiplies by ten
  on CIFAR-100.
- It lowers the weights' own rate r to a tenth whenever it lowers the learning rate; here r is multiplied by the share
  of the recipe's learning rate that is on, which is the same with milestones, and also follows a one-cycle schedule.
- It writes its CIFAR-100 checkpoints under CIFAR-10's name.
- It keeps the epoch that is best on the test set; here the last one, or the best on held-out training images.

The weight, and the first losses that it depends on, are part of each checkpoint. The later B-MTARD (arXiv 2306.16170),
which also adjusts each teacher's temperature until both are equally sure, is not offered: its rule could not be
verified.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field, NonNegativeFloat
from torch import Tensor, nn

from understudy.errors import ConfigError
from understudy.losses import kl_rows, reduce_rows
from understudy.methods.method import Access, Fidelity, preset
from understudy.methods.robust._presets import RSLAD_SCHEDULE, QuickPresets
from understudy.methods.robust_method import Inner, RobustDistiller
from understudy.models import Network
from understudy.training import Recipe
from understudy.training.seen import Seen
from understudy.training.teachers import View

Scalar = Float[Tensor, ""]


class Balance(nn.Module):
    """The weight of the natural teacher and what it depends on, as buffers: part of every checkpoint."""

    natural_weight: Scalar
    first_adversarial: Scalar
    first_natural: Scalar

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("natural_weight", torch.tensor(0.5))
        self.register_buffer("first_adversarial", torch.tensor(0.0))  # 0 until the first step has set it
        self.register_buffer("first_natural", torch.tensor(0.0))

    @torch.no_grad()
    def move(self, adversarial: Scalar, natural: Scalar, *, rate: float, power: float) -> Scalar:
        """Take one step, w_n ← w_n − r·[ w_n − ℓ̂_n^β / (ℓ̂_a^β + ℓ̂_n^β) ], and return w_n; ℓ̂ = L / L of the first step.

        Where nothing is left to learn of either teacher both count the same. No value is read on the host.
        """
        left = []
        for first, now in ((self.first_adversarial, adversarial), (self.first_natural, natural)):
            first.copy_(torch.where(first > 0, first, now))
            left.append(_log(now) - _log(first))
        share = torch.sigmoid(power * (left[1] - left[0]))  # x/(x + y) = sigmoid(log x − log y), without overflow
        self.natural_weight.sub_(rate * (self.natural_weight - share))
        return self.natural_weight.clone()


class MTARD(QuickPresets, RobustDistiller):
    """Distil a robust and a natural teacher at once, each on its own images.

    Zhao et al. 2022, ECCV: Enhanced Accuracy and Robustness via Multi-Teacher Adversarial Distillation.
    """

    fidelity: ClassVar[Fidelity] = "paper"
    requires: ClassVar[Access] = Access.LOGITS
    inner: ClassVar[Inner] = "ce"

    natural_teacher: str | None = None
    """The second teacher, trained without attacks: a run folder or a spec. Needed."""
    balance_rate: Annotated[float, Field(ge=0, le=1)] = 0.025
    """How far the weights move in one step, at the full learning rate [r]."""
    balance_power: NonNegativeFloat = 1.0
    """Power of what is left to learn, relative to the first step [β]."""
    fit: Recipe = RSLAD_SCHEDULE
    """How the student is trained."""

    @classmethod
    @preset
    def paper_cifar10(cls) -> "MTARD":
        """The paper's values, with a natural teacher to be named: 300 epochs."""
        return cls()

    @classmethod
    @preset
    def official_cifar10(cls) -> "MTARD":
        """The released code's, with a natural teacher to be named: divergences averaged over classes too."""
        return cls(reduction="class_mean")

    @property
    def other_view(self) -> View:
        """The natural teacher answers to clean images."""
        return "clean"

    def other_teachers(self) -> dict[str, str]:
        """Return the natural teacher.

        Raises:
            ConfigError: there is none.
        """
        if self.natural_teacher is None:
            raise ConfigError(
                "MTARD learns from two teachers, and has a robust one alone",
                where="--natural-teacher",
                expected="a network that was trained without attacks: a run folder or a spec",
                fix="make one with `understudy train supervised`, or distil with rslad",
            )
        return {"natural": self.natural_teacher}

    def extras(self, student: Network, teacher: Network | None, generator: torch.Generator) -> nn.Module:  # noqa: ARG002
        """Return the weights' state."""
        return Balance()

    def uses(self) -> frozenset[str]:
        """The student on both views, the robust teacher on adversarial images; the natural one looks at clean ones."""
        return frozenset({"student_clean", "teacher_adversarial"})

    def loss(self, seen: Seen, extras: nn.Module | None) -> Mapping[str, Tensor]:
        """Return w_a·KL(q^r_x' ‖ p_x') + w_n·KL(q^n_x ‖ p_x), after the weights have moved."""
        assert isinstance(extras, Balance)
        rows = {
            "adversarial": kl_rows(seen.teacher_adversarial, seen.student_adversarial),
            "natural": kl_rows(seen.others["natural"], seen.student_clean),
        }
        terms = {name: reduce_rows(part, reduction=self.reduction, classes=seen.classes) for name, part in rows.items()}
        rate = self.balance_rate * seen.learning_rate / self.fit.learning_rate
        weight = extras.move(
            terms["adversarial"].detach(), terms["natural"].detach(), rate=rate, power=self.balance_power
        )
        loss = (1 - weight) * terms["adversarial"] + weight * terms["natural"]
        return {"loss": loss, **terms, "natural_weight": weight}


def _log(loss: Scalar) -> Scalar:
    return loss.clamp_min(torch.finfo(loss.dtype).tiny).log()
