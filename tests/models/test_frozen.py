import copy
import functools
import math

import pytest
import torch
from torch import Tensor, nn

from understudy.errors import DependencyError, DivergenceError
from understudy.models import BF16_TOLERANCE, FLOAT32_TOLERANCE, Classifier, freeze, model_digest
from understudy.models.frozen import Frozen

CASES = {  # spec: BatchNorms that fold, of all
    "cnn:widths=4-6-8": "folded 3 of 3 BatchNorms",
    "cnn:widths=4-8,norm=group,pool=flatten": "no BatchNorm to fold",
    "cnn:widths=4-6,norm=none": "no BatchNorm to fold",
    "mlp:widths=16-8": "no BatchNorm to fold",
    "mlp:widths=16-8,norm=batch": "folded 2 of 2 BatchNorms",
    "resnet18:width=4": "folded 20 of 20 BatchNorms",
    "resnet34:width=4": "folded 36 of 36 BatchNorms",
    "resnet:depth=8,width=4": "folded 9 of 9 BatchNorms",
    "wide_resnet16_1": "folded 6 of 13 BatchNorms",
    "mobilenet_v2:width=0.1": "folded 52 of 52 BatchNorms",
    "vit:dim=16,depth=2,heads=2": "no BatchNorm to fold",
}


def batch(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(3))


def difference(found: Tensor, expected: Tensor) -> float:
    found, expected = found.detach(), expected.detach()
    return float((found - expected).abs().max() / (1 + expected.abs().max()))


def wrap(net: nn.Module, *shape: int) -> Classifier:
    return Classifier(
        net, spec="test", input_shape=shape, classes=3, mean=[0.5] * shape[0], std=[0.5] * shape[0]
    ).eval()


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 16)])
@pytest.mark.parametrize("spec", CASES)
def test_a_frozen_network_answers_as_the_original(make, spec: str, shape: tuple[int, ...]) -> None:
    model = make(spec, shape)
    x = batch(6, *shape)
    with torch.no_grad():
        expected = model(x)
        frozen = freeze(model)
        assert frozen.notes == (CASES[spec],)
        assert difference(frozen(x), expected) <= FLOAT32_TOLERANCE
        assert difference(frozen.forward_normalised(model.normalise(x)), expected) <= FLOAT32_TOLERANCE
        bf16 = freeze(model, precision="bf16")(x)
    assert bf16.dtype == torch.float32
    assert 0 < difference(bf16, expected) <= BF16_TOLERANCE


@pytest.mark.parametrize("spec", ["cnn:widths=4-6", "wide_resnet10_1", "vit:dim=8,depth=1,heads=2"])
def test_input_gradients_are_the_original_ones(make, spec: str) -> None:
    model, x = make(spec), batch(4, 1, 8, 8).requires_grad_()
    frozen = freeze(model)
    labels = torch.arange(4)
    gradients = [
        torch.autograd.grad(nn.functional.cross_entropy(network(x), labels, reduction="sum"), x)[0]
        for network in (model, frozen)
    ]
    assert gradients[0].abs().max() > 1e-3
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-5)
    (grad,) = torch.autograd.grad(freeze(model, precision="bf16")(x).sum(), x)
    assert grad.dtype == torch.float32


def test_folding_is_exact_in_float64() -> None:
    """Against the formula, written out for one convolution."""
    net = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3, eps=0.5), nn.Flatten(), nn.Linear(3, 3))
    norm = net[1]
    norm.running_mean.copy_(torch.tensor([1.0, -2.0, 3.0]))
    norm.running_var.copy_(torch.tensor([0.5, 3.5, 0.75]))
    norm.weight.data.copy_(torch.tensor([2.0, 4.0, -1.0]))
    norm.bias.data.copy_(torch.tensor([0.25, 0.5, 0.75]))
    folded = freeze(wrap(net, 2, 1, 1)).net.get_submodule("0")
    for k, scale in enumerate([2 / 1.0, 4 / 2.0, -1 / math.sqrt(1.25)]):
        weight = net[0].weight[k].detach().double() * scale
        bias = (net[0].bias[k].item() - norm.running_mean[k].item()) * scale + norm.bias[k].item()
        torch.testing.assert_close(folded.weight[k].double(), weight, rtol=1e-7, atol=1e-7)
        assert folded.bias[k].item() == pytest.approx(bias, rel=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_the_original_is_untouched(make, training: bool) -> None:
    model = make("resnet:depth=8,width=4").train(training)
    model.net.stem.eval()
    next(model.parameters()).requires_grad_(False)
    before = copy.deepcopy(model)
    frozen = freeze(model, precision="bf16")
    frozen(batch(2, 1, 8, 8))
    assert model_digest(model) == model_digest(before)
    assert [m.training for m in model.modules()] == [m.training for m in before.modules()]
    assert [p.requires_grad for p in model.parameters()] == [p.requires_grad for p in before.parameters()]
    assert [p.stride() for p in model.parameters()] == [p.stride() for p in before.parameters()]


@pytest.mark.parametrize("fold", [True, False])
def test_nothing_wakes_a_frozen_network(make, fold: bool) -> None:
    model = make("cnn:widths=4-6").train()
    frozen = freeze(model, fold=fold)
    before = model_digest(frozen)
    frozen.train()
    nn.Sequential(frozen).train()
    frozen(batch(4, 1, 8, 8))
    assert model_digest(frozen) == before
    assert not any(module.training for module in frozen.modules())
    assert not any(parameter.requires_grad for parameter in frozen.parameters())


def test_a_frozen_network_shares_no_memory_with_the_original(make) -> None:
    model = make("mlp:widths=4")
    frozen = freeze(model)
    before = model_digest(frozen)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.add_(1)
    assert model_digest(frozen) == before


def test_layout_is_channels_last_where_there_are_convolutions(make) -> None:
    frozen = freeze(make("cnn:widths=4-6", (3, 8, 8)))
    weight = frozen.net.get_parameter("blocks.1.0.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last)
    seen = []
    frozen.net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].stride()))
    frozen(batch(2, 3, 8, 8))
    assert seen == [(192, 1, 24, 3)]
    assert not freeze(make("mlp:widths=4")).channels_last
    assert not freeze(make("cnn:widths=4-6"), channels_last=False).channels_last


