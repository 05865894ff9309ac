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

    @property
    def views(self) -> int:
        """Number of views of an image that have a number: each crop, mirrored or not, whether `flip` is on or off."""
        return 2 * self._places**2

    @property
    def _places(self) -> int:
        return 2 * self.crop_padding + 1

    def draw(
        self, size: int, generator: torch.Generator
    ) -> tuple[Int64[Tensor, " b"], Int64[Tensor, " b"], Bool[Tensor, " b"]]:
        """Return first rows, first columns and mirror flags of so many crops, on the generator's device."""
        device = generator.device
        top, left = torch.randint(self._places, (2, size), generator=generator, device=device)
        mirrored = torch.rand(size, generator=generator, device=device) < 0.5 * self.flip
        return top, left, mirrored

    def number(
        self, top: Int64[Tensor, " b"], left: Int64[Tensor, " b"], mirrored: Bool[Tensor, " b"]
    ) -> Int64[Tensor, " b"]:
        """Return the numbers of views, 0 to `views` - 1; without padding and flip all are 0."""
        return (top * self._places + left) * 2 + mirrored

    def place(self, view: Int64[Tensor, " b"]) -> tuple[Int64[Tensor, " b"], Int64[Tensor, " b"], Bool[Tensor, " b"]]:
        """Return first rows, first columns and mirror flags of views: what `number` takes."""
        corner = view // 2
        return corner // self._places, corner % self._places, view % 2 == 1

    @property
    def plain(self) -> int:
        """Number of the view that is the image itself: neither moved nor mirrored."""
        return (self.crop_padding * self._places + self.crop_padding) * 2


@dataclass(frozen=True, eq=False)
class Batch:
    """Images in [0, 1], channels-last in memory, with their labels and their rows in the data set."""

    x: Float[Tensor, "b c h w"]
    labels: Int64[Tensor, " b"]
    indices: Int64[Tensor, " b"]
    rows_cpu: Int64[Tensor, " b"]
    """`indices` on the CPU, where they can be read without waiting for the device."""
    view: Int64[Tensor, " b"]
    """Which crop and mirror image of its row each image is, by `Augment.number`; on the CPU."""


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
        self._shuffle = Shuffle(len(data), batch_size=batch_size, seed=seed, name="order")
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
        rows = self._shuffle.at(step, rank=rank, world=world)
        indices = uploaded(rows, self.data.images.device)
        images, view = self._augmented(self.data.images[indices], step, self._shuffle.share(rank, world))
        return Batch(as_float(images), self.data.labels[indices], indices, rows, view)

    def keys(self, steps: int) -> Int64[Tensor, " m"]:
        """Return what the first so many steps look at, row * views + view, ascending, each once; on the CPU.

        Args:
            steps: of the run, over all processes. No image is touched.
        """
        views, found = self._augment.views, []
        for step in range(steps):
            rows = self._shuffle.at(step).cpu()
            view = torch.zeros_like(rows)
            if self._augment != Augment():
                view = self._augment.number(*self._augment.draw(self.batch_size, self._draws(step)))
            found.append(rows * views + view)
        return distinct(*found)

    def _draws(self, step: int) -> torch.Generator:
        return stream(self._seed, "augment", step=step)

    def _augmented(
        self, images: UInt8[Tensor, "b c h w"], step: int, mine: slice
    ) -> tuple[UInt8[Tensor, "b c h w"], Int64[Tensor, " b"]]:
        if self._augment == Augment():
            return images, torch.zeros(len(images), dtype=torch.int64)
        # Drawn on the CPU, so that views have their numbers there and no device changes a draw; and drawn for the
        # global batch and then sliced, so that the number of processes changes none either.
        drawn = self._augment.draw(self.batch_size, self._draws(step))
        top, left, mirrored = (values[mine] for values in drawn)
        view = self._augment.number(top, left, mirrored)
        places = uploaded(torch.stack([top, left, mirrored.long()]), images.device)
        padding = self._augment.crop_padding
        return crop_and_flip(images, places[0], places[1], places[2].bool(), padding=padding), view


def distinct(*keys: Int64[Tensor, " _"]) -> Int64[Tensor, " m"]:
    """Return all keys, ascending, each once."""
    ordered = torch.cat([torch.zeros(0, dtype=torch.int64), *keys]).sort().values
    again = torch.zeros(len(ordered), dtype=torch.bool)
    again[1:] = ordered[1:] == ordered[:-1]
    return ordered[~again]


def uploaded(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on `device`, without waiting for what the device is still at work on."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()  # from pageable memory, the copy waits for the stream
    return tensor.to(device, non_blocking=True)


def seen_as(
    data: ImageSet, rows: Int64[Tensor, " b"], view: Int64[Tensor, " b"], augment: Augment
) -> Float[Tensor, "b c h w"]:
    """Return numbered views of rows as `Batches` makes them: in [0, 1], channels-last, where the data are.

    Args:
        data: the images.
        rows: which, on the CPU. Shape (b,).
        view: the view of each, by `Augment.number`, on the CPU. Shape (b,).
        augment: what the numbers are of.
    """
    device = data.images.device
    images = data.images[uploaded(rows, device)]
    top, left, mirrored = (uploaded(values, device) for values in augment.place(view))
    return as_float(crop_and_flip(images, top, left, mirrored, padding=augment.crop_padding))


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
