"""RandAugment (Cubuk et al., CVPR Workshops 2020) on batches, in the form of its most used PyTorch port.

The port is `ildoonet/pytorch-randaugment`, which the Cont-Steal authors' code imports: 16 operations, each drawn
with equal chance and with replacement, of one fixed magnitude m of 30 between the ends of the operation's range.
The port's oddities are kept: Posterize leaves int(4m/30) bits (at least 1, where recent versions of Pillow refuse
and older ones gave black), so that a higher magnitude does less; so do Solarize and, below m = 15, the four
enhancements, whose factor 0.1 + 1.8m/30 is 0.94 at m = 14. Shifts and
cut-outs, there in pixels of images of 224, are scaled here with the size of the image. What is moved in is black.

Unlike the other steps this one works on whole grey levels, rounded as Pillow rounds them: two of its operations
are made from histograms.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from understudy.data._colour import grey

_SIZE = 224  # of the images that the port's shifts (100 px) and cut-outs (40 px) are meant for
_CUT_OUT = (125.0, 123.0, 114.0)  # the colour of what is cut out


def auto_contrast(x: Float[Tensor, "b c h w"], _: float) -> Float[Tensor, "b c h w"]:
    """Stretch each channel to 0..255."""
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    return torch.where(high > low, ((x - low) * (255 / (high - low).clamp(min=1)) + 1e-3).floor(), x)


def equalise(x: Float[Tensor, "b c h w"], _: float) -> Float[Tensor, "b c h w"]:
    """Map each channel so that its grey levels are used equally often."""
    levels = x.flatten(2).long()  # (b, c, h * w)
    channel = torch.arange(levels[:, :, 0].numel(), device=x.device).reshape(levels.shape[:2])
    counts = torch.bincount((levels + 256 * channel[:, :, None]).flatten(), minlength=256 * channel.numel())
    counts = counts.reshape(*channel.shape, 256)
    brightest = counts.gather(2, levels.amax(2, keepdim=True))
    step = (levels.shape[2] - brightest) // 255
    below = counts.cumsum(2) - counts
    table = ((step // 2 + below) // step.clamp(min=1)).clamp(max=255)
    mapped = torch.where(step > 0, table.gather(2, levels), levels)
    return mapped.to(x.dtype).reshape(x.shape)


def invert(x: Float[Tensor, "b c h w"], _: float) -> Float[Tensor, "b c h w"]:
    """Return the negative."""
    return 255 - x


def posterise(x: Float[Tensor, "b c h w"], strength: float) -> Float[Tensor, "b c h w"]:
    """Keep the highest bits."""
    return x - x.remainder(2 ** (8 - max(1, int(4 * strength))))


def solarise(x: Float[Tensor, "b c h w"], strength: float) -> Float[Tensor, "b c h w"]:
    """Invert the bright pixels."""
    return torch.where(x >= 256 * strength, 255 - x, x)


def solarise_add(x: Float[Tensor, "b c h w"], strength: float) -> Float[Tensor, "b c h w"]:
    """Brighten by a number, then invert the bright half."""
    brighter = (x + int(110 * strength)).clamp(max=255)
    return torch.where(brighter >= 128, 255 - brighter, brighter)


def colour(x: Float[Tensor, "b c h w"], strength: float) -> Float[Tensor, "b c h w"]:
    """Blend with the grey image."""
    return _blend((grey(x) + 0.5).floor(), x, strength)


def contrast(x: Float[Tensor, "b c h w"], strength: float) -> Float[Tensor, "b c h w"]:
    """Blend with the mean grey level."""
    return _blend(((grey(x) + 0.5).floor().mean((1, 2, 3), keepdim=True) + 0.5).floor(), x, strength)


def brightness(x: Float[Tensor, "b c h w"], strength: float) -> Float[Tensor, "b c h w"]:
    """Blend with black."""
    return _blend(torch.zeros_like(x[:, :, :1, :1]), x, strength)


def sharpness(x: Float[Tensor, "b c h w"], strength: float) -> Float[Tensor, "b c h w"]:
    """Blend with a smoothed image, whose outermost pixels are the image's own."""
    if min(x.shape[2:]) < 3:
        return x
    smooth = x.clone()
    sums = functional.avg_pool2d(x, 3, stride=1) * 9  # of each pixel and its eight neighbours
    smooth[:, :, 1:-1, 1:-1] = ((sums + 4 * x[:, :, 1:-1, 1:-1]) / 13 + 0.5).floor()
    return _blend(smooth, x, strength)


def _blend(other: Tensor, x: Tensor, strength: float) -> Float[Tensor, "b c h w"]:
    return (other + (0.1 + 1.8 * strength) * (x - other)).clamp_(0, 255).floor_()


_COLOUR_OPERATIONS: tuple[Callable[[Tensor, float], Tensor], ...] = (
    auto_contrast,
    equalise,
    invert,
    posterise,
    solarise,
    solarise_add,
    colour,
    contrast,
    brightness,
    sharpness,
)
ROTATE, SHEAR_X, SHEAR_Y, TRANSLATE_X, TRANSLATE_Y, CUT_OUT = range(
    len(_COLOUR_OPERATIONS), len(_COLOUR_OPERATIONS) + 6
)
OPERATIONS = (
    *(operation.__name__ for operation in _COLOUR_OPERATIONS),
    *("rotate", "shear_x", "shear_y", "translate_x", "translate_y", "cut_out"),
)
"""Names of the operations by number."""


