"""What every architecture is: a frozen set of bounded options that builds a network."""

from typing import Annotated, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from torch import nn

from understudy.errors import ShapeError


def _split(value: object) -> object:
    return value.split("-") if isinstance(value, str) else value


Width = Annotated[int, Field(ge=1, le=4096)]
"""Channels or units of one layer."""

Widths = Annotated[tuple[Width, ...], BeforeValidator(_split), Field(min_length=1, max_length=12)]
"""Channels or units of each layer; in a spec they are joined by hyphens, `32-64-128`."""


class Architecture(BaseModel):
    """A named family of networks; the fields are its options.

    A default is part of the file format: model.json leaves it out, so it must never change.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    name: ClassVar[str]

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Return the network for normalised inputs of this shape; its logits have shape (batch, classes).

        Its parameters are not initialised: `understudy.models.build.initialise` does that.

        Raises:
            ShapeError: this architecture cannot take inputs of this shape.
            ConfigError: an option does not fit the shape.
        """
        raise NotImplementedError


def image_shape(architecture: Architecture, input_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return (channels, height, width).

    Raises:
        ShapeError: the inputs are vectors.
    """
    if len(input_shape) != 3:
        raise ShapeError(
            f"{architecture.name!r} needs images, not vectors of {input_shape[0]} features",
            expected="an input shape of (channels, height, width)",
            fix="use 'mlp' for vectors",
        )
    channels, height, width = input_shape
    return channels, height, width
