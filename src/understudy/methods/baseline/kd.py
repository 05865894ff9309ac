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

from understudy.data import Augment, Batch, Batches, ImageSet
from understudy.losses import hard_cross_entropy, kl_divergence
from understudy.methods.method import Access, Fidelity, Method, Outcome, preset
from understudy.models import Classifier, count_parameters, freeze
from understudy.runs.run import Run
from understudy.training import Recipe, fit


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
        return cls(fit=Recipe(epochs=40, batch_size=64, learning_rate=0.05))

    @classmethod
    @preset
    def mnist(cls) -> "KD":
        """MNIST with small networks."""
        return cls(crop_padding=2, fit=Recipe(epochs=8, batch_size=128, learning_rate=0.1))

    @classmethod
    @preset
    def cifar10(cls) -> "KD":
        """CIFAR-10 with residual networks: crops of 4 pixels, flips, and the one-cycle rule."""
        return cls(crop_padding=4, flip=True, fit=Recipe(epochs=30, batch_size=128, learning_rate=0.2))

    def loss(self, logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        """Return (1 − α)·CE + α·T²·KL, or without the T²."""
        labelled = hard_cross_entropy(logits, labels, reduction="mean")
        softened = kl_divergence(logits, teacher_logits, temperature=self.temperature, reduction="batchmean")
        factor = self.temperature**2 if self.squared_factor else 1.0
        return (1 - self.alpha) * labelled + self.alpha * factor * softened

    def cost(self, model: Classifier, *, rows: int | None) -> dict[str, int]:
        """Return training steps, images seen and parameters."""
        steps = self.fit.steps(rows or 0)
        return {
            "training_steps": steps,
            "images_seen": steps * self.fit.batch_size,
            "parameters": count_parameters(model),
        }

    def run(self, *, teacher: Classifier, student: Classifier, data: ImageSet, run: Run) -> Outcome:
        """Train `student` in place on images, their labels and the teacher's answers to the same crops."""
        answers = freeze(
            teacher.to(run.device), precision=run.options.precision, channels_last=run.options.channels_last
        )
        batches = Batches(
            data,
            batch_size=self.fit.batch_size,
            seed=run.seed,
            augment=Augment(crop_padding=self.crop_padding, flip=self.flip),
            device=run.device,
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

        fit(
            student,
            batch_at=lambda step: batches.at(step, rank=run.rank, world=run.world),
            objective=objective,
            recipe=self.fit,
            steps_per_epoch=batches.steps_per_epoch,
            run=run,
            phase="fit",
        )
        return Outcome(student)