def randaugment(
    x: Float[Tensor, "b c h w"],
    operations: Int64[Tensor, "b k"],
    backwards: Bool[Tensor, "b k"],
    places: Float[Tensor, "b k 2"],
    *,
    magnitude: int,
) -> Float[Tensor, "b c h w"]:
    """Return images after k operations each.

    Args:
        x: images in [0, 1], rounded to grey levels first. Shape (b, c, h, w).
        operations: numbers into `OPERATIONS`, the first first. Shape (b, k).
        backwards: whether a turn, shear or shift goes the other way. Shape (b, k).
        places: centre of a cut-out, as shares of height and width. Shape (b, k, 2).
        magnitude: m of 30.
    """
    x, strength = (x * 255).round_(), magnitude / 30
    for chosen, away, place in zip(operations.unbind(1), backwards.unbind(1), places.unbind(1), strict=True):
        for number, operation in enumerate(_COLOUR_OPERATIONS):
            rows = (chosen == number).nonzero()[:, 0]
            if len(rows):
                x[rows] = operation(x[rows], strength)
        rows = ((chosen >= ROTATE) & (chosen <= TRANSLATE_Y)).nonzero()[:, 0]
        if len(rows):
            signed = torch.where(away[rows], -strength, strength)
            x[rows] = _moved(x[rows], _matrices(chosen[rows], signed, x.shape[2], x.shape[3]))
        rows = (chosen == CUT_OUT).nonzero()[:, 0]
        if len(rows):
            x[rows] = _cut_out(x[rows], place[rows], strength)
    return x / 255


def _matrices(
    chosen: Int64[Tensor, " b"], strength: Float[Tensor, " b"], height: int, width: int
) -> Float[Tensor, "b 2 3"]:
    """Return the affine maps from places in the result to places in the image, in pixels from the centre."""
    turn = torch.deg2rad(30 * strength * (chosen == ROTATE))
    shear = 0.3 * strength
    shift = 100 / _SIZE * strength
    first = (turn.cos(), shear * (chosen == SHEAR_X) - turn.sin(), width * shift * (chosen == TRANSLATE_X))
    second = (shear * (chosen == SHEAR_Y) + turn.sin(), turn.cos(), height * shift * (chosen == TRANSLATE_Y))
    matrices = torch.stack((torch.stack(first, dim=1), torch.stack(second, dim=1)), dim=1)
    # Turns are about the centre, shears about the upper left corner.
    corner = torch.tensor([width / 2, height / 2], device=strength.device)
    offset = (shear[:, None] * corner.flip(0)) * torch.stack((chosen == SHEAR_X, chosen == SHEAR_Y), dim=1)
    matrices[:, :, 2] += offset
    return matrices


def _moved(x: Float[Tensor, "b c h w"], matrices: Float[Tensor, "b 2 3"]) -> Float[Tensor, "b c h w"]:
    """Return the nearest pixel of the image at each mapped place, black outside."""
    batch, channels, height, width = x.shape
    row = torch.arange(height, device=x.device)[:, None] + 0.5 - height / 2
    column = torch.arange(width, device=x.device) + 0.5 - width / 2
    here = torch.stack((column.expand(height, -1), row.expand(-1, width), torch.ones(height, width, device=x.device)))
    there = (matrices @ here.flatten(1)).reshape(batch, 2, height, width)  # (b, 2, h, w)
    source_column, source_row = (there[:, 0] + width / 2).floor().long(), (there[:, 1] + height / 2).floor().long()
    inside = (source_column >= 0) & (source_column < width) & (source_row >= 0) & (source_row < height)
    pixels = (source_row * width + source_column).where(inside, 0).reshape(batch, 1, -1).expand(-1, channels, -1)
    return x.flatten(2).gather(2, pixels).reshape(x.shape) * inside[:, None]


def _cut_out(x: Float[Tensor, "b c h w"], places: Float[Tensor, "b 2"], strength: float) -> Float[Tensor, "b c h w"]:
    """Return images with a square of one colour at the places, cut off at the edges."""
    inside = []
    for size, share in zip(x.shape[2:], places.unbind(1), strict=True):
        side = 40 * strength * size / _SIZE
        first = (share * size - side / 2).clamp(min=0).floor()[:, None]
        pixel = torch.arange(size, device=x.device)
        inside.append((pixel >= first) & (pixel <= (first + side).floor()))
    colour_of = grey(torch.tensor(_CUT_OUT, device=x.device).reshape(1, 3, 1, 1))
    if x.shape[1] == 3:
        colour_of = torch.tensor(_CUT_OUT, device=x.device).reshape(1, 3, 1, 1)
    return torch.where((inside[0][:, :, None] & inside[1][:, None, :])[:, None], colour_of.round(), x)
