"""The misinformer of adaptive misinformation: a network trained to give the true class no probability.

It minimises −ln(1 − p_y), so that its answers look like answers and are wrong. By itself it is nothing to serve: the
defence `misinformation` mixes its answers into those of a teacher on inputs of which the teacher is not sure.

Kariyappa, Qureshi: Defending Against Model Stealing Attacks with Adaptive Misinformation. CVPR 2020, arXiv 1911.07100.

Fidelity: paper. Known differences:

- The paper trains the teacher with outlier exposure, so that it is unsure of inputs that are not the task's. That is no
  part of this method: without it the defence can tell an attacker's inputs by low confidence alone.
- 1 − p_y is computed as the sum of the other probabilities in log space, which does not round to 0 or 1.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from pydantic import NonNegativeInt
from torch import Tensor, nn

from understudy.data import Augment, Batch, ImageSet
from understudy.losses import widened
from understudy.methods.method import Access, Fidelity, Method, Outcome, preset
from understudy.methods.resistance._presets import CIFAR, DIGITS, MNIST
from understudy.models import Classifier, Network
from understudy.runs.run import Run
from understudy.training import Recipe
from understudy.training.from_images import CIFAR10, cost_on_images, fit_on_images


def misleading_loss(
    logits: Float[Tensor, "b k"], labels: Int[Tensor, " b"], *, reduction: Literal["mean", "none"]
) -> Float[Tensor, ""] | Float[Tensor, " b"]:
    """Return −ln(1 − softmax(z)_y): 0 where the true class has no probability, and finite wherever logits are.

    Args:
        logits: raw scores z. Shape (b, k).
        labels: true classes y. Shape (b,).
        reduction: "mean" over the rows, or "none" for one value a row.
    """
    wide = widened(logits)
    true = torch.zeros_like(wide, dtype=torch.bool).scatter(1, labels[:, None], value=True)
    others = wide.masked_fill(true, -torch.inf).logsumexp(dim=1)  # of one class at least, so finite
    rows = wide.logsumexp(dim=1) - others
    return rows if reduction == "none" else rows.mean()


class Misinformer(Method):
    """Train a network to be wrong, for the serving-time defence `misinformation`.

    Kariyappa, Qureshi: Adaptive Misinformation. CVPR 2020, arXiv 1911.07100.
    """

    fidelity: ClassVar[Fidelity] = "paper"
    requires: ClassVar[Access] = Access.LABELS
    needs_data: ClassVar[bool] = True

    crop_padding: NonNegativeInt = 0
    """Pixels of padding for random crops; 0 leaves images where they are."""
    flip: bool = False
    """Whether images are mirrored at random, left to right."""
    fit: Recipe = Recipe(epochs=20, batch_size=128, learning_rate=0.1)
    """How the network is trained."""

    @classmethod
    @preset
    def digits(cls) -> "Misinformer":
        """The embedded 8x8 digits: seconds."""
        return cls(**DIGITS)

    @classmethod
    @preset
    def mnist(cls) -> "Misinformer":
        """MNIST with a small network."""
        return cls(**MNIST)

    @classmethod
    @preset
    def cifar10(cls) -> "Misinformer":
        """CIFAR-10 in 30 epochs of one cycle."""
        return cls(**CIFAR, fit=CIFAR10)

    def cost(self, model: Network, *, rows: int | None, bank: object = None) -> dict[str, int]:  # noqa: ARG002
        """Return training steps, images seen and parameters."""
        return cost_on_images(model, self.fit, rows or 0)

    def run(self, *, model: Classifier, data: ImageSet, run: Run) -> Outcome:
        """Train `model` in place to be wrong; a run that was stopped goes on."""

        def objective(module: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
            logits = module(batch.x)
            wrong = logits.argmax(dim=1) != batch.labels
            loss = misleading_loss(logits, batch.labels, reduction="mean")
            return {"loss": loss, "wrong": wrong.to(torch.float32).mean()}

        augment = Augment(crop_padding=self.crop_padding, flip=self.flip)
        fit_on_images(model, data, objective=objective, augment=augment, recipe=self.fit, run=run)
        about = {"method": type(self).__name__, "fidelity": self.fidelity, "role": "misleader"}
        return Outcome(model, facts={"serving": "none", "resistance": about})
