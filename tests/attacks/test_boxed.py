"""The attack that adversarial sets are made with: its bounds, in either coordinates and either box."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from understudy.attacks.boxed import BoxedPGD, boxed_pgd
from understudy.errors import ConfigError
from understudy.models import Classifier, build_model

MEAN, STD = (0.4, 0.5, 0.3), (0.2, 0.25, 0.3)


@pytest.fixture
def model() -> Classifier:
    """A network with BatchNorm and statistics of its own."""
    network = build_model("cnn:widths=4-6", input_shape=(3, 8, 8), classes=4, mean=MEAN, std=STD, seed=0)
    with torch.no_grad():
        network(images(32))
    return network.train()


def images(rows: int = 12) -> Tensor:
    x = torch.rand(rows, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    x[:, :, 0] = 0.0  # pixels at the edges of the box
    x[:, :, 1] = 1.0
    return x


def labels(rows: int = 12) -> Tensor:
    return torch.arange(rows) % 4


def attack(**replaced: Any) -> BoxedPGD:
    return BoxedPGD(**{"epsilon": 0.3, "step": 0.05, "steps": 10, **replaced})


def channels(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values).view(-1, 1, 1)


def cross_entropy(model: nn.Module, x: Tensor) -> float:
    with torch.no_grad():
        return float(F.cross_entropy(model.eval()(x), labels(len(x)), reduction="mean"))


@pytest.mark.parametrize(
    ("coordinates", "radius"), [("normalised", 0.3 * channels(STD)), ("pixels", torch.tensor(0.3))]
)
def test_points_stay_within_the_radius_and_the_pixels(model: Classifier, coordinates: Any, radius: Tensor) -> None:
    x = images()
    found = boxed_pgd(model, x, labels(), attack=attack(coordinates=coordinates))
    assert ((found - x).abs() <= radius + 1e-6).all()
    assert found.min() >= 0
    assert found.max() <= 1
    assert ((found - x).abs() >= radius - 1e-6).any()
    assert cross_entropy(model, found) > cross_entropy(model, x) + 0.1


def test_the_unit_box_tears_images_out_of_their_radius(model: Classifier) -> None:
    """As in the released code: [0, 1] after normalisation is pixels from the mean to one deviation above."""
    x = images()
    found = boxed_pgd(model, x, labels(), attack=attack(box="unit"))
    normalised = (found - channels(MEAN)) / channels(STD)
    assert normalised.min() >= -1e-6
    assert normalised.max() <= 1 + 1e-6
    outside = (x < channels(MEAN)) | (x > channels(MEAN) + channels(STD))
    assert ((found - x).abs() > 0.3 * channels(STD) + 1e-3)[outside].any()
    assert ((found - x).abs() <= 0.3 * channels(STD) + 1e-6)[~outside].all()


def test_normalised_coordinates_are_those_of_a_slow_attack_on_normalised_images(model: Classifier) -> None:
    x, network = images().double(), copy.deepcopy(model).double().eval()
    mean, std = channels(MEAN), channels(STD)
    z = start = (x - mean) / std
    low, high = -mean / std, (1 - mean) / std
    for _ in range(5):
        z = z.detach().requires_grad_()
        F.cross_entropy(network.net(z), labels(), reduction="mean").backward()
        assert z.grad is not None
        z = start + (z.detach() + 0.05 * z.grad.sign() - start).clamp(-0.3, 0.3)
        z = torch.minimum(torch.maximum(z, low), high)
    found = boxed_pgd(network, x, labels(), attack=attack(steps=5))
    np.testing.assert_allclose(found.numpy(), (z * std + mean).numpy(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("box", ["valid", "unit"])
def test_no_steps_are_a_copy(model: Classifier, box: Any) -> None:
    x = images()
    found = boxed_pgd(model, x, labels(), attack=attack(steps=0, box=box))
    assert torch.equal(found, x)
    assert found.data_ptr() != x.data_ptr()


def test_nothing_that_is_given_changes(model: Classifier) -> None:
    x, y = images(), labels()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    modes = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.random.get_rng_state()
    with torch.no_grad():
        found = boxed_pgd(model, x, y, attack=attack())
    assert torch.equal(x, images())
    assert not found.requires_grad
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(p.grad, torch.ones_like(p)) for p in model.parameters() if p.grad is not None)
    assert torch.equal(torch.random.get_rng_state(), random)


def test_radii_and_boxes_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="larger than the whole pixel range"):
        attack(coordinates="pixels", epsilon=8.0)
    with pytest.raises(ConfigError, match="unit box"):
        attack(coordinates="pixels", box="unit")
