"""What tests of resistant teachers share: few digits, small networks with BatchNorm, and an ordinary teacher on file."""

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

RECIPE = Recipe(epochs=3, batch_size=32, learning_rate=0.05)
SPEC = "mlp:norm=batch,widths=24"
STEPS = 3 * 3
"""Of the recipe on the few digits."""

Net = Callable[..., Classifier]


@pytest.fixture(scope="session")
def few(digits: tuple[ImageSet, ImageSet]) -> ImageSet:
    """Ninety-six digits and five more, which fill no batch."""
    return digits[0].take(torch.arange(101))


@pytest.fixture(scope="session")
def net(digits: tuple[ImageSet, ImageSet]) -> Net:
    """Return a function that builds a small network with BatchNorm."""
    train = digits[0]

    def net(seed: int = 1, spec: str = SPEC, **replaced: Any) -> Classifier:
        facts = {"input_shape": train.shape, "classes": 10, "mean": train.mean, "std": train.std, **replaced}
        return build_model(spec, seed=seed, **facts)

    return net


@pytest.fixture(scope="session")
def reference(few: ImageSet, net: Net, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of an ordinary teacher."""
    folder = tmp_path_factory.mktemp("ordinary")
    run = Run(folder / "run", {}, RunOptions(device="cpu", seed=9))
    teacher = net(7)
    Supervised(fit=RECIPE).run(model=teacher, data=few, run=run)
    save_model(teacher, folder / "model", about={})
    return str(Path(folder) / "model")
