"""How a network is trained: optimiser, schedule and length; all of it a pure function of the step."""

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

Fraction = Annotated[float, Field(ge=0, lt=1)]


class Recipe(BaseModel):
    """An optimiser with its schedule."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    epochs: PositiveInt = 30
    """Passes over the training set."""
    batch_size: PositiveInt = 256
    """Samples a step, over all processes together."""
    optimiser: Literal["sgd", "adam", "adamw"] = "sgd"
    """Update rule."""
    learning_rate: PositiveFloat = 0.1
    """Peak learning rate."""
    momentum: Fraction = 0.9
    """Momentum of SGD, first moment of Adam; one_cycle overrides it unless cycle_momentum is off."""
    nesterov: bool = False
    """Nesterov's look-ahead in SGD."""
    weight_decay: NonNegativeFloat = 5e-4
    """Weight decay: L2 in sgd and adam, decoupled in adamw."""
    schedule: Literal["one_cycle", "cosine", "linear", "multi_step", "constant"] = "one_cycle"
    """Course of the learning rate over the steps."""
    cycle_momentum: bool = True
    """Whether one_cycle moves momentum from 0.95 to 0.85 and back, as PyTorch's rule does."""
    warmup_frac: Fraction = 0.3
    """Share of the steps in which one_cycle and linear climb; the other schedules start at the peak."""
    milestones: tuple[PositiveInt, ...] = (15, 22)
    """Epochs after which multi_step multiplies the rate by decay."""
    decay: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Factor of multi_step."""

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> "Recipe":
        cycled = self.schedule == "one_cycle" and self.cycle_momentum
        if self.nesterov and self.optimiser == "sgd" and self.momentum == 0 and not cycled:
            raise ValueError("nesterov needs a momentum above 0")
        return self

    def steps(self, rows: int) -> int:
        """Return the number of steps on a training set of so many rows; see `understudy.data.Shuffle`."""
        return self.epochs * (rows // min(self.batch_size, rows)) if rows else 0

    def rate(self, step: int, steps: int) -> float:
        """Return the learning rate at a step, counted from 0, of `steps` in all.

        The one-cycle rule (Smith and Topin 2017, cosine form) is PyTorch's: it starts at 1/25 of the peak and
        ends at 1/10,000 of the start. As in CAKE's released code its length is one more than the steps.
        The linear rule is that of Transformers, as BERT is fine-tuned: up from 0 in the warm-up, whole steps, then
        straight down to 0.
        """
        peak = self.learning_rate
        if self.schedule == "one_cycle":
            start = peak / 25
            return _one_cycle(step, steps + 1, self.warmup_frac, start, peak, start / 1e4)
        if self.schedule == "cosine":
            return peak * 0.5 * (1 + math.cos(math.pi * step / steps))
        if self.schedule == "linear":
            warmup = int(self.warmup_frac * steps)
            return peak * (step / warmup if step < warmup else max(steps - step, 0) / (steps - warmup))
        if self.schedule == "multi_step":
            epoch = step * self.epochs // steps
            return peak * self.decay ** sum(epoch >= milestone for milestone in self.milestones)
        return peak

    def momentum_at(self, step: int, steps: int) -> float:
        """Return the momentum (or Adam's first moment) at a step."""
        if self.schedule == "one_cycle" and self.cycle_momentum:
            return _one_cycle(step, steps + 1, self.warmup_frac, 0.95, 0.85, 0.95)
        return self.momentum


def _one_cycle(step: int, total: int, warmup_frac: float, start: float, peak: float, end: float) -> float:
    turn = warmup_frac * total - 1
    if turn > 0 and step <= turn:
        return _cosine(start, peak, step / turn)
    return _cosine(peak, end, (step - turn) / (total - 1 - turn))


def _cosine(begin: float, end: float, progress: float) -> float:
    return end + (begin - end) * 0.5 * (1 + math.cos(math.pi * progress))
