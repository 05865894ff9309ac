"""CMIM: answers that say the label and nothing else, by minimising conditional mutual information.

All images of a class are drawn to one and the same softened output, so that no knowledge of the other classes is left
to distil:

    L = CE(z, y) + λ·Σ_T CMI_T,    CMI_T = mean over images of KL( σ_T(z) ‖ q_y ),  q_c = mean of σ_T(z) over class c

Ye, Hamidi, Yang: Towards Undistillable Models by Minimizing Conditional Mutual Information. 2025, arXiv 2507.00012.

Fidelity: instantiation. Of the paper the abstract and a public summary were at hand: the loss is a simplification, and
λ, the temperatures and the means are our own choice.

- The means are those of the batch, mixed with those of earlier batches (`memory`): of some classes a batch holds few
  images. No gradient flows into them: that through a batch's own means is 0, for Σᵢ KL(pᵢ ‖ q) is smallest there.
- A class that the batch does not hold keeps its mean.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional as F

from understudy.data import Batch, ImageSet
from understudy.losses import hard_cross_entropy, widened
from understudy.methods.method import Fidelity, Outcome, preset
from understudy.methods.protector import Protector, accuracy
from understudy.methods.resistance._presets import CIFAR, CIFAR100_SCHEDULE, DIGITS, MNIST
from understudy.models import Classifier
from understudy.runs.run import Run
from understudy.training.from_images import CIFAR10


def class_means(
    probs: Float[Tensor, "b k"], labels: Int[Tensor, " b"]
) -> tuple[Float[Tensor, "k k"], Bool[Tensor, " k"]]:
    """Return the mean row of each class, without gradient, and which classes there are; 0 for those there are not."""
    probs = probs.detach()
    members = F.one_hot(labels, probs.shape[1]).to(probs.dtype)
    counts = members.sum(dim=0)
    return members.T @ probs / counts.clamp_min(1)[:, None], counts > 0


def conditional_mutual_information(
    logits: Float[Tensor, "b k"],
    labels: Int[Tensor, " b"],
    means: Float[Tensor, "k k"],
    *,
    temperature: float = 1.0,
) -> Float[Tensor, ""]:
    """Return the mean over rows of KL( σ_T(z) ‖ q_y ), in nats; I(X; Ŷ | Y) where q is each class's own mean.

    Args:
        logits: raw scores z. Shape (b, k).
        labels: classes y. Shape (b,).
        means: q, a row a class; no gradient flows into them. Shape (k, k).
        temperature: T > 0.
    """
    log_probs = F.log_softmax(widened(logits) / temperature, dim=1)
    floor = torch.finfo(log_probs.dtype).tiny
    target = means.detach().to(log_probs.dtype).clamp_min(floor).log()[labels]
    return (log_probs.exp() * (log_probs - target)).sum(dim=1).mean()


class Means:
    """The classes' mean outputs at each temperature; a companion of the training loop, so that resuming keeps them.

    Args:
        temperatures: at which outputs are softened.
        classes: number of classes.
        momentum: weight of the earlier means against those of a batch, in [0, 1).
        device: of the network.
    """

    name = "class_means"

    def __init__(self, temperatures: tuple[float, ...], *, classes: int, momentum: float, device: torch.device) -> None:
        self.temperatures, self._momentum = temperatures, momentum
        self._means = torch.zeros(len(temperatures), classes, classes, device=device)
        self._seen = torch.zeros(classes, dtype=torch.bool, device=device)

    def move(self, logits: Float[Tensor, "b k"], labels: Int[Tensor, " b"]) -> Float[Tensor, "t k k"]:
        """Return the means after a batch."""
        wide = widened(logits.detach())
        present = self._seen
        for place, temperature in enumerate(self.temperatures):
            found, present = class_means(torch.softmax(wide / temperature, dim=1), labels)
            mixed = torch.lerp(found, self._means[place], self._momentum * self._seen.to(found.dtype)[:, None])
            self._means[place] = torch.where(present[:, None], mixed, self._means[place])
        self._seen = self._seen | present
        return self._means

    def restore(self, step: int, kept: Mapping[str, Tensor]) -> None:  # noqa: ARG002 (the protocol's signature)
        """Go on with the means at a checkpoint."""
        if kept:
            self._means.copy_(kept["means"])
            self._seen = kept["seen"].to(self._means.device).clone()
        else:
            self._means.zero_()
            self._seen = torch.zeros_like(self._seen)

    def state(self, step: int) -> dict[str, Tensor]:  # noqa: ARG002
        """Return the means."""
        return {"means": self._means.clone(), "seen": self._seen.clone()}

    def epoch_ended(self, epoch: int, module: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """Do nothing."""


class CMIM(Protector):
    """Train a teacher whose answers say the class and nothing else.

    Ye, Hamidi, Yang: Towards Undistillable Models. 2025, arXiv 2507.00012.
    """

    fidelity: ClassVar[Fidelity] = "instantiation"

    weight: NonNegativeFloat = 3.0
    """Weight of the conditional mutual information against the labels [λ]."""
    temperatures: tuple[PositiveFloat, ...] = (1.0, 4.0, 20.0)
    """Softenings at which all outputs of a class are drawn together [T]."""
    memory: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Weight of earlier batches in a class's mean output; 0 takes that of the batch alone."""
    control: bool = True
    """Whether an ordinary teacher is trained first, for comparison, where no reference is given."""

    @classmethod
    @preset
    def digits(cls) -> "CMIM":
        """The embedded 8x8 digits and a small perceptron: half a minute."""
        return cls(**DIGITS)

    @classmethod
    @preset
    def mnist(cls) -> "CMIM":
        """MNIST with a small network."""
        return cls(**MNIST)

    @classmethod
    @preset
    def cifar10(cls) -> "CMIM":
        """CIFAR-10 in 30 epochs of one cycle."""
        return cls(**CIFAR, fit=CIFAR10)

    @classmethod
    @preset
    def cifar100(cls) -> "CMIM":
        """CIFAR-100 by the field's schedule, 200 epochs; means over many batches."""
        return cls(**CIFAR, memory=0.99, fit=CIFAR100_SCHEDULE)

    def about(self) -> dict[str, Any]:
        """Return the settings of the loss."""
        return {"weight": self.weight, "temperatures": list(self.temperatures), "memory": self.memory}

    def trains_reference(self) -> bool:
        """Return whether an ordinary teacher is trained here, for comparison."""
        return self.control and self.reference is None

    def run(self, *, model: Classifier, data: ImageSet, run: Run) -> Outcome:
        """Train `model` in place; a run that was stopped goes on.

        Raises:
            ConfigError: several processes, or a reference that does not fit.
            DivergenceError: the loss is no longer finite; the last good checkpoint is kept.
        """
        self.check_run(run)
        self.check_model(model)
        compared = self.trains_reference() or self.reference is not None
        ordinary = self.ordinary(model, data, run) if compared else None
        batches = self.batches(data, run)
        means = Means(self.temperatures, classes=model.classes, momentum=self.memory, device=run.device)

        def objective(module: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
            logits = module(batch.x)
            centres = means.move(logits, batch.labels)
            terms = [
                conditional_mutual_information(logits, batch.labels, centre, temperature=temperature)
                for temperature, centre in zip(self.temperatures, centres, strict=True)
            ]
            labelled = hard_cross_entropy(logits, batch.labels, reduction="mean")
            spread = torch.stack(terms).sum()
            loss = labelled + self.weight * spread
            return {"loss": loss, "ce": labelled, "cmi": spread, "accuracy": accuracy(logits, batch)}

        self.train(model, batches, batch_at=batches.at, objective=objective, run=run, companions=[means])
        controls = {} if ordinary is None else {"ordinary": ordinary}
        return Outcome(model, controls, self.facts(reference=ordinary))
