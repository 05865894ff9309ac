import math

import pytest
import torch
from torch import nn

from understudy.errors import ConfigError, ShapeError
from understudy.models import build_model, model_digest
from understudy.models.architectures import ARCHITECTURES
from understudy.models.build import empty_model, initialise

TINY = {
    "cnn": "cnn:widths=4-6",
    "mlp": "mlp:widths=8",
    "resnet18": "resnet18:width=2",
    "resnet34": "resnet34:width=2",
    "resnet": "resnet:depth=8,width=2",
    "wide_resnet": "wide_resnet10_1",
    "mobilenet_v2": "mobilenet_v2:width=0.1",
    "vit": "vit:dim=8,depth=1,heads=2",
}
FACTS = {"input_shape": (1, 8, 8), "classes": 10, "mean": [0.5], "std": [0.5]}


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_the_seed_decides_every_weight(name: str) -> None:
    one, same, other = (build_model(TINY[name], **FACTS, seed=seed) for seed in (1, 1, 2))
    assert model_digest(one) == model_digest(same) != model_digest(other)


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_nothing_is_left_uninitialised(name: str) -> None:
    model = empty_model(TINY[name], **FACTS)
    model.net.to_empty(device="cpu")
    for tensor in model.net.state_dict().values():
        tensor.fill_(math.nan if tensor.is_floating_point() else -1)
    initialise(model.net, torch.Generator().manual_seed(0))
    for key, tensor in model.net.state_dict().items():
        assert tensor.isfinite().all(), key
        assert tensor.is_floating_point() or (tensor >= 0).all(), key


def test_the_global_random_state_is_neither_read_nor_changed() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = build_model("cnn", **FACTS, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert model_digest(build_model("cnn", **FACTS, seed=0)) == model_digest(one)


def test_the_default_dtype_does_not_leak_in() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        model = build_model("cnn", **FACTS, seed=0)
    finally:
        torch.set_default_dtype(torch.float32)
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}


def test_signals_keep_their_size_through_depth() -> None:
    model = build_model("cnn:widths=64-64-64,norm=none", **FACTS, seed=0)
    z = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    first = nn.functional.conv2d(z, model.net.blocks[0][0].weight)
    assert first.var().item() == pytest.approx(2.0, rel=0.2)  # 2 / fan_in times fan_in unit inputs
    assert 0.2 < model.net(z).std() < 5


def test_a_fresh_model_knows_its_facts() -> None:
    model = build_model("resnet18:width=2", input_shape=[3, 8, 8], classes=4, mean=[0.1] * 3, std=[1.0] * 3, seed=0)
    assert (model.spec, model.input_shape, model.classes) == ("resnet18:width=2", (3, 8, 8), 4)
    assert model.training


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"input_shape": (8, 8)}, ShapeError, "is no input shape"),
        ({"input_shape": (1, 0, 8)}, ShapeError, "is no input shape"),
        ({"classes": 1}, ConfigError, "a classifier of 1 classes"),
        ({"mean": [0.5] * 3, "std": [0.5] * 3}, ShapeError, "3 values for 1 channels"),
        ({"mean": [0.5] * 3}, ShapeError, "mean has 3 values and std has 1"),
        ({"input_shape": (1, 2**31, 2**31), "spec": "mlp"}, ConfigError, "smaller network or smaller inputs"),
        ({"input_shape": (2**31,) * 3, "spec": "mlp"}, ConfigError, "mean and std|smaller network"),
        ({"std": [0.0]}, ConfigError, "every std above 0"),
        ({"std": [math.inf]}, ConfigError, "finite values"),
        ({"mean": [math.nan]}, ConfigError, "finite values"),
    ],
)
def test_facts_that_do_not_fit_are_refused(changes: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        build_model(**{"spec": "cnn", **FACTS, **changes}, seed=0)
