"""Probabilities to defend, and networks that defences use."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from understudy.models import build_model, save_model
from understudy.targets.class_defences import ClassDefence

INPUT = (1, 4, 4)


def probabilities(rows: int, classes: int, *, seed: int, scale: float = 3.0) -> Tensor:
    """Rows of probabilities in float64, some of them sure, some with classes of probability 0 and with ties."""
    generator = torch.Generator().manual_seed(seed)
    y = (scale * torch.randn(rows, classes, generator=generator, dtype=torch.float64)).softmax(dim=1)
    y[::5, 1:] = torch.where(y[::5, 1:] < 0.1, 0.0, y[::5, 1:])
    y[1::7] = torch.round(y[1::7], decimals=1) + 0.01
    return y / y.sum(dim=1, keepdim=True)


def images(rows: int, *, seed: int = 0) -> Tensor:
    return torch.rand(rows, *INPUT, generator=torch.Generator().manual_seed(seed))


def defend(
    defence: ClassDefence,
    y: Tensor,
    *,
    seed: int = 0,
    keys: Tensor | None = None,
    memory: dict[str, Tensor] | None = None,
) -> Tensor:
    """Send rows through one defence, with pictures that go with the rows' numbers."""
    named = torch.arange(len(y)) if keys is None else keys
    kept: dict[str, Tensor] = {} if memory is None else memory
    return defence.serve(y, images=images(len(y)), keys=named, seed=seed, memory=kept)


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that saves a small network and gives its folder."""

    def network(classes: int = 5, *, seed: int = 0, input_shape: tuple[int, ...] = INPUT) -> Path:
        folder = tmp_path_factory.mktemp("network") / "model"
        model = build_model("mlp:widths=7", input_shape=input_shape, classes=classes, mean=[0.4], std=[0.3], seed=seed)
        save_model(model, folder, about={})
        return folder

    return network


@pytest.fixture(scope="session")
def folder(network: Callable[..., Path]) -> Path:
    """The folder of a network of five classes."""
    return network()
