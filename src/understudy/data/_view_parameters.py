"""What is drawn for a view, and how crops are drawn."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from understudy.errors import ConfigError

_TRIES = 10  # of a crop that fits, before the largest central one is taken: as torchvision's RandomResizedCrop


@dataclass(frozen=True, eq=False)
class ViewParameters:
    """What was drawn for a number of views, one row a view.

    Args:
        boxes: top, left, height and width of the crop in pixels; partly outside the image where it is padded.
        mirrored: mirrored left to right.
        jittered: whether the colours are changed.
        order: the order of brightness (0), contrast (1), saturation (2) and hue (3).
        factors: their factors, and the turn of the hue in turns.
        greyed: turned to grey.
        radius: radius of the blur in pixels; 0 for none.
        solarised: solarised.
        operations: RandAugment's operations, as numbers of its list, in their order.
        reversed: whether a geometric one of them goes the other way.
        places: where one of them cuts out, as shares of height and width.
    """

    boxes: Int64[Tensor, "b 4"]
    mirrored: Bool[Tensor, " b"]
    jittered: Bool[Tensor, " b"]
    order: Int64[Tensor, "b 4"]
    factors: Float[Tensor, "b 4"]
    greyed: Bool[Tensor, " b"]
    radius: Float[Tensor, " b"]
    solarised: Bool[Tensor, " b"]
    operations: Int64[Tensor, "b k"]
    reversed: Bool[Tensor, "b k"]
    places: Float[Tensor, "b k 2"]

    def __len__(self) -> int:
        return len(self.boxes)

    def take(self, indices: Int64[Tensor, " n"] | slice) -> "ViewParameters":
        """Return the rows at `indices`, in that order."""
        return ViewParameters(**{field.name: getattr(self, field.name)[indices] for field in fields(self)})

    def to(self, device: torch.device | str) -> "ViewParameters":
        """Return the parameters on `device`."""
        return ViewParameters(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


def joined(parts: Sequence[ViewParameters]) -> ViewParameters:
    """Return the rows of all parts, one part after the other."""
    if len(parts) == 1:
        return parts[0]
    names = [field.name for field in fields(ViewParameters)]
    return ViewParameters(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})


def draw_crops(
    rows: int,
    size: tuple[int, int],
    generator: torch.Generator,
    *,
    area: tuple[float, float],
    ratio: tuple[float, float],
) -> Int64[Tensor, "b 4"]:
    """Draw crops by the rule of torchvision's `RandomResizedCrop`: top, left, height and width in pixels.

    Up to ten times an area (uniform) and an aspect (uniform on a logarithmic scale) are drawn; the first crop that
    fits is put at a uniformly random place. Where none fits, it is the largest central crop of an allowed aspect.

    Args:
        rows: number of crops.
        size: height and width of the image in pixels.
        generator: where the randomness comes from.
        area: lowest and highest share of the image's area.
        ratio: lowest and highest width over height.
    """
    height, width = size
    device = generator.device
    uniform = torch.rand(rows, 2 * _TRIES + 2, generator=generator, device=device)
    areas = height * width * (area[0] + (area[1] - area[0]) * uniform[:, :_TRIES])
    low, high = map(math.log, ratio)
    aspects = (low + (high - low) * uniform[:, _TRIES:-2]).exp()
    heights, widths = (areas / aspects).sqrt().round().long(), (areas * aspects).sqrt().round().long()
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    first, found = fits.int().argmax(1, keepdim=True), fits.any(1)  # of equal numbers argmax names the first
    tall, wide = _central_crop(height, width, ratio)
    tall_wide = torch.cat((heights.gather(1, first), widths.gather(1, first)), dim=1)
    tall_wide = tall_wide.where(found[:, None], torch.tensor([tall, wide], device=device))
    room = torch.tensor(size, device=device) - tall_wide
    top_left = (uniform[:, -2:] * (room + 1)).long().where(found[:, None], room // 2)
    return torch.cat((top_left, tall_wide), dim=1)


def _central_crop(height: int, width: int, ratio: tuple[float, float]) -> tuple[int, int]:
    """Return height and width of the largest crop whose aspect is allowed."""
    if width < ratio[0] * height:
        return round(width / ratio[0]), width
    if width > ratio[1] * height:
        return height, round(height * ratio[1])
    return height, width


def draw_padded_crops(
    rows: int, size: tuple[int, int], generator: torch.Generator, *, padding: int
) -> Int64[Tensor, "b 4"]:
    """Draw crops of the image's size out of the padded image, anywhere; places are those of the bare image.

    Raises:
        ConfigError: the padding is as large as the images.
    """
    if padding >= min(size):
        raise ConfigError(
            f"crop_padding is {padding} on images of {size[0]} x {size[1]} pixels",
            expected=f"less than {min(size)}, or a crop could miss the image",
        )
    device = generator.device
    places = torch.randint(-padding, padding + 1, (rows, 2), generator=generator, device=device)
    return torch.cat((places, torch.tensor([size], device=device).expand(rows, 2)), dim=1)
