"""Plain distillation, and what the attackers do with answers once they have changed them."""

from typing import Annotated, ClassVar

from pydantic import Field, PositiveFloat
from torch import Tensor

from understudy.losses import distillation_loss
from understudy.methods.distiller import Distiller, Taught
from understudy.methods.image_presets import QuickPresets
from understudy.methods.method import Access


class Softened(QuickPresets, Distiller):
    """Base of plain distillation, and of attackers that differ from it in the answers that they learn from."""

    requires: ClassVar[Access] = Access.LOGITS

    temperature: PositiveFloat = 4.0
    """Softening of both distributions [T]."""
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.9
    """Weight of the answers against the labels, where labels are known."""
    squared_factor: bool = True
    """Whether the term of the answers is multiplied by the squared temperature."""

    def loss(self, outputs: Tensor, taught: Taught) -> Tensor:
        """Return the mean of (1 − α)·CE + α·T²·KL(q ‖ p) where labels are known, and of T²·KL(q ‖ p) elsewhere."""
        return distillation_loss(
            outputs,
            taught.answers.softened(self.temperature),
            taught.labels,
            taught.known,
            temperature=self.temperature,
            alpha=self.alpha,
            squared_factor=self.squared_factor,
            reduction="mean",
        )
