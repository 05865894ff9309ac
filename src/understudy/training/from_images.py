"""Training on labelled images: batches made on the device, and recipes that suit common data sets."""

from understudy.data import Augment, Batch, Batches, ImageSet
from understudy.models import Classifier, Network, count_parameters
from understudy.runs.run import Run
from understudy.training.loop import Objective, fit
from understudy.training.recipe import Recipe

DIGITS = Recipe(epochs=40, batch_size=64, learning_rate=0.05)
MNIST = Recipe(epochs=8, batch_size=128, learning_rate=0.1)
CIFAR10 = Recipe(epochs=30, batch_size=128, learning_rate=0.2)


def fit_on_images(
    model: Classifier, data: ImageSet, *, objective: Objective[Batch], augment: Augment, recipe: Recipe, run: Run
) -> None:
    """Train a network in place on labelled images, in the phase "fit"; see `understudy.training.fit`."""
    batches = Batches(data, batch_size=recipe.batch_size, seed=run.seed, augment=augment, device=run.device)
    fit(
        model,
        batch_at=lambda step: batches.at(step, rank=run.rank, world=run.world),
        objective=objective,
        recipe=recipe,
        steps_per_epoch=batches.steps_per_epoch,
        run=run,
        phase="fit",
    )


def cost_on_images(model: Network, recipe: Recipe, rows: int) -> dict[str, int]:
    """Return what `fit_on_images` would cost on so many rows: training steps, images seen and parameters."""
    steps = recipe.steps(rows)
    return {
        "training_steps": steps,
        "images_seen": steps * recipe.batch_size,
        "parameters": count_parameters(model),
    }
