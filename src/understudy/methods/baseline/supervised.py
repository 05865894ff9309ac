"""Supervised training: how teachers are made, and what a student with labels would have reached.

Cross-entropy against labels, with the smoothing of Szegedy et al. 2016 (arXiv 1512.00567) as an option.

Fidelity: paper.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field, NonNegativeInt
from torch import Tensor, nn

from understudy.data import Augment, Batch, ImageSet
from understudy.losses import hard_cross_entropy
from understudy.methods.method import Access, Fidelity, Method, Outcome, preset
from understudy.models import Classifier, Network
from understudy.runs.run import Run
from understudy.training import Recipe
from understudy.training.from_images import CIFAR10, DIGITS, MNIST, cost_on_images, fit_on_images


class Supervised(Method):
    """Train a classifier on labelled images.

    Szegedy et al.: Rethinking the Inception Architecture (label smoothing). CVPR 2016, arXiv 1512.00567.
    """

    fidelity: ClassVar[Fidelity] = "paper"
    requires: ClassVar[Access] = Access.LABELS
    needs_data: ClassVar[bool] = True

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the label's mass spread over all classes."""
    crop_padding: NonNegativeInt = 0
    """Pixels of padding for random crops; 0 leaves images where they are."""
    flip: bool = False
    """Whether images are mirrored at random, left to right."""
    fit: Recipe = Recipe(epochs=20, batch_size=128, learning_rate=0.1)
    """How the classifier is trained."""

    @classmethod
    @preset
    def digits(cls) -> "Supervised":
        """The embedded 8x8 digits: a few seconds."""
        return cls(fit=DIGITS)

    @classmethod
    @preset
    def mnist(cls) -> "Supervised":
        """MNIST with a small convolutional network."""
        return cls(crop_padding=2, fit=MNIST)

    @classmethod
    @preset
    def cifar10(cls) -> "Supervised":
        """CIFAR-10 with a residual network: crops of 4 pixels, flips, and the one-cycle rule."""
        return cls(crop_padding=4, flip=True, fit=CIFAR10)

    def cost(self, model: Network, *, rows: int | None, bank: object = None) -> dict[str, int]:  # noqa: ARG002
        """Return training steps, images seen and parameters."""
        return cost_on_images(model, self.fit, rows or 0)

    def run(self, *, model: Classifier, data: ImageSet, run: Run) -> Outcome:
        """Train `model` in place on labelled images; a run that was stopped goes on."""

        def objective(module: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
            logits = module(batch.x)
            loss = hard_cross_entropy(logits, batch.labels, smoothing=self.label_smoothing, reduction="mean")
            return {"loss": loss, "accuracy": (logits.argmax(dim=1) == batch.labels).float().mean()}

        augment = Augment(crop_padding=self.crop_padding, flip=self.flip)
        fit_on_images(model, data, objective=objective, augment=augment, recipe=self.fit, run=run)
        return Outcome(model)
