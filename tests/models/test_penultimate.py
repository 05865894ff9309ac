"""Logits and penultimate features from one forward pass, with gradients, in either mode."""

import pytest
import torch
from torch import Tensor, nn

from understudy.errors import ConfigError
from understudy.models import Classifier, Penultimate, encoder_of, freeze

SPECS = ["cnn:widths=4-6", "mlp:widths=16-8,norm=batch", "resnet18:width=2", "vit:dim=16,depth=1,heads=2"]


def batch(rows: int = 4) -> Tensor:
    return torch.rand(rows, 1, 8, 8, generator=torch.Generator().manual_seed(3))


def wrapped(net: nn.Module) -> Classifier:
    return Classifier(net, spec="test", input_shape=(1, 8, 8), classes=3, mean=[0.5], std=[0.25])


class Foreign(nn.Module):
    """Somebody's network: the head has another name, and there is something behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.Dropout(0.5))
        self.fc = nn.Linear(5, 3)

    def forward(self, z: Tensor) -> Tensor:
        return 10 * torch.tanh(self.fc(self.body(z)))


class Forgetful(nn.Module):
    """The last linear layer takes no part in the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.Linear(64, 3), nn.Linear(3, 3)

    def forward(self, z: Tensor) -> Tensor:
        return self.used(z.flatten(1))


@pytest.mark.parametrize("spec", SPECS)
def test_features_are_what_the_encoder_gives(make, spec: str) -> None:
    model, x = make(spec), batch()
    expected = encoder_of(model).eval()(x)
    with Penultimate(model) as tapped:
        logits, features = tapped(x)
        assert tapped.width == features.shape[1]
    torch.testing.assert_close(features, expected)
    torch.testing.assert_close(logits, model(x))
    with Penultimate(freeze(model)) as tapped:
        torch.testing.assert_close(tapped(x)[1], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("training", [True, False])
def test_one_pass_with_gradients_in_the_mode_that_it_is_in(training: bool) -> None:
    model, passes = wrapped(Foreign()).train(training), []
    model.net.register_forward_hook(lambda *_: passes.append(1))
    with Penultimate(model) as tapped:
        logits, features = tapped(batch())
    assert len(passes) == 1
    assert bool((features == 0).any()) is training  # dropout
    torch.testing.assert_close(logits, 10 * torch.tanh(model.net.fc(features)))
    (logits.sum() + features.sum()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_maps_are_flattened() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Linear(8, 3), nn.AdaptiveAvgPool2d((1, 3)), nn.Flatten(2), nn.Flatten())
    with Penultimate(wrapped(net)) as tapped:
        _, features = tapped(batch())
    assert features.shape == (4, 2 * 8 * 8)


def test_after_closing_nothing_is_heard_and_nothing_is_left_behind(make) -> None:
    model = make("mlp:widths=16-8")
    names = list(model.state_dict())
    with Penultimate(model) as tapped:
        tapped(batch())
    assert not model.net.head._forward_pre_hooks
    assert list(model.state_dict()) == names
    with pytest.raises(ConfigError, match="does not run the last linear layer"):
        tapped(batch())


def test_networks_without_such_a_layer_are_refused() -> None:
    with pytest.raises(ConfigError, match="no linear layer"):
        Penultimate(wrapped(nn.Sequential(nn.Conv2d(1, 3, 8), nn.Flatten())))
    with Penultimate(wrapped(Forgetful())) as tapped, pytest.raises(ConfigError, match="does not run"):
        tapped(batch())
