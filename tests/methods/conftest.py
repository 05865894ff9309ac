"""Teachers that several method tests share: two-moons networks (section 5.3 of the specification) and digits."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import torch
from sklearn.datasets import make_moons
from torch import Tensor, nn

from understudy.data import ImageSet, load_images
from understudy.methods.baseline.supervised import Supervised
from understudy.models import Classifier, build_model
from understudy.runs.options import RunOptions
from understudy.runs.run import Run
from understudy.runs.seeds import derive_seed, stream
from understudy.training import Recipe, fit

SHIFT = (5.0, -5.0)
RECIPE = Recipe(epochs=60, batch_size=256, learning_rate=0.1)


class Affine(nn.Module):
    """The fixed first layer of the moons networks, (x − shift) / scale."""

    def __init__(self, shift: tuple[float, float], scale: float) -> None:
        super().__init__()
        self.register_buffer("shift", torch.tensor(shift))
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.shift) / self.scale


@dataclass(frozen=True)
class Moons:
    """A task with its teacher; networks take points as they are, without further normalisation."""

    test_x: Tensor
    test_y: Tensor
    teacher: Classifier
    student: Callable[[], Classifier]

    def accuracy(self, model: nn.Module) -> float:
        with torch.no_grad():
            return float((model(self.test_x).argmax(dim=1) == self.test_y).float().mean())


def moons_network(seed: int, *, shifted: bool) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, "moons network"))
        affine = Affine(SHIFT, 2.0) if shifted else Affine((0.0, 0.0), 1.0)
        net = nn.Sequential(affine, nn.Linear(2, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 2))
    return Classifier(net, spec="moons", input_shape=(2,), classes=2, mean=[0.0, 0.0], std=[1.0, 1.0])


@pytest.fixture(scope="session")
def moons(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Moons]:
    """Return a function that gives the task of a seed, shifted away from the origin or standardised alone."""

    @cache
    def moons(seed: int, *, shifted: bool = True) -> Moons:
        points, labels = make_moons(4000, noise=0.1, random_state=seed)
        x, y = torch.tensor(points), torch.tensor(labels)
        x = (x - x.mean(dim=0)) / x.std(dim=0)
        x = (2 * x + torch.tensor(SHIFT) if shifted else x).float()
        order = torch.randperm(4000, generator=stream(seed, "moons split"))
        train, test = order[:2000], order[2000:]
        teacher = moons_network(2 * seed, shifted=shifted)

        def batch_at(step: int) -> tuple[Tensor, Tensor]:
            epoch, place = divmod(step, 7)
            rows = train[torch.randperm(2000, generator=stream(seed, "moons order", step=epoch))]
            rows = rows[256 * place : 256 * place + 256]
            return x[rows], y[rows]

        def objective(module: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
            return {"loss": nn.functional.cross_entropy(module(batch[0]), batch[1])}

        run = Run(tmp_path_factory.mktemp("moons") / "run", {}, RunOptions(device="cpu", seed=seed))
        fit(teacher, batch_at=batch_at, objective=objective, recipe=RECIPE, steps_per_epoch=7, run=run, phase="fit")
        return Moons(x[test], y[test], teacher, lambda: moons_network(2 * seed + 1, shifted=shifted))

    return moons


@pytest.fixture(scope="session")
def digits() -> tuple[ImageSet, ImageSet]:
    """The embedded digits: training set and test set."""
    return load_images("digits", "train"), load_images("digits", "test")


@pytest.fixture(scope="session")
def digits_teacher(digits: tuple[ImageSet, ImageSet], tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    """A small convolutional network without BatchNorm, trained on digits for two seconds."""
    train, _ = digits
    teacher = build_model(
        "cnn:widths=8-16-32,norm=none", input_shape=train.shape, classes=10, mean=train.mean, std=train.std, seed=0
    )
    run = Run(Path(tmp_path_factory.mktemp("digits")) / "run", {}, RunOptions(device="cpu"))
    recipe = Recipe(epochs=12, batch_size=64, learning_rate=0.05)
    Supervised(fit=recipe).run(model=teacher, data=train, run=run)
    return teacher
