"""Random views of images in batches, on the device: drawn apart from being applied, so that draws can be replayed."""

from typing import Annotated

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, model_validator
from torch import Tensor

from understudy.data._colour import grey, jitter, solarise
from understudy.data._geometry import crop_and_resize, gaussian_blur
from understudy.data._randaugment import OPERATIONS, randaugment
from understudy.data._view_parameters import ViewParameters, draw_crops, draw_padded_crops
from understudy.errors import ShapeError

Probability = Annotated[float, Field(ge=0, le=1)]
AreaFraction = Annotated[float, Field(gt=0, le=1)]
Aspect = Annotated[float, Field(gt=0)]
_BLOCK_NUMBERS = 1 << 18  # numbers worked on at a time by a CPU: 1 MB, which its caches hold


class Views(BaseModel):
    """A distribution of views: RandAugment, crop, flip, colour jitter, grey, blur and solarise, in this order.

    Each is equal in distribution to the transform of its name in Pillow and torchvision on 8-bit images, but for
    rounding: from the crop on numbers stay in float32. Without options a view is the image itself. In grey images
    hue, saturation and greyscale change nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    crop_area: tuple[AreaFraction, AreaFraction] = (1.0, 1.0)
    """Lowest and highest share of the image's area in a crop, which is resized to the image's size."""
    crop_ratio: tuple[Aspect, Aspect] = (1.0, 1.0)
    """Lowest and highest width over height of a crop, uniform on a logarithmic scale."""
    flip: Probability = 0.0
    """Probability of mirroring left to right."""
    jitter: Probability = 0.0
    """Probability of changing the colours: the next four, in random order."""
    brightness: NonNegativeFloat = 0.0
    """Largest change of the brightness factor from 1; no factor is below 0."""
    contrast: NonNegativeFloat = 0.0
    """Largest change of the contrast factor from 1."""
    saturation: NonNegativeFloat = 0.0
    """Largest change of the saturation factor from 1."""
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Largest turn of the hue, in turns of the colour circle."""
    greyscale: Probability = 0.0
    """Probability of turning to grey."""
    blur: Probability = 0.0
    """Probability of a Gaussian blur."""
    blur_radius: tuple[NonNegativeFloat, NonNegativeFloat] = (0.1, 2.0)
    """Lowest and highest standard deviation of the blur, in pixels."""
    solarise: Probability = 0.0
    """Probability of inverting the bright pixels."""
    solarise_threshold: Annotated[int, Field(ge=0, le=256)] = 128
    """Grey level of 0 to 255 from which solarise inverts."""
    crop_padding: NonNegativeInt = 0
    """Black pixels added on every side before a crop of the image's size is taken; 0 for no such crop."""
    randaugment: NonNegativeInt = 0
    """Operations of RandAugment."""
    randaugment_magnitude: Annotated[int, Field(ge=0, le=30)] = 14
    """Magnitude of RandAugment's operations, of 30."""

    @model_validator(mode="after")
    def _is_possible(self) -> "Views":
        for name in ("crop_area", "crop_ratio", "blur_radius"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} starts at {low}, above its end {high}")
        if self.crop_padding and self._crops:
            raise ValueError("crop_padding and crop_area are two ways to crop: set one of them")
        return self

    @classmethod
    def extraction(cls, crop: float) -> "Views":
        """Return the views of RDA's released code at 32 pixels.

        Args:
            crop: area of the square crop, which is always the same: 0.9 for the target's views, 0.75 for the
                surrogate's.
        """
        return cls(crop_area=(crop, crop), blur=0.1, solarise=0.1, **{**_COLOURS, "hue": 0.2})

    @classmethod
    def simclr(cls) -> "Views":
        """Return the views with which RDA's target encoders were trained: SimCLR's, without blur."""
        return cls(crop_area=(0.08, 1), crop_ratio=(3 / 4, 4 / 3), **_COLOURS)

    @classmethod
    def stolen_encoder(cls) -> "Views":
        """Return the views of StolenEncoder's released code: flip, jitter and grey, and no crop."""
        return cls(**_COLOURS)

    @classmethod
    def randaugment_crop(cls) -> "Views":
        """Return the views of the Cont-Steal authors' code: two operations of RandAugment, padded crop and flip."""
        return cls(randaugment=2, randaugment_magnitude=14, crop_padding=4, flip=0.5)

    @property
    def _crops(self) -> bool:
        return self.crop_area != (1, 1) or self.crop_ratio != (1, 1)

    def draw(self, rows: int, shape: tuple[int, ...], generator: torch.Generator) -> ViewParameters:
        """Draw the parameters of views, on the generator's device.

        Args:
            rows: number of views.
            shape: (c, h, w) of the images.
            generator: where the randomness comes from; the same state gives the same draws.

        Raises:
            ConfigError: the padding is as large as the images.
            ShapeError: the shape is that of neither grey nor RGB images.
        """
        _check(shape)
        device, size = generator.device, (shape[1], shape[2])

        def uniform(*size: int) -> Float[Tensor, "..."]:
            return torch.rand(size, generator=generator, device=device)

        spreads = (self.brightness, self.contrast, self.saturation)
        low = torch.tensor([*(max(0.0, 1 - spread) for spread in spreads), -self.hue], device=device)
        high = torch.tensor([*(1 + spread for spread in spreads), self.hue], device=device)
        smallest, largest = self.blur_radius
        return ViewParameters(
            boxes=draw_padded_crops(rows, size, generator, padding=self.crop_padding)
            if self.crop_padding
            else draw_crops(rows, size, generator, area=self.crop_area, ratio=self.crop_ratio),
            mirrored=uniform(rows) < self.flip,
            jittered=uniform(rows) < self.jitter,
            order=uniform(rows, 4).argsort(stable=True),
            factors=low + (high - low) * uniform(rows, 4),
            greyed=uniform(rows) < self.greyscale,
            radius=(smallest + (largest - smallest) * uniform(rows)) * (uniform(rows) < self.blur),
            solarised=uniform(rows) < self.solarise,
            operations=(uniform(rows, self.randaugment) * len(OPERATIONS)).long(),
            reversed=uniform(rows, self.randaugment) < 0.5,
            places=uniform(rows, self.randaugment, 2),
        )

    def apply(
        self, images: Float[Tensor, "b c h w"] | UInt8[Tensor, "b c h w"], parameters: ViewParameters
    ) -> Float[Tensor, "b c h w"]:
        """Return the views of the images, one each: a function of image and parameters, row by row.

        Args:
            images: grey or RGB images, in [0, 1] or 0..255. Shape (b, c, h, w).
            parameters: b rows, on the images' device.

        Returns:
            float32 in [0, 1], channels-last in memory.

        Raises:
            ShapeError: images neither grey nor RGB, or not one row of parameters an image.
        """
        _check(tuple(images.shape[1:]))
        if len(parameters) != len(images):
            raise ShapeError(f"{len(parameters)} views were drawn for {len(images)} images", expected="one an image")
        views = torch.empty(images.shape, device=images.device, memory_format=torch.channels_last)
        block = _BLOCK_NUMBERS // images.shape[1:].numel() if images.device.type == "cpu" else len(images)
        for start in range(0, len(images), max(block, 1)):
            rows = slice(start, start + max(block, 1))
            views[rows] = self._apply(images[rows], parameters.take(rows))
        return views

    def _apply(self, images: Tensor, drawn: ViewParameters) -> Float[Tensor, "b c h w"]:
        x = images.to(torch.float32, memory_format=torch.contiguous_format, copy=True)
        if images.dtype == torch.uint8:
            x.div_(255)
        if self.randaugment:
            x = randaugment(x, drawn.operations, drawn.reversed, drawn.places, magnitude=self.randaugment_magnitude)
        if self._crops or self.crop_padding:
            x = crop_and_resize(x, drawn.boxes, drawn.mirrored)
        elif self.flip:
            rows = _where(drawn.mirrored)
            x[rows] = x[rows].flip(3)
        if self.jitter:
            rows = _where(drawn.jittered)
            x[rows] = jitter(x[rows], drawn.order[rows], drawn.factors[rows])
        if self.greyscale:
            rows = _where(drawn.greyed)
            x[rows] = grey(x[rows]).expand_as(x[rows])
        if self.blur:
            rows = _where(drawn.radius > 0)
            x[rows] = gaussian_blur(x[rows], drawn.radius[rows])
        if self.solarise:
            rows = _where(drawn.solarised)
            x[rows] = solarise(x[rows], self.solarise_threshold)
        return x


_COLOURS = {
    "flip": 0.5,
    "jitter": 0.8,
    "brightness": 0.4,
    "contrast": 0.4,
    "saturation": 0.4,
    "hue": 0.1,
    "greyscale": 0.2,
}


def _where(drawn: Bool[Tensor, " b"]) -> Int64[Tensor, " n"]:
    return drawn.nonzero()[:, 0]


def _check(shape: tuple[int, ...]) -> None:
    if len(shape) != 3 or shape[0] not in (1, 3) or 0 in shape:
        raise ShapeError(f"views of inputs of shape {tuple(shape)}", expected="grey or RGB images, (1 or 3, h, w)")
