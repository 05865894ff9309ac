"""The mirror: equal to the network in eval mode after every refresh, and no part of it."""

import functools

import pytest
import torch
from torch import Tensor, nn

from understudy.errors import DivergenceError
from understudy.models import BF16_TOLERANCE, FLOAT32_TOLERANCE, Classifier, Mirror, evaluating
from understudy.runs.tensors import digest

SPECS = [
    "cnn:widths=4-6-8",
    "cnn:widths=4-8,norm=group,pool=flatten",
    "mlp:widths=16-8,norm=batch",
    "resnet18:width=2",
    "wide_resnet16_1",
    "mobilenet_v2:width=0.1",
    "vit:dim=16,depth=1,heads=2",
]


class Untraceable(nn.Module):
    """Control flow that depends on the data."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.BatchNorm1d(3))

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z) if z.sum() > 0 else self.layers(-z)


class Awkward(nn.Module):
    """A bias before the norm, a norm without weights, one that two layers share, tied weights, a bare parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.norm_one = nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3)
        self.two, self.norm_two = nn.Conv2d(3, 3, 1, bias=False), nn.BatchNorm2d(3, affine=False)
        self.three, self.four, self.shared = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.tied = nn.Conv2d(3, 3, 1)
        self.tied.weight = self.two.weight
        self.scale = nn.Parameter(torch.ones(3))
        self.register_buffer("offset", torch.zeros(3, 1, 1))

    def forward(self, z: Tensor) -> Tensor:
        z = self.norm_two(self.two(self.norm_one(self.one(z))))
        z = self.shared(self.three(z)) + self.shared(self.four(z)) + self.offset
        return self.tied(z).mean((2, 3)) * self.scale


def wrapped(net: nn.Module) -> Classifier:
    return Classifier(net, spec="test", input_shape=(1, 2, 2), classes=3, mean=[0.5], std=[0.25])


def batch(model: Classifier, rows: int = 6, seed: int = 3) -> Tensor:
    return torch.rand(rows, *model.input_shape, generator=torch.Generator().manual_seed(seed))


def train_a_little(model: Classifier, seed: int) -> None:
    """One step of SGD and one update of every statistic, and another value for every buffer."""
    model.train()
    model(batch(model, seed=seed)).square().sum().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.05 * parameter.grad / (1e-6 + parameter.grad.norm())
            parameter.grad = None
    if isinstance(model.net, Awkward):
        model.net.offset.add_(0.5)


def difference(mirror: Mirror, model: Classifier) -> float:
    x = batch(model)
    with torch.no_grad(), evaluating(model):
        expected = model(x)
        return float((mirror(x) - expected).abs().max() / (1 + expected.abs().max()))


@pytest.fixture(params=[*SPECS, "untraceable", "awkward"])
def model(request: pytest.FixtureRequest, make) -> Classifier:
    """A network of each kind."""
    kinds = {"untraceable": Untraceable, "awkward": Awkward}
    return wrapped(kinds[request.param]()) if request.param in kinds else make(request.param)


def test_a_mirror_equals_the_network_in_eval_mode_after_every_refresh(model: Classifier) -> None:
    mirror = Mirror(model)
    net, addresses = mirror.net, [value.data_ptr() for value in mirror.state_dict().values()]
    assert difference(mirror, model) <= FLOAT32_TOLERANCE
    for step in range(3):
        train_a_little(model, seed=step)
        if step == 0:
            assert difference(mirror, model) > 1e-3  # it does not follow by itself
        mirror.refresh()
        assert difference(mirror, model) <= FLOAT32_TOLERANCE
    assert mirror.net is net
    assert [value.data_ptr() for value in mirror.state_dict().values()] == addresses  # written into, never replaced


def test_it_says_what_was_folded(make) -> None:
    assert Mirror(make("resnet18:width=2")).notes == ("folded 20 of 20 BatchNorms",)
    assert Mirror(wrapped(Untraceable())).notes[0].startswith("not folded: cannot be traced")
    assert Mirror(wrapped(Awkward())).notes == ("folded 2 of 3 BatchNorms",)


def test_the_network_in_training_is_no_part_of_it(model: Classifier) -> None:
    before, modes = digest(model.state_dict()), [module.training for module in model.train().modules()]
    mirror = Mirror(model)
    mirror.train()
    mirror.refresh()
    mirror(batch(model))
    assert digest(model.state_dict()) == before
    assert [module.training for module in model.modules()] == modes
    assert not any(module.training for module in mirror.modules())
    assert not any(parameter.requires_grad for parameter in mirror.parameters())
    assert not {id(module) for module in mirror.modules()} & {id(module) for module in model.modules()}
    ours = {value.data_ptr() for value in model.state_dict().values()}
    assert not ours & {value.data_ptr() for value in mirror.state_dict().values()}


def test_it_follows_a_network_that_changed_its_layout(make) -> None:
    """As the training loop does after the mirror was made."""
    model = make("resnet18:width=2", (3, 8, 8))
    mirror = Mirror(model)
    model.to(memory_format=torch.channels_last)
    train_a_little(model, seed=1)
    mirror.refresh()
    assert difference(mirror, model) <= FLOAT32_TOLERANCE
    assert mirror.net.get_parameter("stem.0.weight").is_contiguous(memory_format=torch.channels_last)


def test_bf16_takes_and_gives_float32(make) -> None:
    model = make("resnet18:width=2", (3, 8, 8))
    mirror = Mirror(model, precision="bf16")
    train_a_little(model, seed=1)
    mirror.refresh()
    assert {value.dtype for value in mirror.net.parameters()} == {torch.bfloat16}
    assert mirror(batch(model)).dtype == torch.float32
    assert 0 < difference(mirror, model) <= BF16_TOLERANCE


def test_the_gradient_of_the_input_is_the_networks_own(make) -> None:
    model = make("resnet18:width=2", (3, 8, 8))
    mirror = Mirror(model)
    train_a_little(model, seed=1)
    mirror.refresh()
    model.eval()
    x, labels = batch(model).requires_grad_(), torch.arange(6)
    found, expected = (
        torch.autograd.grad(nn.functional.cross_entropy(network(x), labels, reduction="sum"), x)[0]
        for network in (mirror, model)
    )
    assert expected.abs().max() > 1e-4
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's own, within torch.compile
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # likewise
def test_a_compiled_mirror_is_traced_once_for_all_weights(make, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the tracer of torch.compile and without its code generator."""
    monkeypatch.setattr(nn.Module, "compile", functools.partialmethod(nn.Module.compile, backend="aot_eager"))
    model = make("cnn:widths=4-6")
    mirror = Mirror(model, compiled=True)
    torch._dynamo.utils.counters.clear()
    for step in range(3):
        train_a_little(model, seed=step)
        mirror.refresh()
        assert difference(mirror, model) <= FLOAT32_TOLERANCE
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def test_weights_that_are_no_numbers_are_refused(make) -> None:
    model = make()
    model.net.head.weight.data[0, 0] = float("nan")
    with pytest.raises(DivergenceError, match="NaN or infinite"):
        Mirror(model)
