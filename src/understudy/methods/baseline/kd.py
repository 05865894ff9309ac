"""Knowledge distillation on real images: what a student reaches when the data are at hand.

The loss is (1 − α)·CE(labels) + α·T²·KL(teacher ‖ student), both distributions softened by T.

Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network. 2015, arXiv 1503.02531.

Fidelity: paper. The paper leaves the weighting of the two terms open ("a considerably lower weight" on the
labels); α = 0.9 is the usual reading. Without the factor T² (`squared_factor=False`) softened
gradients shrink with 1/T², which some implementations leave so.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat
from torch import Tensor, nn

from understudy.data import Augment, Batch, ImageSet
from understudy.losses import hard_cross_entropy, kl_divergence, tempered_kl
from understudy.methods.method import Access, Fidelity, Method, Outcome, preset
from understudy.models import Classifier, Network, freeze
from understudy.runs.run import Run
from understudy.training import Recipe
from understudy.training.from_images import CIFAR10, DIGITS, MNIST, cost_on_images, fit_on_images


class KD(Method):
    """Distil a teacher on real images with softened logits.

    Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network. 2015, arXiv 1503.02531.
    """

    fidelity: ClassVar[Fidelity] = "paper"
    requires: ClassVar[Access] = Access.LOGITS
    needs_data: ClassVar[bool] = True

    temperature: PositiveFloat = 4.0
    """Softening of both distributions [T]."""
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.9
    """Weight of the teacher against the labels."""
    squared_factor: bool = True
    """Whether the teacher's term is multiplied by the squared temperature."""
    crop_padding: NonNegativeInt = 0
    """Pixels of padding for random crops; 0 leaves images where they are."""
    flip: bool = False
    """Whether images are mirrored at random, left to right."""
    fit: Recipe = Recipe(epochs=20, batch_size=128, learning_rate=0.1)
    """How the student is trained."""

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

    def loss(self, logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        """Return (1 − α)·CE + α·T²·KL, or without the T²."""
        labelled = hard_cross_entropy(logits, labels, reduction="mean")
        divergence = tempered_kl if self.squared_factor else kl_divergence
        softened = divergence(logits, teacher_logits, temperature=self.temperature, reduction="batchmean")
        return (1 - self.alpha) * labelled + self.alpha * softened

    def cost(self, model: Network, *, rows: int | None, bank: object = None) -> dict[str, int]:  # noqa: ARG002
        """Return training steps, images seen and parameters."""
        return cost_on_images(model, self.fit, rows or 0)

    def run(self, *, teacher: Classifier, student: Classifier, data: ImageSet, run: Run) -> Outcome:
        """Train `student` in place on images, their labels and the teacher's answers to the same crops."""
        answers = freeze(
            teacher.to(run.device), precision=run.options.precision, channels_last=run.options.channels_last
        )

        def objective(module: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
            with torch.no_grad():
                teacher_logits = answers(batch.x)
            logits = module(batch.x)
            same = logits.argmax(dim=1) == teacher_logits.argmax(dim=1)
            return {
                "loss": self.loss(logits, teacher_logits, batch.labels),
                "accuracy": (logits.argmax(dim=1) == batch.labels).float().mean(),
                "agreement": same.float().mean(),
            }

        augment = Augment(crop_padding=self.crop_padding, flip=self.flip)
        fit_on_images(student, data, objective=objective, augment=augment, recipe=self.fit, run=run)
        return Outcome(student)
