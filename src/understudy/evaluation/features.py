"""Features of images: what an encoder answers, and whether there is anything in it."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from understudy.data import ImageSet, as_float, check_fits
from understudy.errors import DataError, DivergenceError, ShapeError
from understudy.evaluation._forward import answering, device_of
from understudy.evaluation.statistics import Interval, mean_interval

# Two directions closer than this are one: ten times what float32 loses in a deep network, and far less than
# any probe can tell apart.
SAME_DIRECTION = 1e-4


def embed(network: nn.Module, data: ImageSet, *, batch_size: int = 512) -> Float[Tensor, "n d"]:
    """Return a network's answers on all rows, in order, raw (not of unit length), as float32 on the CPU.

    Args:
        network: takes float32 images in [0, 1], NCHW, and gives one row of numbers an image; an encoder's
            embeddings or a classifier's logits. It runs in eval mode, and is left in the modes it is found in.
        data: the images; their labels are not looked at.
        batch_size: rows of one forward pass, 1 or more; it changes nothing beyond rounding.

    Raises:
        ShapeError: the images do not fit the network, or its answers are not (rows, width).
        DivergenceError: an answer is NaN or infinite.
    """
    shape = getattr(network, "input_shape", data.shape)
    check_fits(data, input_shape=shape, classes=len(data.classes), what="the encoder")
    device = device_of(network)
    with answering(network):
        batches = torch.split(data.images, batch_size)
        parts = [network(as_float(images.to(device))).float().cpu() for images in batches]
    features = torch.cat(parts)  # outside inference mode, so that a probe may be trained on it
    if features.ndim != 2 or len(features) != len(data):
        raise ShapeError(f"the encoder answers with shape {tuple(features.shape)}", expected=f"({len(data)}, width)")
    check_finite(features, what=f"the encoder on {data.name}, split {data.split}")
    return features


def unit(x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Return rows of length 1, z / max(||z||, 1e-12); a row of zeros stays one."""
    lengths: Tensor = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return x / lengths.clamp_min(1e-12)


def fidelity(a: Float[Tensor, "n d"], b: Float[Tensor, "rows width"]) -> Interval:
    """Return the mean cosine between two encoders' features of the same images, with a 95 % interval over the rows.

    The interval is Student's t over the rows' cosines, cut to [-1, 1]. A row of zeros has cosine 0 with everything.
    Two encoders that carry no information agree trivially: ask `carries_information` of the target first.

    Args:
        a: features of one encoder, of any length.
        b: features of the other, row by row of the same images. Same shape.

    Raises:
        ShapeError: the two are not of one shape.
        DataError: fewer than two rows.
        DivergenceError: a feature is NaN or infinite.
    """
    if a.shape != b.shape:
        raise ShapeError(
            f"features of shape {tuple(a.shape)} and {tuple(b.shape)}",
            expected="the same rows and the same width",
            fix="compare the encoder with its matching head, or pool the wider answers first",
        )
    if len(a) < 2:
        raise DataError(f"{len(a)} rows have no spread", expected="two images or more")
    check_finite(a, what="fidelity")
    check_finite(b, what="fidelity")
    cosines = (unit(a.double()) * unit(b.double())).sum(1)
    found = mean_interval(cosines.tolist())
    value, low, high = (min(max(end, -1.0), 1.0) for end in (found.value, found.low, found.high))
    return Interval(value, low, high, found.n)


def carries_information(features: Float[Tensor, "n d"]) -> bool:
    """Return whether an encoder tells any two images apart: whether two rows differ in direction.

    A constant encoder scores a fidelity of 1 with every constant copy. Its owner should read "the target carries
    no information", and not "extracted". Lengths do not count, and directions that differ by less than 1e-4 are one.

    Args:
        features: raw or unit rows of different images; the more, the safer. One row alone carries none.

    Raises:
        DivergenceError: a feature is NaN or infinite.
    """
    check_finite(features, what="features")
    directions = unit(features.double())
    return bool(len(features)) and (directions - directions[0]).norm(dim=1).max().item() > SAME_DIRECTION


def check_finite(features: Float[Tensor, "n d"], *, what: str) -> None:
    """Refuse rows with NaN or infinity with a `DivergenceError` that counts them."""
    broken = int((~features.isfinite()).any(1).sum())
    if broken:
        raise DivergenceError(
            f"{broken} of {len(features)} rows of features hold NaN or infinity",
            where=what,
            fix="check the encoder's weights; train it again with a smaller learning rate or in float32",
        )
