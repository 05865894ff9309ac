"""What the presets of the family share: schedules, and values for small data sets."""

from typing import Any

from understudy.training import Recipe
from understudy.training.from_images import MNIST as MNIST_RECIPE


def stepped(epochs: int, milestones: tuple[int, ...], *, decay: float) -> Recipe:
    """Return the papers' SGD: rate 0.1, momentum 0.9, weight decay 5e-4, batch 128, `decay` at each milestone."""
    return Recipe(
        epochs=epochs,
        batch_size=128,
        learning_rate=0.1,
        weight_decay=5e-4,
        schedule="multi_step",
        milestones=milestones,
        decay=decay,
    )


CIFAR10_SCHEDULE = stepped(160, (80, 120), decay=0.1)
CIFAR100_SCHEDULE = stepped(200, (60, 120, 160), decay=0.2)

CIFAR: dict[str, Any] = {"crop_padding": 4, "flip": True}

MNIST: dict[str, Any] = {"crop_padding": 2, "fit": MNIST_RECIPE}

DIGITS: dict[str, Any] = {
    "fit": stepped(60, (30, 45), decay=0.1).model_copy(update={"batch_size": 64, "learning_rate": 0.05})
}
"""For the embedded digits: 60 epochs, a tenth of the rate after 30 and after 45."""
