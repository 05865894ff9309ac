"""Image data sets as folders: SPLIT/CLASS/image.png."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from understudy.data._decode import Rows
from understudy.errors import DataError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})


def class_names(root: Path, splits: Iterable[str]) -> tuple[str, ...]:
    """Return the classes of all splits in order of name, as torchvision and `datasets` number them."""
    folders = (child for split in splits if (root / split).is_dir() for child in _class_folders(root / split))
    return tuple(sorted({child.name for child in folders}))


def read_folder(folder: Path, classes: tuple[str, ...]) -> Rows:
    """Read the image files of one split.

    Args:
        folder: holds one folder a class.
        classes: the class names of all splits, so that a class which one split lacks moves no label.

    Raises:
        DataError: a class folder without images, or a file that cannot be read.
    """
    files: list[Path] = []
    labels: list[int] = []
    for child in _class_folders(folder):
        images = sorted(file for file in child.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
        if not images:
            raise DataError(
                "a class folder without images",
                where=child,
                expected="image files such as " + ", ".join(sorted(IMAGE_SUFFIXES)),
                fix="add its images, or remove the folder",
            )
        files += images
        labels += [classes.index(child.name)] * len(images)
    return Rows(
        encoded=[_content(file) for file in files],
        places=[str(file) for file in files],
        labels=np.array(labels, dtype=np.int64),
        classes=classes,
    )


def _class_folders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read: {error.strerror}", where=file) from error
