"""What every network of ours is: a normalisation layer, a net behind it, and the facts that rebuild it."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from understudy.errors import ConfigError, ShapeError


class Normalise(nn.Module):
    """Map inputs in [0, 1] to the network's normalised coordinates, (x - mean) / std per channel.

    Args:
        mean: one value a channel, in [0, 1] units.
        std: one value a channel, > 0, in [0, 1] units.

    Raises:
        ShapeError: `mean` and `std` differ in length.
        ConfigError: a value is not finite, or a std is not positive.
    """

    mean: Float[Tensor, " c"]
    std: Float[Tensor, " c"]

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std):
            raise ShapeError(
                f"mean has {len(mean)} values and std has {len(std)}",
                expected="one of each for every channel",
            )
        if not all(map(math.isfinite, [*mean, *std])) or min(std, default=0.0) <= 0:
            raise ConfigError(
                f"mean {tuple(mean)} and std {tuple(std)} cannot normalise",
                expected="finite values, every std above 0",
            )
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))

    def forward(self, x: Float[Tensor, " batch *input"]) -> Float[Tensor, " batch *input"]:
        """Return normalised coordinates of inputs in [0, 1]; images are NCHW, vectors (batch, d)."""
        return (x - self._per_channel(self.mean, x)) / self._per_channel(self.std, x)

    def inverse(self, z: Float[Tensor, " batch *input"]) -> Float[Tensor, " batch *input"]:
        """Return the inputs whose normalised coordinates are `z`; they may lie outside [0, 1]."""
        return z * self._per_channel(self.std, z) + self._per_channel(self.mean, z)

    def _per_channel(self, values: Float[Tensor, " c"], x: Float[Tensor, " batch *input"]) -> Tensor:
        return values.view(-1, *[1] * (x.dim() - 2))  # (c, 1, 1) for images, (c,) for vectors


class Network(nn.Module):
    """A network for inputs in [0, 1], with normalisation as its first layer; a classifier or an encoder.

    Args:
        net: works in normalised coordinates, gives rows of `outputs` numbers.
        spec: canonical spec that rebuilds `net`, for example `resnet18:width=16`.
        input_shape: (channels, height, width), or (d,) for vectors.
        outputs: numbers a row: classes, or the width of an embedding.
        mean: per channel; for vectors, one value for all features is allowed too.
        std: per channel, > 0.

    Raises:
        ShapeError: the shape is none, or its channels do not fit `mean`.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        spec: str,
        input_shape: Sequence[int],
        outputs: int,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        self.spec = spec
        self.input_shape = check_shape(input_shape)
        self.outputs = outputs
        self.normalise = Normalise(mean, std)
        self.net = net
        channels = self.input_shape[0]
        if len(mean) != channels and not (len(self.input_shape) == 1 and len(mean) == 1):
            raise ShapeError(
                f"mean and std have {len(mean)} values for {channels} channels",
                expected=f"{channels} values each",
            )

    def forward(self, x: Float[Tensor, " batch *input"]) -> Float[Tensor, "batch outputs"]:
        """Return the rows for inputs in [0, 1], shape (batch, *input_shape)."""
        rows: Tensor = self.net(self.normalise(x))
        return rows


def check_shape(input_shape: Sequence[int]) -> tuple[int, ...]:
    """Return the input shape as a tuple.

    Raises:
        ShapeError: it is neither (channels, height, width) nor (d,), or a size is below 1.
    """
    shape = tuple(int(size) for size in input_shape)
    if len(shape) not in (1, 3) or min(shape) < 1:
        raise ShapeError(f"{shape} is no input shape", expected="(channels, height, width), or (d,) for vectors")
    return shape
