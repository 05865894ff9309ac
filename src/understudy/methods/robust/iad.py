"""Introspective adversarial distillation: the teacher counts for as much as it can be trusted.

A teacher that gives the true class of an adversarial image little probability is trusted little there, and the student
then listens to its own answer to the clean image. Two forms: one robust teacher (IAD-I), or a robust and a natural one
with the labels (IAD-II, with `natural_teacher`).

Zhu, Yao, Han, Zhang, Liu, Niu, Zhou, Xu, Yang: Reliable Adversarial Distillation with Unreliable Teachers. ICLR 2022,
arXiv 2106.04928 (https://github.com/ZFancy/IAD).

Fidelity: paper. The paper's form weighs the teacher's divergence by its trust; it was written down from secondary
sources. Where the released code differs:

- IAD-I leaves the teacher's term unweighted (`variant` released, `official_cifar10`).
- It attacks the student in training mode, which moves BatchNorm statistics ten times a step; here the attack meets eval
  mode.
- Its helper multiplies the first learning rate at each milestone, so that the rate stays at 0.01 after epoch 150; here
  it falls to 0.001.
- It loops over samples on the host, and keeps two forward passes of the student that nothing uses.
- It keeps the epoch that is best on the test set; here the last one, or the best on held-out training images.

The method AKD2 of that repository, two teachers after Chen et al. 2021, is not ours. AdaIAD, IAD-I's loss under AdaAD's
attack with the teacher on adversarial images, is not offered.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, model_validator
from torch import Tensor, nn

from understudy.attacks import Start
from understudy.losses import hard_cross_entropy, kl_rows, reduce_rows
from understudy.methods.method import Access, Fidelity, preset
from understudy.methods.robust._presets import CIFAR10, DIGITS, MNIST, QuickPresets
from understudy.methods.robust_method import Inner, RobustDistiller
from understudy.training.seen import Seen
from understudy.training.teachers import View

Share = Annotated[float, Field(ge=0, le=1)]


def trust(teacher_logits: Float[Tensor, "b k"], labels: Int[Tensor, " b"], *, power: float) -> Float[Tensor, " b"]:
    """Return α_i = (q_{x',i y})^β: how far the teacher's answer to an adversarial image is trusted, in [0, 1]."""
    cross_entropy = hard_cross_entropy(teacher_logits.detach(), labels, reduction="none")
    return torch.exp(-power * cross_entropy)


class IAD(QuickPresets, RobustDistiller):
    """Distil from a teacher where it is right under attack, and from the student itself where it is not.

    Zhu et al.: Reliable Adversarial Distillation with Unreliable Teachers. ICLR 2022, arXiv 2106.04928.
    """

    fidelity: ClassVar[Fidelity] = "paper"
    requires: ClassVar[Access] = Access.LOGITS
    inner: ClassVar[Inner] = "ce"

    variant: Literal["paper", "released"] = "paper"
    """Whether the teacher's own term is weighed by its trust too, as in the paper, or not, as in the released code."""
    trust_power: NonNegativeFloat = 0.1
    """Power of the probability that the teacher gives to the true class [β]."""
    warm_up: NonNegativeInt = 60
    """Epochs in which the teacher is trusted fully."""
    introspection: NonNegativeFloat = 1.0
    """Weight of the student's own answers to clean images [γ]; of IAD-I."""
    temperature: PositiveFloat = 1.0
    """Softening of the teacher's terms [τ]."""
    natural_teacher: str | None = None
    """A second teacher, trained without attacks: a run folder or a spec. With one, the loss is that of IAD-II."""
    robust_weight: Share = 0.5
    """Weight of the robust teacher and of introspection in IAD-II [a₁]."""
    natural_weight: Share = 0.25
    """Weight of the natural teacher in IAD-II [a₂]; what is left goes to the labels."""
    start: Start = "uniform"
    """Where the attack starts; a uniform start, as in the released code."""

    @model_validator(mode="after")
    def _something_is_left(self) -> "IAD":
        if self.warm_up >= self.fit.epochs:
            raise ValueError(
                f"warm_up of {self.warm_up} epochs leaves nothing of {self.fit.epochs}: the teacher would be trusted "
                "fully to the end; set warm_up to about a fifth of the epochs"
            )
        if self.robust_weight + self.natural_weight > 1:
            raise ValueError("robust_weight and natural_weight sum to more than 1: lower one of them")
        return self

    @classmethod
    @preset
    def paper_cifar10(cls) -> "IAD":
        """The paper's form with one teacher: 200 epochs, trust after 60."""
        return cls()

    @classmethod
    @preset
    def official_cifar10(cls) -> "IAD":
        """The released code's form with one teacher."""
        return cls(variant="released")

    @classmethod
    @preset
    def cifar10(cls) -> "IAD":
        """CIFAR-10 at a radius of 8/255, in 30 epochs of one cycle; trust after 9."""
        return cls(warm_up=9, **CIFAR10)

    @classmethod
    @preset
    def mnist(cls) -> "IAD":
        """MNIST with small networks, at a radius of 0.2; trust after 2 of 8 epochs."""
        return cls(warm_up=2, **MNIST)

    @classmethod
    @preset
    def digits(cls) -> "IAD":
        """The embedded 8x8 digits, at a radius of 0.12: seconds; trust after 8 of 40 epochs."""
        return cls(warm_up=8, **DIGITS)

    @property
    def other_view(self) -> View:
        """The natural teacher answers to adversarial images."""
        return "adversarial"

    def other_teachers(self) -> dict[str, str]:
        """Return the natural teacher of IAD-II, if there is one."""
        return {"natural": self.natural_teacher} if self.natural_teacher else {}

    def uses(self) -> frozenset[str]:
        """The student on both views; the teacher on both, or on adversarial images alone (IAD-II)."""
        both = {"student_clean", "teacher_adversarial"}
        return frozenset(both if self.natural_teacher else both | {"teacher_clean"})

    def loss(self, seen: Seen, extras: nn.Module | None) -> Mapping[str, Tensor]:  # noqa: ARG002
        """Return the loss of IAD-I, or that of IAD-II where there is a natural teacher."""
        trusted = trust(seen.teacher_adversarial, seen.labels, power=self.trust_power)
        if seen.epoch < self.warm_up:
            trusted = torch.ones_like(trusted)
        own = (1 - trusted) * kl_rows(seen.student_clean, seen.student_adversarial)
        loss = self._two_teachers(seen, trusted, own) if self.natural_teacher else self._one_teacher(seen, trusted, own)
        return {"loss": loss, "trust": trusted.mean()}

    def _one_teacher(self, seen: Seen, trusted: Tensor, own: Tensor) -> Tensor:
        """α_i·τ²·KL(q_x^τ ‖ p_x'^τ) + γ·(1 − α_i)·KL(p_x ‖ p_x'); the released code has no α_i in front."""
        taught = self._taught(seen.teacher_clean, seen)
        rows = (taught if self.variant == "released" else trusted * taught) + self.introspection * own
        return reduce_rows(rows, reduction=self.reduction, classes=seen.classes)

    def _two_teachers(self, seen: Seen, trusted: Tensor, own: Tensor) -> Tensor:
        """(1 − a₁ − a₂)·CE + a₁τ²·[ α_i·KL(q^r_x' ‖ p_x') + (1 − α_i)·KL(p_x ‖ p_x') ] + a₂τ²·KL(q^n_x' ‖ p_x')."""
        robust = trusted * self._taught(seen.teacher_adversarial, seen) + self.temperature**2 * own
        natural = self._taught(seen.others["natural"], seen)
        rows = self.robust_weight * robust + self.natural_weight * natural
        labelled = hard_cross_entropy(seen.student_adversarial, seen.labels, reduction="mean")
        divergence = reduce_rows(rows, reduction=self.reduction, classes=seen.classes)
        return (1 - self.robust_weight - self.natural_weight) * labelled + divergence

    def _taught(self, teacher_logits: Tensor, seen: Seen) -> Tensor:
        rows = kl_rows(teacher_logits, seen.student_adversarial, temperature=self.temperature)
        return self.temperature**2 * rows
