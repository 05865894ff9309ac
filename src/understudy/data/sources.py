"""Where images come from: embedded, a local file or folder, or a name that is looked up."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from understudy.data._decode import Rows, build_set
from understudy.data._folder import class_names, read_folder
from understudy.data._parquet import read_parquet
from understudy.data.digits import load_digits
from understudy.data.images import ImageSet, Split
from understudy.errors import DataError, nearest

ROOT_VARIABLE = "UNDERSTUDY_DATA"

# Many sets are published with a validation split and an unlabelled or no test split.
_NAMES: dict[Split, tuple[str, ...]] = {"train": ("train",), "test": ("test", "validation", "valid", "val")}
_HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
_EXPECTED = "train.parquet and test.parquet, or shards of them, or image folders train/CLASS and test/CLASS"


def load_images(source: str, split: Split) -> ImageSet:
    """Load one split of an image data set, decoded into one uint8 tensor.

    Args:
        source: one of

            - `digits`, embedded;
            - a name such as `mnist` or `owner/name`: the folder of that name under `$UNDERSTUDY_DATA`, else
              under the working folder, else the data set of that name on the Hugging Face hub;
            - a folder with `train.parquet` and `test.parquet` (or shards `train-*.parquet`, there or in its
              subfolder `data`), or with images `train/CLASS/*.png` and `test/CLASS/*.png`;
            - one Parquet file: the train split if its name starts with "train", else the test split, so that
              nothing is ever tested on the rows it was trained on.
        split: "train" or "test"; a validation split stands in where there is no test split.

    Raises:
        DataError: nothing is found, the split is absent, or a file is corrupt, empty, or not images with
            labels of at least two classes.
        ShapeError: images of several sizes or channel counts.
    """
    if source == "digits":
        return load_digits(split)
    path = _locate(source)
    if path is None:
        return build_set(source, split, [_from_hub(source, split)])
    name = path.stem if path.is_file() else path.resolve().name
    return build_set(name, split, list(_from_path(path, split)))


def _locate(source: str) -> Path | None:
    """Return the file or folder that a source names, None if it can only be a name on the hub."""
    path, root = Path(source).expanduser(), os.environ.get(ROOT_VARIABLE)
    named = _HUB_NAME.fullmatch(source) is not None
    if root and named and (Path(root) / source).exists():
        return Path(root) / source
    if path.exists():
        return path
    if named and path.suffix != ".parquet":
        return None
    near = _children(path.parent)
    raise DataError(
        "no such file or folder",
        where=path,
        expected="digits, a data set's name, or the path of a folder or Parquet file",
        fix=nearest(path.name, near) if near else "check the path",
    )


def _from_hub(name: str, split: Split) -> Rows:
    # Imported late: `datasets` takes half a second, and local files need none of it.
    from understudy.data._hub import read_hub

    rows = read_hub(name, _NAMES[split])
    if rows is not None:
        return rows
    root = os.environ.get(ROOT_VARIABLE)
    near = nearest(name, ["digits", *(_children(Path(root)) if root else [])])
    raise DataError(
        f"no data set {name!r}",
        where=f"${ROOT_VARIABLE} ({root or 'not set'}), the working folder and the Hugging Face hub",
        expected="digits, the name of a local folder or of a set on the hub, or a path",
        fix=f"{near} Without a network, HF_HUB_OFFLINE=1 saves the wait for the hub.",
    )


def _from_path(path: Path, split: Split) -> Iterator[Rows]:
    if path.is_file():
        yield read_parquet(_only_file(path, split))
        return
    for name in _NAMES[split]:
        shards = _shards(path, name) or _shards(path / "data", name)
        if shards:
            yield from (read_parquet(file) for file in shards)
            return
        if (path / name).is_dir():
            every_split = (other for names in _NAMES.values() for other in names)
            yield read_folder(path / name, class_names(path, every_split))
            return
    raise DataError(
        f"no {split} split",
        where=path,
        expected=_EXPECTED,
        fix=f"the folder holds: {', '.join(_children(path)) or 'nothing'}",
    )


def _children(folder: Path) -> list[str]:
    """Return some names in a folder, for messages; none where there is no folder."""
    return sorted(child.name for child in folder.iterdir())[:50] if folder.is_dir() else []


def _shards(folder: Path, name: str) -> list[Path]:
    whole = folder / f"{name}.parquet"
    return [whole] if whole.is_file() else sorted(folder.glob(f"{name}-*.parquet"))


def _only_file(path: Path, split: Split) -> Path:
    holds: Split = "train" if path.name.startswith("train") else "test"
    if split != holds:
        raise DataError(
            f"no {split} split: a single file is one split, and this one is read as {holds}",
            where=path,
            expected="a folder with train.parquet and test.parquet where both are needed",
            fix="put the files into one folder; a name that starts with 'train' marks the train split",
        )
    return path