class Branching(nn.Module):
    """Control flow that depends on the data, which cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.BatchNorm1d(3))

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z) if z.sum() > 0 else self.layers(-z)


class BakedBatch(nn.Module):
    """A constant that tracing records for one size of batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.BatchNorm1d(3))
        self.calls = 0

    def forward(self, z: Tensor) -> Tensor:
        self.calls += 1  # traced once, so the traced network always adds the first call's number
        return self.layers(z) + self.calls


class TwoUsers(nn.Module):
    """A convolution whose output is used beside its BatchNorm, and one whose BatchNorm runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.norm_one = nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3)
        self.two, self.norm_two = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.three, self.norm_three = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, z: Tensor) -> Tensor:
        first = self.one(z)
        first = first + self.norm_one(first)
        second = self.norm_two(self.norm_two(self.two(first)))
        return self.norm_three(self.three(second)).mean((2, 3))


@pytest.mark.parametrize(
    ("net", "note"),
    [
        (Branching(), "not folded: cannot be traced: symbolically traced variables"),
        (BakedBatch(), "not folded: the traced network answers differently"),
        (TwoUsers(), "folded 1 of 3 BatchNorms"),
        (
            nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3, track_running_stats=False), nn.Flatten(2))
            .append(nn.AvgPool1d(4))
            .append(nn.Flatten()),
            "folded 0 of 1 BatchNorms: none directly follows a layer of its own",
        ),
        (
            nn.Sequential(nn.Conv2d(1, 3, 2), nn.BatchNorm2d(3, affine=False), nn.Flatten()),
            "folded 1 of 1 BatchNorms",
        ),
    ],
    ids=["branching", "baked", "two users", "no statistics", "no affine"],
)
def test_what_cannot_be_folded_is_kept_and_said(net: nn.Module, note: str) -> None:
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean.fill_(0.5)
            module.running_var.fill_(2.0)
    model = wrap(net, 1, 2, 2)
    frozen = freeze(model)
    assert frozen.notes[0].startswith(note)
    if not isinstance(net, BakedBatch):
        x = batch(4, 1, 2, 2)
        assert difference(frozen(x), model(x)) <= FLOAT32_TOLERANCE


def test_a_layer_with_a_hook_is_not_folded() -> None:
    net = nn.Sequential(nn.Conv2d(1, 3, 2), nn.BatchNorm2d(3), nn.Flatten())
    net[0].register_forward_hook(lambda _module, _inputs, output: output * 2)
    model = wrap(net, 1, 2, 2)
    frozen = freeze(model)
    assert frozen.notes[0].startswith("folded 0 of 1")
    x = batch(4, 1, 2, 2)
    torch.testing.assert_close(frozen(x), model(x))


def test_a_shared_weight_is_folded_for_one_layer_only() -> None:
    one, two = nn.Conv2d(1, 1, 1, bias=False), nn.Conv2d(1, 1, 1, bias=False)
    two.weight = one.weight
    norm = nn.BatchNorm2d(1)
    norm.running_var.fill_(4.0)
    model = wrap(nn.Sequential(one, norm, two, nn.Flatten(), nn.Linear(4, 3)), 1, 2, 2)
    x = batch(4, 1, 2, 2)
    torch.testing.assert_close(freeze(model)(x), model(x))


@pytest.fixture
def without_inductor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile without code generation, which would take a minute: what is captured is the same."""
    compile_ = functools.partialmethod(nn.Module.compile, backend="aot_eager")
    monkeypatch.setattr(nn.Module, "compile", compile_)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's own, within torch.compile
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # likewise
@pytest.mark.usefixtures("without_inductor")
def test_a_compiled_network_answers_alike_and_gives_input_gradients(make) -> None:
    model, x = make("cnn:widths=4-6"), batch(4, 1, 8, 8).requires_grad_()
    frozen = freeze(model, compiled=True)
    assert frozen.notes == ("folded 2 of 2 BatchNorms", "compiled")
    torch._dynamo.utils.counters.clear()
    logits = frozen(x)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1  # it did go through the compiler
    assert not torch._dynamo.utils.counters["graph_break"]
    assert difference(logits, model(x)) <= FLOAT32_TOLERANCE
    expected, found = (torch.autograd.grad(network(x).sum(), x)[0] for network in (model, frozen))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_compiling_without_a_compiler_is_refused_at_once(make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(DependencyError, match=r"needs a C\+\+ compiler"):
        freeze(make(), compiled=True)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_no_numbers_are_refused(make, value: float) -> None:
    model = make()
    model.net.head.weight.data[0, 0] = value
    with pytest.raises(DivergenceError, match=r"NaN or infinite[\s\S]*'net\.head\.weight'"):
        freeze(model)


def test_a_frozen_network_knows_its_facts(make) -> None:
    frozen: Frozen = freeze(make("resnet18:width=2", (3, 8, 8)))
    assert (frozen.spec, frozen.input_shape, frozen.classes) == ("resnet18:width=2", (3, 8, 8), 10)
