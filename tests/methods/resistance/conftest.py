"""What tests of resistant teachers share: few digits, small networks with BatchNorm, an ordinary teacher on file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from understudy.data import ImageSet
from understudy.methods.baseline.supervised import Supervised
from understudy.models import Classifier, build_model, save_model
from understudy.runs.options import RunOptions
from understudy.runs.run import Run
from understudy.training import Recipe

Net = Callable[..., Classifier]


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    """Three epochs of three batches of the few digits."""
    return Recipe(epochs=3, batch_size=32, learning_rate=0.05)


@pytest.fixture(scope="session")
def few(digits: tuple[ImageSet, ImageSet]) -> ImageSet:
    """Ninety-six digits and five more, which fill no batch."""
    return digits[0].take(torch.arange(101))


@pytest.fixture(scope="session")
def net(digits: tuple[ImageSet, ImageSet]) -> Net:
    """Return a function that builds a small network, with BatchNorm unless a spec says otherwise."""
    train = digits[0]

    def net(seed: int = 1, spec: str = "mlp:norm=batch,widths=24", **replaced: Any) -> Classifier:
        facts = {"input_shape": train.shape, "classes": 10, "mean": train.mean, "std": train.std, **replaced}
        return build_model(spec, seed=seed, **facts)

    return net


@pytest.fixture(scope="session")
def reference(few: ImageSet, net: Net, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of an ordinary teacher."""
    folder: Path = tmp_path_factory.mktemp("ordinary")
    teacher = net(7)
    Supervised(fit=recipe).run(model=teacher, data=few, run=Run(folder / "run", {}, RunOptions(device="cpu", seed=9)))
    save_model(teacher, folder / "model", about={})
    return str(folder / "model")
