import math

import numpy as np
import pytest
import torch
from torch import nn

from understudy.errors import ConfigError, ShapeError
from understudy.models import Classifier, count_parameters
from understudy.models.architectures.vit import Attention
from understudy.models.build import empty_model

SMALL = [
    "cnn:widths=4-6-8",
    "cnn:widths=4-6,norm=group,pool=flatten",
    "cnn:widths=4-6,norm=none",
    "mlp:widths=16-8",
    "mlp:widths=16-8,norm=batch",
    "resnet18:width=2",
    "resnet34:width=2",
    "resnet:depth=8,width=2",
    "wide_resnet10_1",
    "mobilenet_v2:width=0.1",
    "vit:dim=8,depth=1,heads=2",
    "vit:dim=8,depth=1,heads=2,pool=mean",
]


def meta(spec: str, shape: tuple[int, ...] = (3, 32, 32), classes: int = 10) -> Classifier:
    return empty_model(spec, input_shape=shape, classes=classes, mean=[0.5] * shape[0], std=[0.5] * shape[0])


@pytest.mark.parametrize(
    ("spec", "classes", "parameters"),
    [
        ("resnet18", 10, 11_173_962),  # kuangliu/pytorch-cifar
        ("resnet34", 10, 21_282_122),  # likewise
        ("resnet18", 100, 11_220_132),
        ("resnet:depth=20", 10, 272_474),  # He et al. 2016: 0.27 M, with option B
        ("resnet:depth=110", 10, 1_730_714),  # 1.7 M
        ("wide_resnet16_2", 10, 691_674),  # Zagoruyko and Komodakis 2016: 0.7 M
        ("wide_resnet40_2", 10, 2_243_546),  # 2.2 M
        ("wide_resnet28_10", 10, 36_479_194),  # 36.5 M
        ("wide_resnet34_10", 10, 46_160_474),  # 46.16 M
        ("mobilenet_v2", 10, 2_236_682),  # torchvision's layers with 10 classes
    ],
)
def test_known_networks_have_their_known_size(spec: str, classes: int, parameters: int) -> None:
    assert count_parameters(meta(spec, classes=classes)) == parameters


def test_the_vision_transformer_has_the_size_of_its_formula() -> None:
    d, patch, depth, classes = 192, 4, 12, 10
    embed = 3 * patch**2 * d + d + d + (64 + 1) * d  # patches, class token, positions
    block = 4 * d + (3 * d * d + 3 * d) + (d * d + d) + (4 * d * d + 4 * d) + (4 * d * d + d)
    head = 2 * d + d * classes + classes
    assert count_parameters(meta("vit:patch=4,dim=192,depth=12,heads=3")) == embed + depth * block + head == 5_362_762


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32)])
@pytest.mark.parametrize("spec", SMALL)
def test_every_architecture_answers_and_learns_at_every_size(make, spec: str, shape: tuple[int, ...]) -> None:
    model = make(spec, shape)
    x = torch.rand(4, *shape, generator=torch.Generator().manual_seed(0))
    logits = model(x)
    assert logits.shape == (4, 10)
    assert logits.isfinite().all()
    assert (logits[0] - logits[1]).abs().max() > 1e-4  # the input reaches the output
    nn.functional.cross_entropy(logits, torch.arange(4)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("spec", SMALL)
def test_each_image_is_answered_by_itself(make, spec: str) -> None:
    model = make(spec)
    x = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(x)[1:2], model(x[1:2]))


@pytest.mark.parametrize("spec", [spec for spec in SMALL if not spec.startswith("mlp")])
def test_vectors_are_for_the_mlp(spec: str) -> None:
    with pytest.raises(ShapeError, match=r"needs images, not vectors of 5 features[\s\S]*use 'mlp'"):
        meta(spec, (5,))


def test_the_mlp_takes_vectors(make) -> None:
    assert make("mlp:widths=4", (5,))(torch.rand(2, 5)).shape == (2, 10)


def test_patches_must_divide_the_image() -> None:
    with pytest.raises(ConfigError, match="patches of 5 px do not divide images of 28 x 28 px"):
        meta("vit:patch=5", (1, 28, 28))


def test_heads_must_divide_the_tokens() -> None:
    with pytest.raises(ConfigError, match="3 heads do not divide tokens of size 64"):
        meta("vit:heads=3")


@pytest.mark.parametrize(("side", "pools"), [(32, 3), (28, 3), (8, 2), (4, 1), (3, 0), (1, 0)])
def test_the_cnn_never_pools_below_two_pixels(side: int, pools: int) -> None:
    model = meta("cnn", (1, side, side))
    assert sum(isinstance(module, nn.MaxPool2d) for module in model.modules()) == pools


@pytest.mark.parametrize(("norm", "biased"), [("batch", False), ("group", True), ("none", True)])
def test_a_convolution_has_a_bias_unless_batch_norm_follows(norm: str, biased: bool) -> None:
    layers = [module for module in meta(f"cnn:norm={norm}").modules() if isinstance(module, nn.Conv2d)]
    assert len(layers) == 3
    assert all((layer.bias is not None) == biased for layer in layers)


def test_the_mlp_equals_its_formula_in_float64(make) -> None:
    model = make("mlp:widths=7-5", (1, 4, 4)).double()
    x = torch.rand(3, 1, 4, 4, dtype=torch.float64)
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    h = ((x.numpy() - weights["normalise.mean"]) / weights["normalise.std"]).reshape(3, 16)
    for layer in ("hidden.0", "hidden.2"):
        h = np.maximum(h @ weights[f"net.{layer}.weight"].T + weights[f"net.{layer}.bias"], 0)
    expected = h @ weights["net.head.weight"].T + weights["net.head.bias"]
    np.testing.assert_allclose(model(x).detach().numpy(), expected, rtol=1e-12, atol=1e-12)


def test_attention_equals_its_formula_in_float64() -> None:
    dim, heads, tokens = 6, 2, 5
    layer = Attention(dim, heads).double()
    x = torch.randn(1, tokens, dim, dtype=torch.float64)
    w = {name: value.detach().numpy() for name, value in layer.state_dict().items()}
    mixed = np.zeros((tokens, dim))
    projected = x[0].numpy() @ w["query_key_value.weight"].T + w["query_key_value.bias"]
    for head in range(heads):
        part = slice(head * dim // heads, (head + 1) * dim // heads)
        q, k, v = (projected[:, i * dim : (i + 1) * dim][:, part] for i in range(3))
        for i in range(tokens):
            scores = np.array([q[i] @ k[j] / math.sqrt(dim / heads) for j in range(tokens)])
            shares = np.exp(scores) / np.exp(scores).sum()
            mixed[i, part] = sum(shares[j] * v[j] for j in range(tokens))
    expected = mixed @ w["output.weight"].T + w["output.bias"]
    np.testing.assert_allclose(layer(x)[0].detach().numpy(), expected, rtol=1e-12, atol=1e-12)


def test_a_wide_block_that_changes_channels_activates_before_the_fork(make) -> None:
    model = make("wide_resnet10_2", (1, 8, 8))
    block = model.net.stages[0][0]
    x = torch.randn(2, 16, 8, 8)
    activated = block.activation(x)
    expected = block.sum.body(activated) + nn.functional.conv2d(activated, block.sum.shortcut.weight)
    torch.testing.assert_close(block(x), expected)
