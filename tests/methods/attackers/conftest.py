"""What tests of attackers share: few images, small students, and batches made by hand."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from understudy.data import Augment, ImageSet
from understudy.methods.distiller import Knowledge, Taught
from understudy.models import Classifier, build_model
from understudy.runs.run import Run
from understudy.training.answers import Answers, Kind, Served
from understudy.training.knowledge import Asker


@pytest.fixture
def taught() -> Callable[..., Taught]:
    """Return a function that makes a batch of answers, with labels all of which are known unless it is said."""

    def taught(
        values: Tensor, labels: Sequence[int], *, kind: Kind = "logits", known: Sequence[bool] | None = None
    ) -> Taught:
        size = len(labels)
        return Taught(
            x=torch.zeros(size, 1, 1, 1),
            rows=torch.arange(size),
            labels=torch.tensor(labels),
            known=torch.tensor([True] * size if known is None else known),
            answers=Answers(values, kind),
        )

    return taught


@pytest.fixture
def knowledge(few: ImageSet, digits_teacher: Classifier, run: Run) -> Callable[..., Knowledge]:
    """Return a function that makes what a student knows out of the answers to one view each of the first images."""

    def knowledge(values: Tensor, *, kind: Kind = "logits") -> Knowledge:
        rows, augment = torch.arange(len(values)), Augment()
        return Knowledge(
            data=few.take(rows),
            rows=rows,
            known=torch.ones(len(values), dtype=torch.bool),
            labels=few.labels[rows],
            served=Served(2 * rows, values, kind=kind, views=augment.views, device=run.device),
            classes=values.shape[1],
            augment=augment,
            student=digits_teacher,
            run=run,
            asker=Asker(digits_teacher, few, augment, run),
        )

    return knowledge


@pytest.fixture(scope="session")
def few(digits: tuple[ImageSet, ImageSet]) -> ImageSet:
    """A hundred and twenty-eight digits."""
    return digits[0].take(torch.arange(128))


@pytest.fixture
def student(digits: tuple[ImageSet, ImageSet]) -> Callable[..., Classifier]:
    """Return a function that builds a small student, always with the same weights."""
    train = digits[0]

    def student(classes: int = 10) -> Classifier:
        return build_model(
            "cnn:widths=4-6", input_shape=train.shape, classes=classes, mean=train.mean, std=train.std, seed=1
        )

    return student
