"""Labelled images as one uint8 tensor, checked once, here, so that nothing later has to ask."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from understudy.errors import DataError, ShapeError

Split = Literal["train", "test"]

UNLABELLED = ("unlabelled",)  # the classes of a set without labels, every label of which is 0


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one size with a class each; see `labelled` for sets without.

    Args:
        name: what the set is called in reports.
        split: "train" or "test".
        images: grey levels, 0 to 255. Shape (n, c, h, w), n >= 1.
        labels: class indices into `classes`. Shape (n,).
        classes: the names of the classes, in the order of their indices.

    Raises:
        ShapeError: images or labels have another shape or type, or not one label an image.
        DataError: there are no rows, or a label lies outside the classes.
    """

    name: str
    split: Split
    images: Tensor  # no shape in the types: this class is the check itself, and its errors are the user's
    labels: Tensor
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        where = f"{self.name}, split {self.split}"
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise ShapeError(
                f"images of type {self.images.dtype} and shape {tuple(self.images.shape)}",
                where=where,
                expected="uint8 of shape (n, c, h, w)",
            )
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise ShapeError(
                f"labels of type {self.labels.dtype} and shape {tuple(self.labels.shape)}",
                where=where,
                expected=f"int64 of shape ({len(self.images)},): one label an image",
            )
        if self.images.numel() == 0:
            raise DataError("the set is empty", where=where, expected="at least one image")
        check_labels(self, classes=len(self.classes), what="the set")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def labelled(self) -> bool:
        """Whether the labels say anything; where they do not, all are 0 and the one class is "unlabelled"."""
        return self.classes != UNLABELLED

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of each channel, in [0, 1]."""
        return tuple(mean for mean, _ in self._moments)

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of each channel, in [0, 1], at least one grey level: safe to divide by."""
        return tuple(std for _, std in self._moments)

    @cached_property
    def _moments(self) -> tuple[tuple[float, float], ...]:
        # Counting the 256 grey levels is exact and needs no float copy of the set.
        return tuple(_moments_of_levels(channel.reshape(-1)) for channel in self.images.unbind(1))

    def take(self, indices: Int64[Tensor, " k"] | Sequence[int]) -> "ImageSet":
        """Return the rows at `indices`, in that order."""
        rows = torch.as_tensor(indices, dtype=torch.int64, device=self.images.device)
        return replace(self, images=self.images[rows], labels=self.labels[rows])

    def to(self, device: torch.device | str) -> "ImageSet":
        """Return the set on `device`, itself if it is there already."""
        if self.images.device == torch.device(device):
            return self
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))


def as_float(images: UInt8[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Return grey levels 0..255 as float32 in [0, 1], channels-last in memory."""
    return images.to(torch.float32, memory_format=torch.channels_last).div_(255)


def check_fits(data: ImageSet, *, input_shape: tuple[int, ...], classes: int, what: str) -> None:
    """Refuse images that `what` ("the teacher") cannot take, or labels that it cannot give.

    Args:
        data: the images.
        input_shape: (c, h, w), or (d,) for a network of vectors.
        classes: number of classes of `what`; the data may hold fewer.
        what: the network, as the message calls it.

    Raises:
        ShapeError: another image size or channel count.
        DataError: a label outside the classes.
    """
    if data.shape != tuple(input_shape):
        raise ShapeError(
            f"images of shape {data.shape} do not fit {what}",
            where=f"{data.name}, split {data.split}",
            expected=f"(channels, height, width) = {tuple(input_shape)}",
            fix="use the data set the network was made for, or resize the images on file",
        )
    check_labels(data, classes=classes, what=what)


def check_labels(data: ImageSet, *, classes: int, what: str) -> None:
    """Refuse labels outside 0..classes-1 with a `DataError`."""
    low, high = torch.stack(data.labels.aminmax()).tolist()
    if low < 0 or high >= classes:
        wrong = low if low < 0 else high
        raise DataError(
            f"label {wrong} lies outside the {classes} classes of {what}",
            where=f"{data.name}, split {data.split}",
            expected=f"labels 0 to {classes - 1}",
            fix="check the label column, or use a network with as many classes as the data",
        )


def _moments_of_levels(levels: UInt8[Tensor, " n"]) -> tuple[float, float]:
    counts = torch.bincount(levels, minlength=256).tolist()
    total = sum(counts)
    first = sum(level * count for level, count in enumerate(counts))
    second = sum(level * level * count for level, count in enumerate(counts))
    variance = (total * second - first * first) / total**2  # integers up to the division
    return first / total / 255, max(math.sqrt(variance), 1.0) / 255
