"""What is wrong with the inputs of an attack, in the user's words."""

import math

import torch
from torch import Tensor

from understudy.errors import ConfigError, DataError, ShapeError


def check_images(x: Tensor, *, values: bool) -> None:
    """Check that images are float32 or float64 and, if `values`, lie in [0, 1].

    Raises:
        ShapeError: they are no floating numbers, or too coarse: bf16 is spaced by half a step of 2/255.
        DataError: a pixel is outside [0, 1], NaN or infinite.
    """
    if x.dtype not in (torch.float32, torch.float64) or x.ndim < 2:
        raise ShapeError(
            f"an attack cannot work on images of {x.dtype} and shape {tuple(x.shape)}",
            expected="float32 or float64, of shape (batch, ...)",
            fix="leave images and perturbation in float32; the network may compute in bf16 inside",
        )
    if not values or x.numel() == 0:
        return
    lowest, highest = (float(value) for value in torch.aminmax(x.detach()))
    if lowest >= 0 and highest <= 1:  # false for NaN
        return
    if math.isfinite(lowest) and math.isfinite(highest):
        scale = "divide the pixels by 255" if lowest >= 0 and 2 < highest <= 255 else ""
        raise DataError(
            f"images hold pixels outside [0, 1]: from {lowest:g} to {highest:g}",
            expected="pixels in [0, 1]; an epsilon means nothing in other units",
            fix=scale or "hand over the images as they are; normalisation is the model's first layer",
        )
    raise DataError("images hold NaN or infinite pixels", expected="pixels in [0, 1]", fix="look at the data set")


def check_begin(begin: Tensor | None, x: Tensor) -> None:
    """Check that points to start from fit the images.

    Raises:
        ShapeError: they are of another shape or dtype.
    """
    if begin is not None and (begin.shape != x.shape or begin.dtype != x.dtype):
        raise ShapeError(
            f"the attack cannot begin from points of shape {tuple(begin.shape)} and {begin.dtype}",
            expected=f"those of the images, {tuple(x.shape)} and {x.dtype}",
        )


def check_labels(labels: Tensor | None, x: Tensor) -> None:
    """Check that a search knows the true classes.

    Raises:
        ConfigError: there are none.
        ShapeError: there are more or fewer than images.
    """
    if labels is None:
        raise ConfigError("restarts and early exit need the labels, to see which samples fell", fix="pass labels=")
    if labels.shape != x.shape[:1]:
        raise ShapeError(
            f"{len(x)} images and labels of shape {tuple(labels.shape)}", expected="one label for each image"
        )
