"""Training on labels: it learns, and each of its options reaches the loss."""

from collections.abc import Callable

import torch

from understudy.data import ImageSet
from understudy.methods.baseline.supervised import Supervised
from understudy.models import build_model
from understudy.runs.run import Run
from understudy.training import Recipe

MakeRun = Callable[..., Run]

RECIPE = Recipe(epochs=5, batch_size=64, learning_rate=0.1)


def losses(method: Supervised, data: ImageSet, run: Run) -> list[float]:
    model = build_model("cnn:widths=8-16", input_shape=data.shape, classes=10, mean=data.mean, std=data.std, seed=0)
    method.run(model=model, data=data, run=run)
    return [entry["metrics"]["loss"] for entry in run.events]


def test_it_learns(run: Run, digits: tuple[ImageSet, ImageSet]) -> None:
    losses(Supervised(fit=RECIPE), digits[0], run)
    entries = list(run.events)
    assert entries[-1]["metrics"]["accuracy"] > 0.75
    assert entries[-1]["metrics"]["loss"] < 0.7 * entries[0]["metrics"]["loss"]


def test_options_reach_the_training(make_run: MakeRun, digits: tuple[ImageSet, ImageSet]) -> None:
    """Smoothing, crops and flips each change the course, and none of them changes it twice."""
    data = digits[0].take(torch.arange(128))
    recipe = Recipe(epochs=2, batch_size=32, learning_rate=0.05)
    variants = ({}, {"label_smoothing": 0.2}, {"crop_padding": 2}, {"flip": True})
    courses = []
    for index, changes in enumerate(variants):
        method = Supervised(fit=recipe, **changes)
        courses.append(losses(method, data, make_run(f"run {index}")))
        assert losses(method, data, make_run(f"again {index}")) == courses[-1]
    assert len({tuple(course) for course in courses}) == len(variants)


def test_smoothing_keeps_the_loss_up(make_run: MakeRun, digits: tuple[ImageSet, ImageSet]) -> None:
    """With a share s spread over K classes, no network can bring the loss below the labels' own entropy."""
    smoothing = 0.3
    targets = torch.full((10,), smoothing / 10, dtype=torch.float64)
    targets[0] += 1 - smoothing
    floor = float(-(targets * targets.log()).sum())
    found = losses(Supervised(label_smoothing=smoothing, fit=RECIPE), digits[0], make_run())
    assert found[-1] > floor
    assert found[-1] < 0.8 * found[0]
