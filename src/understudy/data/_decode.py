"""From encoded images and raw labels to a checked `ImageSet`: the one border that every file crosses."""

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from understudy.data._names import check_slice
from understudy.data.images import UNLABELLED, ImageSet, Split
from understudy.errors import DataError, ShapeError

# Pillow's modes that have a plain reading as grey or colour; alpha and 16 bits would lose something unasked.
_MODES = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB", "CMYK": "RGB", "YCbCr": "RGB"}
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
_MOST_CLASSES = 100_000  # beyond it a label without a name is no class index (ImageNet-21k has 21,841)


@dataclass(frozen=True)
class Rows:
    """A part of a data set as it stands on file.

    Args:
        encoded: the bytes of each image file.
        places: where each image stands, for messages.
        labels: class indices, one an image; None where there are none.
        classes: the names of the classes; None where the file names none.
    """

    encoded: Sequence[bytes | None]
    places: Sequence[str]
    labels: NDArray[np.int64] | None
    classes: tuple[str, ...] | None


def build_set(
    name: str, split: Split, parts: Sequence[Rows], *, labelled: bool = True, rows: slice | None = None
) -> ImageSet:
    """Check the labels and decode the images of all parts, once, into one uint8 tensor.

    Args:
        name: what the set is called.
        split: which split the parts are.
        parts: the rows, shard by shard.
        labelled: whether labels are wanted; if not, a set without them, or of one class, is unlabelled.
        rows: which rows are taken, of all parts together; None for all.

    Raises:
        DataError: no rows, none in the slice, labels that are wanted and absent, one class only, a label
            that is no class, an image missing or not decodable.
        ShapeError: images of several sizes or channel counts.
    """
    where = f"{name}, split {split}"
    found = [(content, place) for part in parts for content, place in zip(part.encoded, part.places, strict=True)]
    if not found:
        raise DataError("the data set is empty", where=where, expected="at least one row")
    labels, classes = _labels_of(parts, len(found), where=where, labelled=labelled)
    if rows is not None:
        check_slice(rows, len(found), where=where)
        found, labels = found[rows], labels[rows]
    images, tensor = torch.from_numpy(_decode_all(found)), torch.from_numpy(labels)
    return ImageSet(name=name, split=split, images=images, labels=tensor, classes=classes)


def _labels_of(
    parts: Sequence[Rows], total: int, *, where: str, labelled: bool
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the labels and class names of all parts together."""
    given = [part.labels for part in parts if part.labels is not None]
    if len(given) < len(parts) and labelled:
        raise DataError(
            "the labels are absent",
            where=where,
            expected="a class for every image",
            fix="give each class a folder of its own, or use the images where no labels are asked for",
        )
    labels = np.concatenate(given) if len(given) == len(parts) else np.zeros(total, dtype=np.int64)
    if len(np.unique(labels)) < 2:
        if not labelled:
            return np.zeros(total, dtype=np.int64), UNLABELLED
        raise DataError(
            f"every row has the same label, {labels[0]}",
            where=where,
            expected="at least two classes",
            fix="the split is published without labels: use another"
            if labels[0] == -1
            else "check the label column or the class folders",
        )
    if len({part.classes for part in parts}) > 1:
        raise DataError("the shards name different classes", where=where, fix="write them with one schema")
    return labels, parts[0].classes or _numbered(int(labels.max()), where)


def _numbered(highest: int, where: str) -> tuple[str, ...]:
    if highest >= _MOST_CLASSES:
        raise DataError(f"label {highest} is no class index", where=where, expected="classes counted from 0")
    return tuple(str(index) for index in range(max(highest, 1) + 1))


def _decode_all(rows: Sequence[tuple[bytes | None, str]]) -> NDArray[np.uint8]:
    # One thread: at 32 x 32 Pillow spends its 0.1 ms an image in Python, where threads only queue (measured).
    first = _decode(*rows[0])
    pixels = np.empty((len(rows), *first.shape), dtype=np.uint8)
    for row, (content, place) in enumerate(rows):
        image = _decode(content, place)
        if image.shape != first.shape:
            raise ShapeError(
                f"images of several shapes: {image.shape} after {first.shape}",
                where=place,
                expected="one (channels, height, width) for all",
                fix="resize or convert the images on file",
            )
        pixels[row] = image
    return pixels


def _decode(content: bytes | None, place: str) -> NDArray[np.uint8]:
    """Return one image of shape (c, h, w)."""
    if not content:
        raise DataError("an image has no bytes", where=place, expected="an encoded image such as PNG or JPEG")
    try:
        image = Image.open(io.BytesIO(content))
        mode = _MODES.get(image.mode)
        pixels = None if mode is None else np.asarray(image if image.mode == mode else image.convert(mode))
    except _UNREADABLE as error:
        raise DataError(
            f"an image cannot be decoded: {error}",
            where=place,
            expected="a whole PNG, JPEG or other file that Pillow reads",
            fix="remove or restore the image",
        ) from error
    if pixels is None:
        raise DataError(
            f"an image of Pillow's mode {image.mode!r} has no plain 8-bit reading",
            where=place,
            expected="8-bit grey or RGB, without alpha",
            fix="convert the images on file",
        )
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
