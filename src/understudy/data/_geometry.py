"""Crops, mirrors and blurs of a batch, each a small matrix per image from the left and one from the right."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


def crop_and_resize(
    x: Float[Tensor, "b c h w"], boxes: Int64[Tensor, "b 4"], mirrored: Bool[Tensor, " b"]
) -> Float[Tensor, "b c h w"]:
    """Return each image's crop, resized to the size of the image, then mirrored left to right where asked.

    The resizing is Pillow's bilinear filter: pixel centres at half integers, coordinates clamped inside the crop
    (Pillow crops first, so nothing outside the crop is ever seen). A crop is never larger than its image, so
    there is nothing to smooth. What a crop sees outside the image is black.

    Args:
        x: images in [0, 1]. Shape (b, c, h, w).
        boxes: top, left, height and width of each crop in pixels. Shape (b, 4).
        mirrored: which crops are mirrored. Shape (b,).
    """
    top, left, tall, wide = boxes.unbind(1)
    rows = _resizing(top, tall, x.shape[2], torch.zeros_like(mirrored))
    columns = _resizing(left, wide, x.shape[3], mirrored)
    return (rows[:, None] @ x @ columns[:, None].mT).clamp_(0, 1)  # weights add up to 1 but for rounding


def _resizing(
    start: Int64[Tensor, " b"], length: Int64[Tensor, " b"], size: int, mirrored: Bool[Tensor, " b"]
) -> Float[Tensor, "b size size"]:
    """Return the matrices that resize `length` pixels from `start` on to `size` pixels, with linear weights."""
    pixel = torch.arange(size, device=start.device, dtype=torch.float32)
    first, scale = start[:, None].float(), (length / size)[:, None].float()
    place = ((pixel + 0.5) * scale - 0.5).clamp(min=0).minimum(length[:, None] - 1.0)  # (b, size), inside the crop
    place = torch.where(mirrored[:, None], place.flip(1), place) + first
    return (1 - (place[:, :, None] - pixel).abs_()).clamp_(min=0)


def gaussian_blur(x: Float[Tensor, "b c h w"], radius: Float[Tensor, " b"]) -> Float[Tensor, "b c h w"]:
    """Return each image blurred as by Pillow's `GaussianBlur(radius)`, with the pixels at the edge repeated.

    Pillow takes three box filters in a row for the Gaussian (Gwosdek et al., SSVM 2011), and so does this.

    Args:
        x: images in [0, 1]. Shape (b, c, h, w).
        radius: standard deviation of the Gaussian in pixels, >= 0. Shape (b,).
    """
    rows, columns = (_blurring(radius, size)[:, None] for size in x.shape[2:])
    return (rows @ x @ columns.mT).clamp_(0, 1)


def _blurring(radius: Float[Tensor, " b"], size: int) -> Float[Tensor, "b size size"]:
    variance = radius.square() / 3  # of each of the three passes
    whole = (((12 * variance + 1).sqrt() - 1) / 2).floor()  # eq. 7 and 11
    part = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - (whole + 1).square()))  # eq. 14
    length = (2 * (whole + part) + 1)[:, None, None]
    pixel = torch.arange(size, device=radius.device, dtype=torch.float32)
    # Share of the box around pixel i that lies left of the border j | j+1; beyond the edges all or nothing.
    borders = (pixel[:-1] - pixel[:, None] + 0.5 + length / 2).clamp_(min=0).minimum(length) / length
    one_pass = torch.diff(torch.nn.functional.pad(borders, (1, 0)), dim=2)
    last = 1 - borders[:, :, -1:] if size > 1 else torch.ones_like(length)
    box = torch.cat((one_pass, last), dim=2)
    return box @ box @ box
