"""Networks for evaluations under attack: a small trained one, and a linear one whose worst case is known exactly."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import understudy.evaluation.robustness
from understudy.attacks._components import Effort
from understudy.data import ImageSet, as_float, load_images
from understudy.models import Classifier, build_model


class Linear(nn.Module):
    """A linear classifier of 6 x 6 images, and which images no perturbation in the ball can break."""

    def __init__(self, *, classes: int = 10, scale: float = 1.0, seed: int = 0) -> None:
        super().__init__()
        draws = torch.Generator().manual_seed(seed)
        self.layer = nn.Linear(36, classes)
        with torch.no_grad():
            self.layer.weight.copy_(torch.randn(classes, 36, generator=draws) * scale)
            self.layer.bias.copy_(torch.randn(classes, generator=draws) * scale / 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(1))

    def exactly_robust(self, x: Tensor, labels: Tensor, epsilon: float) -> Tensor:
        """The closed form: against each class j, the least of (w_y - w_j)·x' + b_y - b_j over ball and box."""
        weight, bias, x = self.layer.weight.detach().double(), self.layer.bias.detach().double(), x.flatten(1).double()
        robust = torch.ones(len(x), dtype=torch.bool)
        for row in range(len(x)):
            low, high = (-x[row]).clamp(min=-epsilon), (1 - x[row]).clamp(max=epsilon)
            for j in set(range(len(bias))) - {int(labels[row])}:
                d, gap = weight[j] - weight[labels[row]], bias[labels[row]] - bias[j]
                least = -d @ x[row] + gap - torch.maximum(d * low, d * high).sum()
                robust[row] &= bool(least > 0)
        return robust


def six_by_six(model: nn.Module, *, rows: int = 320, seed: int = 1, classes: int = 10) -> ImageSet:
    """Random images that a network is right about."""
    images = torch.randint(0, 256, (rows, 1, 6, 6), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    with torch.no_grad():
        labels = model(as_float(images)).argmax(1)
    return ImageSet("random", "test", images, labels, tuple(map(str, range(classes))))


@pytest.fixture(scope="session")
def digits() -> ImageSet:
    """A hundred digits to test on."""
    return load_images("digits", "test").take(range(100))


def _trained(spec: str) -> Classifier:
    """A network of digits that was trained for a second, and hides nothing."""
    data = load_images("digits", "train")
    model = build_model(spec, input_shape=data.shape, classes=10, mean=data.mean, std=data.std, seed=0)
    x, parameters = as_float(data.images), list(model.parameters())
    for _ in range(80):  # plain steps, for torch's optimisers take seconds to import
        loss = functional.cross_entropy(model(x), data.labels, reduction="mean")
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= 0.5 * gradient
    return model.eval()


@pytest.fixture(scope="session")
def trained() -> Callable[[str], Classifier]:
    """Return a function that trains a network of digits for a second."""
    return _trained


@pytest.fixture(scope="session")
def net() -> Classifier:
    """A small trained network that hides nothing."""
    return _trained("mlp:widths=24")


@pytest.fixture(scope="session")
def linear() -> type[Linear]:
    """The class of linear networks."""
    return Linear


@pytest.fixture(scope="session")
def images_for() -> Callable[..., ImageSet]:
    """Return a function that draws images which a network is right about."""
    return six_by_six


@pytest.fixture
def quick_autoattack(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that lets AutoAttack try less hard."""

    def quick(**effort: Any) -> None:
        real = understudy.evaluation.robustness.auto_attack
        less = Effort(**{"iterations": 4, "targets": 2, "queries": 60, **effort})
        monkeypatch.setattr(understudy.evaluation.robustness, "auto_attack", partial(real, effort=less))

    return quick
