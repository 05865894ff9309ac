"""Making images of one shape fit a network of another, and saying so."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from understudy.data.images import ImageSet
from understudy.errors import ShapeError

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow converts to grey
_VALUES = 16_000_000  # float32 values worked on at one time: 64 MB


def adapt(data: ImageSet, shape: Sequence[int]) -> ImageSet:
    """Return the images in another shape; the set itself where it has that shape already.

    Height and width are resized bilinearly with antialiasing, each by its own factor; grey is repeated in three
    channels, and colour becomes grey by its luma, 0.299 R + 0.587 G + 0.114 B. Grey levels are rounded once.

    Args:
        data: the images; labels, classes and name stay as they are.
        shape: (channels, height, width) that is wanted.

    Raises:
        ShapeError: the shape is none of an image, or its channels are neither those of the data nor grey for colour
            or colour for grey.
    """
    if data.shape == tuple(shape):
        return data
    _check(data.shape, shape, where=f"{data.name}, split {data.split}")
    channels, height, width = shape
    images = torch.empty((len(data), channels, height, width), dtype=torch.uint8, device=data.images.device)
    step = max(1, _VALUES // (max(channels, data.shape[0]) * max(height * width, data.shape[1] * data.shape[2])))
    for done, part in zip(torch.split(images, step), torch.split(data.images, step), strict=True):
        x = _with_channels(part.float(), channels)
        if (height, width) != data.shape[1:]:
            x = _resized(x, height, width)
        done.copy_(x.round().clamp(0, 255))
    return replace(data, images=images)


def adaptation(given: Sequence[int], wanted: Sequence[int]) -> str | None:
    """Return what `adapt` does to images of one shape to give another, in words; None for nothing.

    Raises:
        ShapeError: it cannot be done.

    Example:
        >>> adaptation((1, 28, 28), (3, 32, 32))
        'resized from 28 x 28 to 32 x 32 pixels (bilinear), grey repeated in three channels'
    """
    if tuple(given) == tuple(wanted):
        return None
    _check(given, wanted, where=None)
    done = []
    if tuple(given[1:]) != tuple(wanted[1:]):
        done.append(f"resized from {given[1]} x {given[2]} to {wanted[1]} x {wanted[2]} pixels (bilinear)")
    if given[0] != wanted[0]:
        done.append("grey repeated in three channels" if wanted[0] == 3 else "colour turned into grey (luma)")
    return ", ".join(done)


def _check(given: Sequence[int], wanted: Sequence[int], *, where: str | None) -> None:
    if len(wanted) != 3 or min(wanted) < 1:
        raise ShapeError(
            f"images cannot be given the shape {tuple(wanted)}", where=where, expected="(channels, height, width)"
        )
    if given[0] != wanted[0] and {given[0], wanted[0]} != {1, 3}:
        raise ShapeError(
            f"images of {given[0]} channels cannot be given {wanted[0]}",
            where=where,
            expected="the same number of channels, or grey and colour",
            fix="convert the images on file",
        )


def _resized(x: Float[Tensor, "b c given_h given_w"], height: int, width: int) -> Float[Tensor, "b c h w"]:
    if width == 1 < height:  # there torch 2.13 repeats the first row on the CPU; a lying image comes out right
        return _resized(x.mT, width, height).mT
    return functional.interpolate(x, (height, width), mode="bilinear", align_corners=False, antialias=True)


def _with_channels(x: Float[Tensor, "b given h w"], channels: int) -> Float[Tensor, "b wanted h w"]:
    if x.shape[1] == channels:
        return x
    if channels == 3:
        return x.expand(-1, 3, -1, -1)
    weights = torch.tensor(_LUMA, device=x.device).reshape(1, 3, 1, 1)
    return (x * weights).sum(1, keepdim=True)
