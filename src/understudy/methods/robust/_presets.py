"""What the presets of the robust methods share: threats, schedules, and values for small data sets."""

from typing import Any, TypeVar

from understudy.methods.method import Method, preset
from understudy.training import Recipe

MethodT = TypeVar("MethodT", bound=Method)


def stepped(
    epochs: int, milestones: tuple[int, ...], *, weight_decay: float = 2e-4, learning_rate: float = 0.1
) -> Recipe:
    """Return the field's schedule: SGD with momentum 0.9, batch 128, a tenth of the rate after each milestone."""
    return Recipe(
        epochs=epochs,
        batch_size=128,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        schedule="multi_step",
        milestones=milestones,
    )


RSLAD_SCHEDULE = stepped(300, (215, 260, 285))
ADAAD_SCHEDULE = stepped(200, (100, 150), weight_decay=5e-4)

TRADES_THREAT: dict[str, Any] = {"epsilon": 0.031, "step_size": 0.007}
"""Of the released code of TRADES and MART: a little less than 8/255 and 2/255."""

DIGITS: dict[str, Any] = {
    "epsilon": 0.12, "attack_steps": 7, "crop_padding": 0, "flip": False,
    "fit": stepped(40, (28, 36)).model_copy(update={"batch_size": 100}),
}  # fmt: skip
"""For the embedded digits, whose mirror images are no digits: a radius at which a natural student falls."""

MNIST: dict[str, Any] = {
    "epsilon": 0.2, "attack_steps": 7, "crop_padding": 2, "flip": False,
    "fit": Recipe(epochs=8, batch_size=128, learning_rate=0.1),
}  # fmt: skip
"""For MNIST with small networks: one short cycle."""

CIFAR10: dict[str, Any] = {"fit": Recipe(epochs=30, batch_size=128, learning_rate=0.2)}
"""For CIFAR-10 in a tenth of the published epochs: one cycle, some one or two points below the long schedules."""


class QuickPresets(Method):
    """Presets of every robust method, beside those with a paper's own values."""

    @classmethod
    @preset
    def cifar10(cls: type[MethodT]) -> MethodT:
        """CIFAR-10 at a radius of 8/255, in 30 epochs of one cycle."""
        return cls(**CIFAR10)

    @classmethod
    @preset
    def mnist(cls: type[MethodT]) -> MethodT:
        """MNIST with small networks, at a radius of 0.2."""
        return cls(**MNIST)

    @classmethod
    @preset
    def digits(cls: type[MethodT]) -> MethodT:
        """The embedded 8x8 digits, at a radius of 0.12: seconds."""
        return cls(**DIGITS)
