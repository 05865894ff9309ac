"""Build a classifier from a spec: equal specs and seeds give equal weights; no global state is touched."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from understudy.errors import ConfigError
from understudy.models.classifier import Classifier, check_signature
from understudy.models.specs import format_spec, parse_spec


def build_model(
    spec: str,
    *,
    input_shape: Sequence[int],
    classes: int,
    mean: Sequence[float],
    std: Sequence[float],
    seed: int,
) -> Classifier:
    """Return a new classifier in float32 on the CPU, in training mode.

    Args:
        spec: an architecture and its options, for example `cnn:widths=16-32`.
        input_shape: (channels, height, width), or (d,) for vectors.
        classes: number of classes, >= 2.
        mean: per channel, in [0, 1] units.
        std: per channel, in [0, 1] units, > 0.
        seed: decides every weight; the global random state is neither read nor changed.

    Raises:
        ConfigError: the spec or a value cannot be used.
        ShapeError: the architecture cannot take such inputs, or mean and std do not fit the channels.
    """
    model = empty_model(spec, input_shape=input_shape, classes=classes, mean=mean, std=std)
    with size_errors(model.spec):
        model.net.to_empty(device="cpu")
    initialise(model.net, torch.Generator().manual_seed(seed))
    return model


def empty_model(
    spec: str, *, input_shape: Sequence[int], classes: int, mean: Sequence[float], std: Sequence[float]
) -> Classifier:
    """Return a classifier whose network lies on the meta device: it has shapes and dtypes, but no values.

    Raises:
        ConfigError, ShapeError: as `build_model`.
    """
    architecture = parse_spec(spec)
    canonical = format_spec(architecture)
    shape = check_signature(input_shape, classes)
    with size_errors(canonical), torch.device("meta"):
        net = architecture.build(shape, classes).to(torch.float32)
    return Classifier(net, spec=canonical, input_shape=shape, classes=classes, mean=mean, std=std)


def initialise(net: nn.Module, generator: torch.Generator) -> None:
    """Set every parameter and buffer of one of our networks, in the order of its modules.

    Convolutions are drawn from a normal distribution of variance 2 / fan_in (He et al. 2015, arXiv
    1502.01852), linear layers of variance 1 / fan_in (LeCun et al. 1998); biases are 0; normalisation layers
    start as the identity.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=1 / math.sqrt(module.in_features), generator=generator)
        elif isinstance(module, _DrawsItself):
            module.initialise(generator)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.GroupNorm | nn.LayerNorm):
            module.reset_parameters()
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


@contextmanager
def size_errors(spec: str) -> Iterator[None]:
    """Turn torch's errors about sizes, of which it has several kinds, into a `ConfigError`."""
    try:
        yield
    except (RuntimeError, TypeError) as error:
        raise ConfigError(
            f"{spec!r} cannot be built for such inputs: {str(error).splitlines()[0]}",
            fix="take a smaller network or smaller inputs",
        ) from error


@runtime_checkable
class _DrawsItself(Protocol):
    """A layer with parameters of its own, such as the tokens of a vision transformer."""

    def initialise(self, generator: torch.Generator) -> None: ...
