"""Robust soft labels: the teacher's answers to clean images, and no hard label anywhere.

The student's distributions on adversarial and on clean images are both drawn to the teacher's on the clean image; the
attack climbs the divergence from that same distribution.

Zi, Zhao, Ma, Jiang: Revisiting Adversarial Robustness Distillation: Robust Soft Labels Make Student Better. ICCV 2021,
arXiv 2108.07969 (https://github.com/zibojia/RSLAD).

Fidelity: paper. Where the released code differs:

- It averages the divergences over samples and classes (`official_cifar10`, reduction class_mean): a tenth of the
  paper's loss with ten classes. On CIFAR-100 it multiplies by ten, which gives a tenth again.
- It adds 1e-5 to the teacher's probabilities inside the logarithm, which adds about 1e-5 to the loss that is shown, and
  nothing to its gradient; here there is none.
- It keeps the epoch that is best on the test set; here the last one, or the best on held-out training images.
- Its CIFAR-100 script for ResNet-18 stops with an error of types, and gives the teacher CIFAR-10's mean and deviation.

The attack meets the student folded and in eval mode, as there; the teacher is asked once a batch, or not at all where
its answer is on file.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor, nn

from understudy.losses import kl_rows, reduce_rows
from understudy.methods.method import Access, Fidelity, preset
from understudy.methods.robust._presets import RSLAD_SCHEDULE, QuickPresets
from understudy.methods.robust_method import Inner, RobustDistiller
from understudy.training import Recipe
from understudy.training.seen import Seen


class RSLAD(QuickPresets, RobustDistiller):
    """Distil robustness from the teacher's soft labels on clean images.

    Zi, Zhao, Ma, Jiang: Revisiting Adversarial Robustness Distillation. ICCV 2021, arXiv 2108.07969.
    """

    fidelity: ClassVar[Fidelity] = "paper"
    requires: ClassVar[Access] = Access.LOGITS
    inner: ClassVar[Inner] = "kl_teacher"

    adversarial_weight: Annotated[float, Field(ge=0, le=1)] = 5 / 6
    """Weight of the divergence on adversarial images against that on clean ones."""
    fit: Recipe = RSLAD_SCHEDULE
    """How the student is trained."""

    @classmethod
    @preset
    def paper_cifar10(cls) -> "RSLAD":
        """The paper's values: 300 epochs."""
        return cls()

    @classmethod
    @preset
    def official_cifar10(cls) -> "RSLAD":
        """The released code's: divergences averaged over classes too."""
        return cls(reduction="class_mean")

    def uses(self) -> frozenset[str]:
        """The teacher on clean images, and the student there unless only adversarial images count."""
        return frozenset({"teacher_clean", "student_clean"} if self.adversarial_weight < 1 else {"teacher_clean"})

    def loss(self, seen: Seen, extras: nn.Module | None) -> Mapping[str, Tensor]:  # noqa: ARG002
        """Return w·KL(q_x ‖ p_x') + (1 − w)·KL(q_x ‖ p_x)."""
        rows = self.adversarial_weight * kl_rows(seen.teacher_clean, seen.student_adversarial)
        if self.adversarial_weight < 1:
            rows = rows + (1 - self.adversarial_weight) * kl_rows(seen.teacher_clean, seen.student_clean)
        return {"loss": reduce_rows(rows, reduction=self.reduction, classes=seen.classes)}
