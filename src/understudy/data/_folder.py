"""Image data sets as folders: SPLIT/CLASS/image.png, or SPLIT/image.png without labels."""

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
        images = _images(child)
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


def read_unlabelled(folder: Path) -> Rows:
    """Read the image files that stand in a folder itself, in order of name.

    Raises:
        DataError: a file that cannot be read.
    """
    files = _images(folder)
    return Rows([_content(file) for file in files], [str(file) for file in files], labels=None, classes=None)


def stand_alone(folder: Path) -> bool:
    """Return whether a folder holds images and no folders that could be their classes."""
    return not _class_folders(folder) and bool(_images(folder))


def _images(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)


def _class_folders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read: {error.strerror}", where=file) from error
