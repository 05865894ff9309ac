"""What tests of robust training share: few images, small students, and forward passes that are counted."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
import torch
from torch import Tensor

from understudy.data import ImageSet
from understudy.models import Classifier, Mirror, build_model
from understudy.models.frozen import Frozen


class Passes:
    """Forward passes, and backward passes through them, by who made them and in what mode."""

    def __init__(self) -> None:
        self.forward: Counter[str] = Counter()
        self.backward: Counter[str] = Counter()
        self.order: list[str] = []

    def cost(self) -> tuple[int, int]:
        """Return what student and teacher cost, in forward passes of one batch.

        A gradient of the input alone costs one more, a gradient of the weights two.
        """
        student = self.forward["student"] + 2 * self.backward["student"]
        attack = self.forward["mirror"] + self.backward["mirror"]
        return student + attack, self.forward["teacher"] + self.backward["teacher"]


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Callable[[], AbstractContextManager[Passes]]:
    """Return a context in which passes are counted: "student" in training, "mirror" in attacks, and "teacher"."""

    @contextmanager
    def passes() -> Iterator[Passes]:
        counted = Passes()
        frozen_forward, classifier_forward = Frozen.forward, Classifier.forward

        def note(who: str, logits: Tensor) -> Tensor:
            counted.forward[who] += 1
            counted.order.append(who)
            if logits.requires_grad:
                logits.register_hook(lambda _: counted.backward.update([who]))
            return logits

        def frozen(self: Frozen, x: Tensor) -> Tensor:
            return note("mirror" if isinstance(self, Mirror) else "teacher", frozen_forward(self, x))

        def classifier(self: Classifier, x: Tensor) -> Tensor:
            return note("student" if self.training else "evaluation", classifier_forward(self, x))

        with monkeypatch.context() as patch:
            patch.setattr(Frozen, "forward", frozen)
            patch.setattr(Classifier, "forward", classifier)
            yield counted

    return passes


@pytest.fixture(scope="session")
def few(digits: tuple[ImageSet, ImageSet]) -> ImageSet:
    """Forty-eight digits."""
    return digits[0].take(torch.arange(48))


@pytest.fixture
def student(digits: tuple[ImageSet, ImageSet]) -> Callable[..., Classifier]:
    """Return a function that builds a small student, with BatchNorm where the spec has it."""
    train = digits[0]

    def student(spec: str = "cnn:widths=4-6", seed: int = 1, classes: int = 10) -> Classifier:
        return build_model(spec, input_shape=train.shape, classes=classes, mean=train.mean, std=train.std, seed=seed)

    return student
