"""An encoder: a network whose rows are embeddings; most are classifiers without their last linear layer."""

import copy
from collections.abc import Sequence

import torch
from torch import nn

from understudy.errors import ConfigError, ShapeError
from understudy.models.build import initialise, size_errors
from understudy.models.classifier import Classifier
from understudy.models.foreign import Facts, is_foreign, load_foreign
from understudy.models.network import Network, check_shape
from understudy.models.specs import format_spec, parse_spec


class Encoder(Network):
    """A network that maps inputs in [0, 1] to embeddings; they are not normalised to unit length.

    Args:
        net: works in normalised coordinates, gives embeddings of shape (batch, width).
        spec: canonical spec that rebuilds `net`.
        input_shape: (channels, height, width), or (d,) for vectors.
        width: numbers of an embedding, >= 1.
        head: whether the last linear layer of the architecture is there, as a map to a width of choice.
        mean: per channel.
        std: per channel, > 0.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        spec: str,
        input_shape: Sequence[int],
        width: int,
        head: bool = False,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__(net, spec=spec, input_shape=input_shape, outputs=width, mean=mean, std=std)
        self.width = width
        self.head = head

    def without_head(self) -> "Encoder":
        """Return a copy that gives what its linear head sees; itself where it has no head."""
        return encoder_of(self) if self.head else self


def build_encoder(
    spec: str,
    *,
    input_shape: Sequence[int],
    width: int | None = None,
    mean: Sequence[float],
    std: Sequence[float],
    seed: int,
) -> Encoder:
    """Return a new encoder in float32 on the CPU, in training mode: an architecture of ours without its last layer.

    Args:
        spec: an architecture and its options, for example `resnet18:width=16`.
        input_shape: (channels, height, width), or (d,) for vectors.
        width: None takes what the last layer sees, such as 512 of a ResNet-18; another number adds a linear head.
        mean: per channel, in [0, 1] units.
        std: per channel, in [0, 1] units, > 0.
        seed: decides every weight; the global random state is neither read nor changed.

    Raises:
        ConfigError: the spec or a value cannot be used.
        ShapeError: the architecture cannot take such inputs, or mean and std do not fit the channels.
    """
    model = empty_encoder(spec, input_shape=input_shape, width=width, mean=mean, std=std)
    with size_errors(model.spec):
        model.net.to_empty(device="cpu")
    initialise(model.net, torch.Generator().manual_seed(seed))
    return model


def empty_encoder(
    spec: str, *, input_shape: Sequence[int], width: int | None, mean: Sequence[float], std: Sequence[float]
) -> Encoder:
    """Return an encoder on the meta device: it has shapes and dtypes, but no values.

    Raises:
        ConfigError, ShapeError: as `build_encoder`.
    """
    if width is not None and width < 1:
        raise ConfigError(f"an embedding of {width} numbers", expected="a width of 1 or more")
    architecture = parse_spec(spec)
    canonical = format_spec(architecture)
    shape = check_shape(input_shape)
    with size_errors(canonical), torch.device("meta"):
        net = architecture.build(shape, width or 2).to(torch.float32)
    natural = _last_linear(net, canonical)[1].in_features
    if width is None or width == natural:
        return Encoder(_headless(net, canonical), spec=canonical, input_shape=shape, width=natural, mean=mean, std=std)
    return Encoder(net, spec=canonical, input_shape=shape, width=width, head=True, mean=mean, std=std)


def encoder_of(model: Classifier | Encoder) -> Encoder:
    """Return a copy of a network that gives what its last linear layer sees.

    Raises:
        ConfigError: there is no linear layer to take off.
    """
    net = _headless(copy.deepcopy(model.net), model.spec)
    normalise = model.normalise
    width = _last_linear(model.net, model.spec)[1].in_features
    encoder = Encoder(
        net,
        spec=model.spec,
        input_shape=model.input_shape,
        width=width,
        mean=normalise.mean.tolist(),
        std=normalise.std.tolist(),
    )
    return encoder.to(normalise.mean.device).train(model.training)


def foreign_encoder(spec: str, given: Facts, *, seed: int = 0) -> Encoder:
    """Return an encoder from elsewhere: a `python:` module as it is, a classifier of a hub without its last layer.

    Raises:
        UnderstudyError: as `load_foreign`; or the classifier has no linear layer to take off.
    """
    model = load_foreign(spec, given, seed=seed)
    if not spec.startswith("python:"):
        return encoder_of(model).eval()
    mean, std = model.normalise.mean.tolist(), model.normalise.std.tolist()
    encoder = Encoder(model.net, spec=spec, input_shape=model.input_shape, width=model.classes, mean=mean, std=std)
    return encoder.eval()


def resolve_new_encoder(
    spec: str, *, input_shape: Sequence[int], mean: Sequence[float], std: Sequence[float], width: int | None, seed: int
) -> Encoder:
    """Return a new encoder of an architecture, or one from elsewhere, whose width then must agree.

    Raises:
        ShapeError: an encoder from elsewhere has another width or input shape.
    """
    if not is_foreign(spec):
        return build_encoder(spec, input_shape=input_shape, width=width, mean=mean, std=std, seed=seed)
    encoder = foreign_encoder(spec, Facts(input_shape, None, mean, std), seed=seed)
    if width not in (None, encoder.width):
        raise ShapeError(f"the encoder gives {encoder.width} numbers", where=spec, expected=f"{width}")
    return encoder


def _last_linear(net: nn.Module, spec: str) -> tuple[str, nn.Linear]:
    """Return the name and the module of the last linear layer, in the order of definition."""
    found = [(name, module) for name, module in net.named_modules() if isinstance(module, nn.Linear) and name]
    if not found:
        raise ConfigError("the network has no linear layer to take off", where=spec, fix="name an encoder")
    return found[-1]


def _headless(net: nn.Module, spec: str) -> nn.Module:
    """Put the identity in the place of the last linear layer, in place."""
    name, _ = _last_linear(net, spec)
    parent, _, child = name.rpartition(".")
    setattr(net.get_submodule(parent), child, nn.Identity())
    return net
