"""Training batches made on the device: a batch is a function of (seed, step), whatever was drawn before."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional

from understudy.data.images import ImageSet, as_float
from understudy.data.shuffle import Shuffle
from understudy.errors import ConfigError
from understudy.runs.seeds import stream


@dataclass(frozen=True)
class Augment:
    """What is done to training images: the usual shift and mirror of small images.

    Args:
        crop_padding: each image is padded with this many black pixels on every side, and cropped back to its
            size at a random place. 0 turns it off; CIFAR's custom is 4.
        flip: mirror each image left to right with probability 1/2.

    Raises:
        ConfigError: the padding is negative.
    """

    crop_padding: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        if self.crop_padding < 0:
            raise ConfigError(f"crop_padding is {self.crop_padding}", expected="0 or more pixels")


@dataclass(frozen=True, eq=False)
class Batch:
    """Images in [0, 1], channels-last in memory, with their labels and their rows in the data set."""

    x: Float[Tensor, "b c h w"]
    labels: Int64[Tensor, " b"]
    indices: Int64[Tensor, " b"]


class Batches:
    """Endless shuffled batches; every row once an epoch, less a last batch that would not be full.

    Args:
        data: the images; moved to `device` once, as uint8.
        batch_size: rows of one global batch, over all processes. A smaller set is one batch as it is.
        seed: the run's seed.
        augment: what is done to the images; None for nothing.
        device: where batches are made; None for where the data are.

    Raises:
        ConfigError: the batch size is below 1, or the padding is as large as the images.
    """

    def __init__(
        self,
        data: ImageSet,
        *,
        batch_size: int,
        seed: int,
        augment: Augment | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        self._augment = augment or Augment()
        if self._augment.crop_padding >= min(data.shape[1:]):
            raise ConfigError(
                f"crop_padding is {self._augment.crop_padding} on images of shape {data.shape}",
                expected=f"less than {min(data.shape[1:])}, or a crop could miss the image",
            )
        self.data = data.to(device if device is not None else data.images.device)
        self._shuffle = Shuffle(
            len(data), batch_size=batch_size, seed=seed, name="order", device=self.data.images.device
        )
        self.batch_size, self.steps_per_epoch = self._shuffle.batch_size, self._shuffle.steps_per_epoch
        self._seed = seed

    def at(self, step: int, *, rank: int = 0, world: int = 1) -> Batch:
        """Return the batch of a step, or one process's contiguous share of it.

        The shares of all ranks, one after the other, are the batch that a single process gets.

        Args:
            step: step of the run, from 0; epochs follow one another.
            rank: this process, 0 to world - 1.
            world: number of processes.

        Raises:
            ConfigError: the global batch does not divide among the processes.
        """
        indices = self._shuffle.at(step, rank=rank, world=world)
        images = self._augmented(self.data.images[indices], step, self._shuffle.share(rank, world))
        return Batch(as_float(images), self.data.labels[indices], indices)

    def _augmented(self, images: UInt8[Tensor, "b c h w"], step: int, mine: slice) -> UInt8[Tensor, "b c h w"]:
        if self._augment == Augment():
            return images
        # Drawn for the global batch and then sliced, so that the number of processes changes no draw.
        generator = stream(self._seed, "augment", step=step, device=images.device)
        places, size = 2 * self._augment.crop_padding + 1, self.batch_size
        top, left = torch.randint(places, (2, size), generator=generator, device=images.device)[:, mine]
        mirrored = torch.rand(size, generator=generator, device=images.device) < 0.5 * self._augment.flip
        return crop_and_flip(images, top, left, mirrored[mine], padding=self._augment.crop_padding)


def crop_and_flip(
    images: UInt8[Tensor, "b c h w"],
    top: Int64[Tensor, " b"],
    left: Int64[Tensor, " b"],
    mirrored: Bool[Tensor, " b"],
    *,
    padding: int,
) -> UInt8[Tensor, "b c h w"]:
    """Return each image cropped out of its zero-padded self, then mirrored where asked, in one gather.

    Args:
        images: grey levels. Shape (b, c, h, w).
        top: first row of the crop in the padded image, 0 to 2 * padding. Shape (b,).
        left: first column of the crop, likewise.
        mirrored: which crops are mirrored left to right. Shape (b,).
        padding: black pixels added on every side.
    """
    batch, channels, height, width = images.shape
    padded = functional.pad(images, (padding,) * 4)
    row = torch.arange(height, device=images.device)
    column = torch.arange(width, device=images.device).expand(batch, -1)
    column = torch.where(mirrored[:, None], column.flip(1), column)
    rows = (top[:, None] + row)[:, :, None]  # (b, h, 1)
    columns = (left[:, None] + column)[:, None, :]  # (b, 1, w)
    pixels = rows * padded.shape[3] + columns  # (b, h, w), into a padded image laid out flat
    places = pixels.reshape(batch, 1, -1).expand(-1, channels, -1)
    return padded.flatten(2).gather(2, places).reshape(images.shape)
