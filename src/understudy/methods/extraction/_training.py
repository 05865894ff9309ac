"""Training on answers: one loop for all methods, which differ in their batches and in their loss."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from understudy.data import Shuffle
from understudy.errors import BudgetExhausted
from understudy.models import Encoder
from understudy.runs.run import Run
from understudy.training import Recipe, fit


@dataclass(frozen=True)
class Answered:
    """What a step learns from: views of some images, and the target's answers about the same images."""

    x: Float[Tensor, "rows c h w"]
    """Views in [0, 1], patch-major: the first of all images, then the second of all."""
    answers: Float[Tensor, "b d"]
    """One answer, or prototype, an image; as wide as the surrogate."""


Loss = Callable[[Float[Tensor, "m b d"], Float[Tensor, "b d"]], Mapping[str, Tensor]]
"""Scalars by name, "loss" among them, of the embeddings of all views and the answers."""


def fit_surrogate(
    surrogate: Encoder,
    *,
    images: int,
    batch: Callable[[int, Int64[Tensor, " b"]], Answered],
    loss: Loss,
    recipe: Recipe,
    steps: int | None = None,
    run: Run,
) -> int:
    """Train a surrogate in place, in the phase "fit", and return the steps that were made.

    Args:
        surrogate: the network.
        images: how many there are to learn from.
        batch: what a step learns from, given its number and the numbers of its images; a pure function of both.
        loss: of raw embeddings; computed in float32, whatever the network computes in.
        recipe: optimiser, schedule, epochs and images a batch.
        steps: fewer than the recipe's epochs come to, if it must be; the schedule then runs over these.
        run: where checkpoints and metrics go.

    Returns:
        All steps, or as many as were made when `batch` found the budget at its end; the weights are as they were.
    """
    shuffle = Shuffle(images, batch_size=recipe.batch_size, seed=run.seed, name="fit")
    per_epoch = shuffle.steps_per_epoch
    if steps is not None and steps != recipe.epochs * per_epoch:
        recipe, per_epoch = recipe.model_copy(update={"epochs": 1}), steps
    made = recipe.epochs * per_epoch

    def batch_at(step: int) -> Answered:
        nonlocal made
        try:
            return batch(step, shuffle.at(step))
        except BudgetExhausted:
            made = step
            raise

    def objective(module: nn.Module, batch: Answered) -> Mapping[str, Tensor]:
        embeddings = module(batch.x).float()
        with torch.autocast(embeddings.device.type, enabled=False):
            return loss(embeddings.unflatten(0, (-1, len(batch.answers))), batch.answers)

    try:
        fit(
            surrogate,
            batch_at=batch_at,
            objective=objective,
            recipe=recipe,
            steps_per_epoch=per_epoch,
            run=run,
            phase="fit",
        )
    except BudgetExhausted:
        surrogate.eval()
    return made
