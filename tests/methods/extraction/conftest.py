"""A small target, a pool of digits, and endpoints that keep account of what they are asked."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from understudy.data import ImageSet
from understudy.methods.extractor import Extractor
from understudy.models import Classifier, Encoder, build_encoder, encoder_of
from understudy.runs.run import Run
from understudy.targets import Access, Endpoint, Ledger, ModuleTarget, Target


class Watched(Target):
    """A target that remembers what it was sent, and raises at a call of one's choice."""

    def __init__(self, inner: Target, *, raises: BaseException | None = None, at: int = 0) -> None:
        self.name, self.access, self.input_shape = "watched", inner.access, inner.input_shape
        self.width, self.identity = inner.width, inner.identity
        self.sent: list[Tensor] = []
        self._inner, self._raises, self._at = inner, raises, at

    @property
    def rows(self) -> int:
        return sum(len(images) for images in self.sent)

    def answer(self, images: Tensor) -> Tensor:
        if self._raises is not None and len(self.sent) == self._at:
            raise self._raises
        self.sent.append(images.clone())
        return self._inner.answer(images)


class Scripted(Target):
    """A target that answers by a function of the images."""

    def __init__(self, function: Callable[[Tensor], Tensor], width: int) -> None:
        self.name, self.access, self.input_shape = "scripted", Access.EMBEDDINGS, (1, 8, 8)
        self.width, self.identity = width, "scripted"
        self._function = function

    def answer(self, images: Tensor) -> Tensor:
        return self._function(images)


Watch = Callable[..., Watched]
OpenEndpoint = Callable[..., Endpoint]
NewSurrogate = Callable[..., Encoder]


@pytest.fixture(scope="session")
def target_network(digits_teacher: Classifier) -> Encoder:
    """What the target embeds with: a trained classifier of digits without its last layer, 32 numbers wide."""
    return encoder_of(digits_teacher)


@pytest.fixture(scope="session")
def watch(target_network: Encoder) -> Watch:
    """Return a function that gives a fresh target; all are one and the same to a ledger."""

    def watch(**options: Any) -> Watched:
        return Watched(ModuleTarget(target_network, access="embeddings"), **options)

    return watch


@pytest.fixture(scope="session")
def script() -> Callable[..., Scripted]:
    """Return the class of targets that answer by a function."""
    return Scripted


@pytest.fixture(scope="session")
def pool(digits: tuple[ImageSet, ImageSet]) -> ImageSet:
    return digits[0].take(torch.arange(60))


@pytest.fixture(scope="session")
def new_surrogate() -> NewSurrogate:
    """Return a function that gives the untrained surrogate, always from the same start."""

    def new_surrogate(width: int | None = 32) -> Encoder:
        return build_encoder("cnn:widths=4-8", input_shape=(1, 8, 8), width=width, mean=[0.5], std=[0.5], seed=3)

    return new_surrogate


@pytest.fixture(scope="session")
def open_endpoint() -> Iterator[OpenEndpoint]:
    """Return a function that opens an endpoint for a method, with its ledger in the run's folder."""
    ledgers: list[Ledger] = []

    def open_endpoint(
        method: Extractor, target: Target, run: Run, budget: int | None = None, **options: Any
    ) -> Endpoint:
        ledger = Ledger(
            run.folder / "ledger.sqlite",
            target=target.identity,
            width=target.width,
            budgets={"extraction": budget},
        )
        ledgers.append(ledger)
        known = {"normalise": method.normalise_answers, "replay": method.replay, "batch_rows": 8, "retries": 0}
        return Endpoint(target, ledger, **{**known, **options})

    yield open_endpoint
    for ledger in ledgers:
        ledger.close()
