"""What a loss gets to see of a batch: what was known before the attack, and all that the networks said of it."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float, Int64
from torch import Tensor

from understudy.models import Frozen, Mirror

Images = Float[Tensor, "b c h w"]
Logits = Float[Tensor, "b k"]
Features = Float[Tensor, "b d"]
TheirFeatures = Float[Tensor, "b e"]


class Clean:
    """What is known of a batch before the attack. What the method does not use is not there."""

    x: Images
    labels: Int64[Tensor, " b"]
    mirror: Mirror
    """The student as it stands, in eval mode, for the attack and for targets that stay fixed during it."""
    teacher: Frozen
    teacher_clean: Logits
    teacher_clean_features: TheirFeatures
    others: Mapping[str, Logits]
    """Logits of the further teachers that look at clean images, by name."""
    epoch: int
    """Passes over the training set that are done."""
    epochs: int
    """Passes in all."""
    learning_rate: float
    """Of this step."""

    def __init__(
        self,
        *,
        x: Images,
        labels: Int64[Tensor, " b"],
        mirror: Mirror | None = None,
        teacher: Frozen | None = None,
        teacher_clean: Logits | None = None,
        teacher_clean_features: TheirFeatures | None = None,
        others: Mapping[str, Logits] | None = None,
        epoch: int = 0,
        epochs: int = 1,
        learning_rate: float = 0.0,
    ) -> None:
        vars(self).update(_there(locals()), others=others or {})


class Seen:
    """What the networks said of a batch. What the method does not use is not there."""

    x: Images
    labels: Int64[Tensor, " b"]
    x_adv: Images
    student_adversarial: Logits
    student_clean: Logits
    student_adv_features: Features
    student_clean_features: Features
    student_minus: Logits
    """Of 2x − x', the perturbation mirrored."""
    teacher_clean: Logits
    teacher_adversarial: Logits
    teacher_clean_features: TheirFeatures
    teacher_adv_features: TheirFeatures
    teacher_minus: Logits
    """Likewise."""
    others: Mapping[str, Logits]
    """Logits of the further teachers, by name."""
    epoch: int
    """Passes over the training set that are done."""
    epochs: int
    """Passes in all."""
    learning_rate: float
    """Of this step."""

    def __init__(
        self,
        *,
        x: Images,
        labels: Int64[Tensor, " b"],
        x_adv: Images,
        student_adversarial: Logits,
        student_clean: Logits | None = None,
        student_adv_features: Features | None = None,
        student_clean_features: Features | None = None,
        student_minus: Logits | None = None,
        teacher_clean: Logits | None = None,
        teacher_adversarial: Logits | None = None,
        teacher_clean_features: TheirFeatures | None = None,
        teacher_adv_features: TheirFeatures | None = None,
        teacher_minus: Logits | None = None,
        others: Mapping[str, Logits] | None = None,
        epoch: int = 0,
        epochs: int = 1,
        learning_rate: float = 0.0,
    ) -> None:
        vars(self).update(_there(locals()), others=others or {})

    @property
    def classes(self) -> int:
        """Return the number of classes."""
        return self.student_adversarial.shape[1]


def _there(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is given and no None, so that a loss that looks at something else is told so by its name."""
    return {name: value for name, value in given.items() if value is not None and name != "self"}
