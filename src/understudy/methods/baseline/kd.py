"""Knowledge distillation on real images: what a student reaches when the data are at hand.

The loss is (1 − α)·CE(labels) + α·T²·KL(teacher ‖ student), both distributions softened by T. Where a label is not
known it is T²·KL alone.

Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network. 2015, arXiv 1503.02531.

Fidelity: paper. The paper leaves the weighting of the two terms open ("a considerably lower weight" on the
labels); α = 0.9 is the usual reading. Without the factor T² (`squared_factor=False`) softened
gradients shrink with 1/T², which some implementations leave so. The teacher is asked ahead of training and its logits
are filed as float16; from a teacher behind a defence come probabilities, which are softened as p^(1/T).
"""

from typing import Annotated, ClassVar

from pydantic import Field, PositiveFloat
from torch import Tensor

from understudy.losses import distillation_loss
from understudy.methods.distiller import Distiller, Taught
from understudy.methods.method import Fidelity, preset
from understudy.training.from_images import CIFAR10, DIGITS, MNIST


class KD(Distiller):
    """Distil a teacher on real images with softened logits.

    Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network. 2015, arXiv 1503.02531.
    """

    fidelity: ClassVar[Fidelity] = "paper"

    temperature: PositiveFloat = 4.0
    """Softening of both distributions [T]."""
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.9
    """Weight of the teacher against the labels."""
    squared_factor: bool = True
    """Whether the teacher's term is multiplied by the squared temperature."""

    @classmethod
    @preset
    def digits(cls) -> "KD":
        """The embedded 8x8 digits: a few seconds."""
        return cls(fit=DIGITS)

    @classmethod
    @preset
    def mnist(cls) -> "KD":
        """MNIST with small networks."""
        return cls(crop_padding=2, fit=MNIST)

    @classmethod
    @preset
    def cifar10(cls) -> "KD":
        """CIFAR-10 with residual networks: crops of 4 pixels, flips, and the one-cycle rule."""
        return cls(crop_padding=4, flip=True, fit=CIFAR10)

    def loss(self, outputs: Tensor, taught: Taught) -> Tensor:
        """Return (1 − α)·CE + α·T²·KL, or without the T²."""
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
