"""Exits on intermediate activations: where they stand, what they see, and that they leave nothing behind."""

import pytest
import torch
from torch import Tensor, nn

from understudy.errors import ConfigError
from understudy.models import Classifier
from understudy.models.exits import Exits, cut_at, pooled, sections


def batch(rows: int = 3) -> Tensor:
    return torch.rand(rows, 1, 8, 8, generator=torch.Generator().manual_seed(5))


def wrapped(net: nn.Module) -> Classifier:
    return Classifier(net, spec="test", input_shape=(1, 8, 8), classes=3, mean=[0.5], std=[0.25])


def exits(model: Classifier, *at: str | float) -> Exits:
    return Exits(model, at=at, classes=10, generator=torch.Generator().manual_seed(0))


class Blocks(nn.Module):
    """Somebody's network: a forward of its own, children out of order, and one that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)
        self.relu = nn.ReLU()
        self.layer = nn.Sequential(nn.Linear(5, 4), nn.ReLU())
        self.stem = nn.Linear(64, 5)

    def forward(self, z: Tensor) -> Tensor:
        return self.fc(self.layer(self.relu(self.relu(self.stem(z.flatten(1))))))


class Pairs(nn.Module):
    """Children that hand on pairs instead of tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Body()
        self.fc = nn.Linear(4, 3)

    def forward(self, z: Tensor) -> Tensor:
        return self.fc(self.body(z)[0])


class Body(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.act, self.second = nn.Linear(64, 6), nn.ReLU(), nn.Linear(6, 4)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.act(self.first(z.flatten(1)))
        return self.second(hidden), hidden


class Forgetful(nn.Module):
    """A part that no forward pass runs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.unused, self.fc = nn.Linear(64, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, z: Tensor) -> Tensor:
        return self.fc(self.first(z.flatten(1)))


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("mlp:widths=12-12", ["hidden.1", "hidden.3", "head"]),
        ("mlp:widths=12-9,norm=batch", ["hidden.2", "hidden.5", "head"]),
        ("cnn:widths=4-6", ["blocks.0.3", "flatten", "head"]),
        ("resnet:depth=8,width=2", ["stem.2", "stages.0.0.relu", "stages.1.0.relu", "head.1", "head.2"]),
        ("vit:dim=16,depth=1,heads=2", ["tokens", "blocks.0.attention", "pool", "head"]),
    ],
)
def test_sections_are_layers_or_blocks_with_what_follows_them(make, spec: str, expected: list[str]) -> None:
    assert [name for name in sections(make(spec)) if name in expected] == expected
    assert sections(make(spec))[-1] == expected[-1]


@pytest.mark.parametrize(
    ("share", "name"),
    [(0.01, "hidden.1"), (1 / 3, "hidden.1"), (0.49, "hidden.1"), (2 / 3, "hidden.3"), (0.99, "hidden.3")],
)
def test_a_share_of_the_depth(make, share: float, name: str) -> None:
    assert cut_at(make("mlp:widths=12-12"), share) == name


def test_networks_from_elsewhere() -> None:
    assert sections(wrapped(Blocks())) == ("stem", "layer.1", "fc")  # what runs twice has no place
    assert sections(wrapped(Pairs())) == ("body.act", "body.second", "fc")
    assert sections(wrapped(nn.Sequential(Blocks()))) == ("0.stem", "0.layer.1", "0.fc")


def test_the_first_exit_of_a_perceptron_is_linear_on_its_first_hidden_activation(make) -> None:
    model, x = make("mlp:widths=12-12"), batch()
    tapped = exits(model, 1 / 3)
    logits, exit_logits = tapped(x)
    hidden = model.net.hidden[:2](model.normalise(x).flatten(1))
    (head,) = tapped.heads
    assert head.weight.shape == (10, 12)
    assert torch.equal(head.bias, torch.zeros(10))
    torch.testing.assert_close(exit_logits, hidden @ head.weight.T + head.bias)
    assert torch.equal(logits, model(x))


@pytest.mark.parametrize(
    ("spec", "share"), [("cnn:widths=4-6", 0.3), ("resnet18:width=2", 0.5), ("vit:dim=16,depth=2,heads=2", 0.5)]
)
def test_maps_and_tokens_are_averaged(make, spec: str, share: float) -> None:
    model, x = make(spec), batch()
    tapped = exits(model, share)
    heard: list[Tensor] = []
    model.net.get_submodule(tapped.names[0]).register_forward_hook(lambda _m, _i, output: heard.append(output))
    _, exit_logits = tapped(x)
    (activation,) = heard
    features = activation.mean(dim=(2, 3)) if activation.ndim == 4 else activation.mean(dim=1)
    torch.testing.assert_close(exit_logits, tapped.heads[0](features))


def test_pooling() -> None:
    values = torch.arange(24.0)
    assert torch.equal(pooled(values.view(2, 3, 2, 2)), values.view(2, 3, 4).mean(dim=2))
    assert torch.equal(pooled(values.view(2, 4, 3)), values.view(2, 4, 3).mean(dim=1))
    assert torch.equal(pooled(values.view(2, 12)), values.view(2, 12))


def test_gradients_of_an_exit_reach_the_layers_below_it_alone(make) -> None:
    model = make("mlp:widths=12-12")
    exits(model, "hidden.1")(batch())[1].sum().backward()
    assert model.net.hidden[0].weight.grad is not None
    assert model.net.hidden[2].weight.grad is None
    assert model.net.head.weight.grad is None


def test_several_exits_by_name_or_share_in_one_pass(make) -> None:
    model, passes = make("mlp:widths=12-8"), []
    model.net.register_forward_hook(lambda *_: passes.append(1))
    tapped = exits(model, "hidden.0", 2 / 3)
    passes.clear()
    outputs = tapped(batch())
    assert len(passes) == 1
    assert [output.shape for output in outputs] == [(3, 10)] * 3
    assert [head.in_features for head in tapped.heads] == [12, 8]


def test_nothing_is_left_behind_and_the_network_stays_a_part(make) -> None:
    model = make("cnn:widths=4-6,norm=batch").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    tapped = exits(model, 0.5)
    assert [module.training for module in model.modules()] == modes  # to look at shapes takes no training step
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    tapped(batch())
    with pytest.raises(RuntimeError):
        tapped(torch.rand(3, 7, 8, 8))
    assert not any(module._forward_hooks for module in model.modules())
    assert tapped.network is model
    assert list(model.state_dict()) == list(before)


def test_equal_generators_make_equal_heads_and_draw_nothing_else(make) -> None:
    state = torch.random.get_rng_state()
    one, two = (exits(make("mlp:widths=12-12"), 1 / 3).state_dict() for _ in range(2))
    assert all(torch.equal(value, two[name]) for name, value in one.items())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_places_that_are_not_there_are_refused(make) -> None:
    with pytest.raises(ConfigError, match=r"(?s)no module 'hiden\.1'.*did you mean"):
        exits(make("mlp:widths=12-12"), "hiden.1")
    with pytest.raises(ConfigError, match="'unused' gives no activation"):
        exits(wrapped(Forgetful()), "unused")
    with pytest.raises(ConfigError, match="'body' gives no activation"):
        exits(wrapped(Pairs()), "body")
    with pytest.raises(ConfigError, match="'relu' gives no activation"):
        exits(wrapped(Blocks()), "relu")
    with pytest.raises(ConfigError, match="no activation between its input and its last layer"):
        exits(wrapped(nn.Sequential(nn.Flatten(), nn.Linear(64, 3))), 0.5)
