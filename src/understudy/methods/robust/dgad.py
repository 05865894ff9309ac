"""Dynamic guidance: clean images where the teacher errs, adversarial ones where it does not, its errors swapped away.

Samples that the teacher gets wrong without any attack are distilled clean, the others under AdaAD's attack; wherever
the teacher is wrong, its true and its top class are exchanged. A regulariser keeps the student's answers to the two
views together.

Park, Min: Dynamic Guidance Adversarial Distillation with Enhanced Teacher Knowledge. ECCV 2024, arXiv 2409.01627.

Fidelity: official. The loss is what the released code computes for full batches and students other than MobileNetV2.
Known defects of it that are not repeated:

- For MobileNetV2 a misplaced parenthesis multiplies the two parts instead of adding them; the form that was meant is
  half the distillation part and the regulariser (`distillation_weight` 0.5).
- It divides by the configured batch size even in a last, smaller batch, and by zero where the teacher errs on a whole
  batch; here sums are divided by the samples at hand, so that a batch is the mean of its parts.
- Its plain training stops with an error of types; its variant with IAD compares the student with itself, a term that is
  always zero.
- It keeps the epoch that is best on the test set; here the last one, or the best on held-out training images.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float, Int
from pydantic import Field, NonNegativeFloat
from torch import Tensor, nn

from understudy.losses import kl_rows, reduce_rows, swap_true_and_top, widened
from understudy.methods.method import Access, Fidelity, preset
from understudy.methods.robust._presets import ADAAD_SCHEDULE, QuickPresets
from understudy.methods.robust_method import Inner, RobustDistiller
from understudy.training import Recipe
from understudy.training.seen import Seen


def guided_rows(
    teacher_clean: Float[Tensor, "b k"],
    teacher_adversarial: Float[Tensor, "b k"],
    student_clean: Float[Tensor, "b k"],
    student_adversarial: Float[Tensor, "b k"],
    labels: Int[Tensor, " b"],
) -> Float[Tensor, " b"]:
    """Return KL(𝒮q_x ‖ p_x) where the teacher errs on the clean image, and KL(𝒮q_x' ‖ p_x') elsewhere.

    𝒮 exchanges the scores of the true and of the top class, which leaves right answers as they are.
    """
    clean = kl_rows(swap_true_and_top(teacher_clean, labels), student_clean)
    adversarial = kl_rows(swap_true_and_top(teacher_adversarial, labels), student_adversarial)
    return torch.where(teacher_clean.argmax(dim=1) != labels, clean, adversarial)


def consistency(first: Float[Tensor, "b k"], second: Float[Tensor, "b k"]) -> Float[Tensor, ""]:
    """Return the mean over samples and classes of the squared difference of two sets of probabilities."""
    return (widened(first).softmax(dim=1) - widened(second).softmax(dim=1)).square().mean()


class DGAD(QuickPresets, RobustDistiller):
    """Distil each sample clean or under attack, by whether the teacher is right, with the teacher's errors swapped.

    Park, Min: Dynamic Guidance Adversarial Distillation with Enhanced Teacher Knowledge. ECCV 2024, arXiv 2409.01627.
    """

    fidelity: ClassVar[Fidelity] = "official"
    requires: ClassVar[Access] = Access.WEIGHTS
    inner: ClassVar[Inner] = "moving"

    consistency_weight: NonNegativeFloat = 1.0
    """Weight of the squared difference between the student's answers to the two views [β]."""
    distillation_weight: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Weight of the divergences; 0.5 is what the authors meant for MobileNetV2."""
    fit: Recipe = ADAAD_SCHEDULE
    """How the student is trained."""

    @classmethod
    @preset
    def official_cifar10(cls) -> "DGAD":
        """The released code's values for ResNet-18: 200 epochs."""
        return cls()

    @classmethod
    @preset
    def meant_for_mobilenet(cls) -> "DGAD":
        """What the released code means to compute for MobileNetV2."""
        return cls(distillation_weight=0.5)

    def uses(self) -> frozenset[str]:
        """Both networks on both views."""
        return frozenset({"teacher_clean", "teacher_adversarial", "student_clean"})

    def loss(self, seen: Seen, extras: nn.Module | None) -> Mapping[str, Tensor]:  # noqa: ARG002
        """Return the mean of the guided divergences + β·mean (p_x' − p_x)²."""
        rows = guided_rows(
            seen.teacher_clean,
            seen.teacher_adversarial,
            seen.student_clean,
            seen.student_adversarial,
            seen.labels,
        )
        divergence = reduce_rows(rows, reduction=self.reduction, classes=seen.classes)
        together = consistency(seen.student_adversarial, seen.student_clean)
        loss = self.distillation_weight * divergence + self.consistency_weight * together
        return {"loss": loss, "consistency": together}
