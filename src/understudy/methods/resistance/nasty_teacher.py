"""The Nasty Teacher: right, and as far from an ordinary teacher's answers as that allows.

    L = CE(z_θ, y) − ω·T²·KL( σ_T(z_θ) ‖ σ_T(z_A) )

A is a fixed ordinary teacher. The divergence has the network in training as its first argument, which bounds the
reward: KL(p_θ ‖ p_A) ≤ max(−ln p_A). Ramp, clipping and cap are remedies for trainings that go to NaN, which users
report of large networks; all are off unless a preset says otherwise.

Ma, Chen, Hu, You, Xie, Wang: Undistillable: Making A Nasty Teacher That Cannot Teach Students. ICLR 2021,
arXiv 2105.07381 (https://github.com/VITA-Group/Nasty-Teacher).

Fidelity: paper. Where the released code differs:

- It adds 100 to the loss, so that logs are easier to read; that changes no gradient, and is left out.
- It keeps the epoch that is best on the test set, which can be an early and less protected one; here the last.
- It normalises CIFAR-100 by CIFAR-10's mean and deviation; here by the data's own.
- For Tiny-ImageNet it turns images by up to 20°, which is not offered: crops and flips alone.
- Its PreResNet teachers have ten classes whatever the data, and its plain convolutional teacher crashes.

`head_only` is the variant of Bibikar and Kelleher: it starts from the ordinary teacher's weights and trains the last
linear layer alone, with everything before it in eval mode.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat
from torch import Tensor, nn

from understudy.data import Batch, ImageSet
from understudy.losses import hard_cross_entropy, kl_rows
from understudy.methods.method import Fidelity, Outcome, preset
from understudy.methods.protector import Protector, accuracy
from understudy.methods.resistance._presets import CIFAR, CIFAR10_SCHEDULE, CIFAR100_SCHEDULE, DIGITS, MNIST
from understudy.models import Classifier, Network, freeze
from understudy.models.penultimate import last_linear
from understudy.runs.run import Run
from understudy.training.from_images import CIFAR10


def nasty_loss(
    logits: Float[Tensor, "b k"],
    reference_logits: Float[Tensor, "b k"],
    labels: Int[Tensor, " b"],
    *,
    omega: float,
    temperature: float,
    cap: float | None = None,
) -> dict[str, Tensor]:
    """Return "loss", CE − ω·T²·KL(p_θ ‖ p_A) at temperature T, with its two terms.

    Args:
        logits: of the network in training. Shape (b, k).
        reference_logits: of the ordinary teacher; no gradient flows into them. Same shape.
        labels: true classes. Shape (b,).
        omega: ω ≥ 0.
        temperature: T > 0.
        cap: divergence of a row, in nats, above which it is worth no more; None for no cap.
    """
    labelled = hard_cross_entropy(logits, labels, reduction="mean")
    rows = kl_rows(logits, reference_logits.detach(), temperature=temperature)
    divergence = (rows if cap is None else rows.clamp(max=cap)).mean()
    return {"loss": labelled - omega * temperature**2 * divergence, "ce": labelled, "kl": divergence}


@dataclass(frozen=True, eq=False)
class Stepped:
    """A batch and the share of ω that is on."""

    batch: Batch
    ramp: float


class NastyTeacher(Protector):
    """Train a teacher to be right and to differ from an ordinary teacher as much as it may.

    Ma et al.: Undistillable: Making A Nasty Teacher That Cannot Teach Students. ICLR 2021, arXiv 2105.07381.
    """

    fidelity: ClassVar[Fidelity] = "paper"

    omega: NonNegativeFloat = 0.04
    """Weight of the divergence from the ordinary teacher [ω]."""
    temperature: PositiveFloat = 4.0
    """Softening of both outputs in the divergence [T_A]."""
    ramp_epochs: NonNegativeInt = 0
    """Epochs in which ω grows from 0; 0 has all of it from the start."""
    kl_cap: PositiveFloat | None = None
    """Divergence of an image, in nats, above which it is worth no more; None for no cap."""
    head_only: bool = False
    """Whether to start from the ordinary teacher's weights, and to train the last linear layer alone."""

    @classmethod
    @preset
    def digits(cls) -> "NastyTeacher":
        """The embedded 8x8 digits and a small perceptron: half a minute."""
        return cls(**DIGITS)

    @classmethod
    @preset
    def mnist(cls) -> "NastyTeacher":
        """MNIST with a small network: a ramp of one epoch, and gradients cut to 5."""
        return cls(**MNIST, ramp_epochs=1, clip_norm=5.0)

    @classmethod
    @preset
    def cifar10(cls) -> "NastyTeacher":
        """CIFAR-10 with the paper's ω and T in 30 epochs of one cycle; a ramp, and gradients cut to 5."""
        return cls(**CIFAR, ramp_epochs=5, clip_norm=5.0, fit=CIFAR10)

    @classmethod
    @preset
    def paper_cifar10(cls) -> "NastyTeacher":
        """CIFAR-10: the published values, 160 epochs."""
        return cls(**CIFAR, fit=CIFAR10_SCHEDULE)

    @classmethod
    @preset
    def paper_cifar100(cls) -> "NastyTeacher":
        """CIFAR-100: the published values, 200 epochs."""
        return cls(**CIFAR, omega=0.005, temperature=20.0, fit=CIFAR100_SCHEDULE)

    @classmethod
    @preset
    def stable_cifar100(cls) -> "NastyTeacher":
        """CIFAR-100 with networks such as ResNet-50, which went to NaN: a ramp of 5 epochs, and gradients cut to 5."""
        return cls.paper_cifar100().model_copy(update={"ramp_epochs": 5, "clip_norm": 5.0})

    @classmethod
    @preset
    def paper_tiny_imagenet(cls) -> "NastyTeacher":
        """Tiny-ImageNet: the published ω and T, 200 epochs; flips alone, without the paper's turns."""
        return cls(flip=True, omega=0.01, temperature=20.0, fit=CIFAR100_SCHEDULE)

    def check_model(self, model: Network) -> None:
        """Refuse a reference that does not fit; with head_only also a network without a last linear layer.

        Raises:
            ConfigError: with what does not fit.
        """
        super().check_model(model)
        if self.head_only:
            last_linear(model)

    def about(self) -> dict[str, Any]:
        """Return the settings of the loss; ω·T² is what matters when T changes."""
        names = ("omega", "temperature", "ramp_epochs", "clip_norm", "kl_cap", "head_only")
        return {**{name: getattr(self, name) for name in names}, "omega_t2": self.omega * self.temperature**2}

    def run(self, *, model: Classifier, data: ImageSet, run: Run) -> Outcome:
        """Train `model` in place, away from an ordinary teacher; a run that was stopped goes on.

        Raises:
            ConfigError: several processes, or a reference that does not fit.
            DivergenceError: the loss is no longer finite; the last good checkpoint is kept.
        """
        self.check_run(run)
        self.check_model(model)
        ordinary = self.ordinary(model, data, run)
        answers = freeze(ordinary, precision=run.options.precision, channels_last=run.options.channels_last)
        batches = self.batches(data, run)
        ramp_steps = self.ramp_epochs * batches.steps_per_epoch
        if self.head_only:
            self.take_over(model, ordinary)
            model.requires_grad_(False)
            last_linear(model).requires_grad_(True)

        def stepped_at(step: int) -> Stepped:
            return Stepped(batches.at(step), min(1.0, (step + 1) / ramp_steps) if ramp_steps else 1.0)

        def objective(module: nn.Module, stepped: Stepped) -> Mapping[str, Tensor]:
            if self.head_only:
                module.eval()
            batch = stepped.batch
            with torch.no_grad():
                reference_logits = answers(batch.x)
            logits = module(batch.x)
            scalars = nasty_loss(
                logits,
                reference_logits,
                batch.labels,
                omega=self.omega * stepped.ramp,
                temperature=self.temperature,
                cap=self.kl_cap,
            )
            return {**scalars, "accuracy": accuracy(logits, batch)}

        try:
            self.train(model, batches, batch_at=stepped_at, objective=objective, run=run)
        finally:
            model.requires_grad_(True)
        return Outcome(model, {"ordinary": ordinary}, self.facts(reference=ordinary))
