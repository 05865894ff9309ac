"""Adversarial training on labels mixed with a teacher's answers, or with those of several teachers.

The student's cross-entropy on adversarial images is taken against (1 − λ)·label + λ·teacher.

Maroto, Ortiz-Jiménez, Frossard: On the benefits of knowledge distillation for adversarial robustness. 2022,
arXiv 2203.07159.

Fidelity: instantiation. The public abstract says that the student is trained on a mixture of the true label and the
teacher's output, and that early stopping, ensembles of teachers and a weaker attack in training help most. The rest is
ours:

- λ = 0.5, and the teacher answers to the adversarial image (`teacher_view`).
- An ensemble answers with the mean of its members' probabilities (`further_teachers`).
- The attack climbs the cross-entropy against the label, from a uniform start.
- The weaker attack in training is a smaller `epsilon` here than the one that the student is evaluated at.
- With reduction class_mean the teacher's share alone is divided by the number of classes.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from understudy.attacks import Start
from understudy.losses import hard_cross_entropy, reduce_rows, soft_cross_entropy, widened
from understudy.methods.method import Access, Fidelity, preset
from understudy.methods.robust._presets import QuickPresets
from understudy.methods.robust_method import Inner, RobustDistiller
from understudy.training.seen import Seen
from understudy.training.teachers import View


def ensemble(logits: Sequence[Float[Tensor, "b k"]]) -> Float[Tensor, "b k"]:
    """Return the mean of the teachers' probabilities, float32 or wider."""
    return torch.stack([widened(rows).softmax(dim=1) for rows in logits]).mean(dim=0)


class AKD(QuickPresets, RobustDistiller):
    """Train under attack on labels mixed with the answers of one or more teachers.

    Maroto, Ortiz-Jiménez, Frossard: On the benefits of knowledge distillation for adversarial robustness. 2022,
    arXiv 2203.07159; an independent instantiation.
    """

    fidelity: ClassVar[Fidelity] = "instantiation"
    requires: ClassVar[Access] = Access.LOGITS
    inner: ClassVar[Inner] = "ce"

    teacher_weight: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the teacher in the mixed label [λ]."""
    teacher_view: View = "adversarial"
    """Which image the teachers answer to."""
    further_teachers: tuple[str, ...] = ()
    """More teachers, which with the first form an ensemble: run folders or specs."""
    start: Start = "uniform"
    """Where the attack starts; a uniform start of our own choice."""

    @classmethod
    @preset
    def our_cifar10(cls) -> "AKD":
        """Our own values for the usual 200 epochs."""
        return cls()

    @property
    def other_view(self) -> View:
        """All teachers answer to the same image."""
        return self.teacher_view

    def other_teachers(self) -> dict[str, str]:
        """Return the further members of the ensemble."""
        return {f"teacher {place}": spec for place, spec in enumerate(self.further_teachers, start=2)}

    def uses(self) -> frozenset[str]:
        """The teacher on the view that it answers to."""
        return frozenset({f"teacher_{self.teacher_view}"})

    def loss(self, seen: Seen, extras: nn.Module | None) -> Mapping[str, Tensor]:  # noqa: ARG002
        """Return −Σ_k ỹ_k log p_x',k with ỹ = (1 − λ)·e_y + λ·q."""
        first = seen.teacher_clean if self.teacher_view == "clean" else seen.teacher_adversarial
        probs = ensemble([first, *seen.others.values()])
        taught = soft_cross_entropy(seen.student_adversarial, probs, reduction="none")
        labelled = hard_cross_entropy(seen.student_adversarial, seen.labels, reduction="mean")
        softened = reduce_rows(taught, reduction=self.reduction, classes=seen.classes)
        return {"loss": (1 - self.teacher_weight) * labelled + self.teacher_weight * softened}
