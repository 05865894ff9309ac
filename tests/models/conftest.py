"""Small networks of every architecture, with BatchNorm statistics that are not the identity."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from understudy.models import Classifier, build_model

Make = Callable[..., Classifier]


def randomise_norms(net: nn.Module, seed: int = 0) -> None:
    """Give every normalisation layer weights, and every BatchNorm statistics, as if it had been trained."""
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, _BatchNorm):
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
        if isinstance(module, _BatchNorm | nn.GroupNorm | nn.LayerNorm):
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(0, 0.2, generator=generator)


@pytest.fixture
def make() -> Make:
    """Return a function that builds a small classifier in eval mode, as if trained."""

    def make(spec: str = "cnn:widths=4-6", shape: tuple[int, ...] = (1, 8, 8), seed: int = 0) -> Classifier:
        channels = shape[0]
        model = build_model(
            spec, input_shape=shape, classes=10, mean=[0.4] * channels, std=[0.25] * channels, seed=seed
        )
        randomise_norms(model)
        return model.eval()

    return make
