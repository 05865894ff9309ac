"""Colour changes of a batch, each Pillow's own on numbers in [0, 1] that are not rounded to grey levels between."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)  # the columns of `order` and `factors`
_GREY = (0.299, 0.587, 0.114)  # ITU-R 601-2, as Pillow's mode L


def grey(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 h w"]:
    """Return the luminance of colour images by ITU-R 601-2, or grey images as they are."""
    if x.shape[1] == 1:
        return x
    luminance = x[:, :1] * _GREY[0]
    return luminance.add_(x[:, 1:2], alpha=_GREY[1]).add_(x[:, 2:], alpha=_GREY[2])


def jitter(
    x: Float[Tensor, "b c h w"], order: Int64[Tensor, "b 4"], factors: Float[Tensor, "b 4"]
) -> Float[Tensor, "b c h w"]:
    """Return images with brightness, contrast, saturation and hue changed, each image in an order of its own.

    The first three blend the image with black, with the mean of its grey image and with its grey image:
    factor 1 changes nothing. The mean is not rounded to a grey level, as Pillow's is. The fourth turns the hue.
    Grey images have neither saturation nor hue.

    Args:
        x: images in [0, 1]. Shape (b, c, h, w).
        order: a permutation of 0..3 a row; column 0 names the change that comes first. Shape (b, 4).
        factors: factors of brightness, contrast and saturation, >= 0, and the turn of the hue in turns.
    """
    blends = torch.where(torch.arange(4, device=x.device) == HUE, 1.0, factors)  # the hue is no blend
    for change in order.unbind(1):
        x = _blend(x, change, blends.gather(1, change[:, None])[:, :, None, None])
        rows = (change == HUE).nonzero()[:, 0]
        if x.shape[1] == 3 and len(rows):
            x[rows] = turn_hue(x[rows], factors[rows, HUE])
    return x


def _blend(
    x: Float[Tensor, "b c h w"], change: Int64[Tensor, " b"], factor: Float[Tensor, "b 1 1 1"]
) -> Float[Tensor, "b c h w"]:
    kind, other = change[:, None, None, None], grey(x)
    plain = other.mean((2, 3), keepdim=True) * (kind == CONTRAST)
    other = torch.addcmul(plain, other, (kind == SATURATION).float()) * (1 - factor)
    return torch.addcmul(other, x, factor).clamp_(0, 1)


def turn_hue(x: Float[Tensor, "b 3 h w"], turns: Float[Tensor, " b"]) -> Float[Tensor, "b 3 h w"]:
    """Return images with the hue of each pixel turned, in the colours of HSV; value and saturation stay.

    Args:
        x: images in [0, 1]. Shape (b, 3, h, w).
        turns: share of the colour circle; 1/3 makes red green. Shape (b,).
    """
    red, green, blue = x.unbind(1)
    low, high = x.aminmax(dim=1)
    chroma = high - low
    safe = torch.where(chroma > 0, chroma, 1.0)
    sixth = torch.where(
        high == red,
        (green - blue) / safe,
        torch.where(high == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    sixth = (sixth + 6 * turns[:, None, None]).remainder_(6)
    shares = torch.stack(
        ((sixth - 3).abs_() - 1, 2 - (sixth - 2).abs_(), 2 - (sixth - 4).abs_()), dim=1
    )  # of the chroma in each channel
    return torch.addcmul(low[:, None], shares.clamp_(0, 1), chroma[:, None])


def solarise(x: Float[Tensor, "b c h w"], threshold: int) -> Float[Tensor, "b c h w"]:
    """Return images with the pixels inverted whose grey level, 0 to 255 and rounded, reaches the threshold."""
    return torch.where(x >= (threshold - 0.5) / 255, 1 - x, x)
