"""Where images come from: embedded, a local file or folder, or a name that is looked up."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from understudy.data._decode import Rows, build_set
from understudy.data._folder import class_names, read_folder, read_unlabelled, stand_alone
from understudy.data._names import check_slice, children, locate, shown, slice_of, unknown_name
from understudy.data._parquet import read_parquet
from understudy.data.digits import load_digits
from understudy.data.images import ImageSet, Split
from understudy.errors import DataError

# Many sets are published with a validation split and an unlabelled or no test split.
_NAMES: dict[Split, tuple[str, ...]] = {"train": ("train",), "test": ("test", "validation", "valid", "val")}
_EXPECTED = "train.parquet and test.parquet, or shards of them, or image folders train/CLASS and test/CLASS"
_GIVEN = "digits, a data set's name, or the path of a folder or Parquet file"
_SUFFIXES = (".parquet",)


def load_images(source: str, split: Split, *, labelled: bool = True) -> ImageSet:
    """Load one split of an image data set, decoded into one uint8 tensor.

    Args:
        source: one of

            - `digits`, embedded;
            - a name such as `mnist` or `owner/name`: the folder of that name under `$UNDERSTUDY_DATA`, else
              under the working folder, else the data set of that name on the Hugging Face hub;
            - a folder with `train.parquet` and `test.parquet` (or shards `train-*.parquet`, there or in its
              subfolder `data`), or with images `train/CLASS/*.png` and `test/CLASS/*.png`;
            - one Parquet file: the train split if its name starts with "train", else the test split, so that
              nothing is ever tested on the rows it was trained on; one without labels is to train on;
            - any of these with a slice behind it, `cifar10[25000:27500]`, `digits[:600]` or `folder[-500:]`: those
              rows of the train split, as they stand on file. An end counts from the back if it is
              negative; there is no step. The test split is whole whatever the slice.
        split: "train" or "test"; a validation split stands in where there is no test split.
        labelled: whether labels are wanted. If not, there may be none: tables without a label column, and images
            that stand in `train`, or in the folder itself, which is then a train split. Where labels are there
            all the same, they are loaded.

    Raises:
        DataError: nothing is found, the split is absent, a slice is malformed or takes no row, labels are absent
            and wanted, or a file is corrupt, empty, or not images with labels of at least two classes.
        ShapeError: images of several sizes or channel counts.
    """
    source, rows = slice_of(source, example="digits[:600]")
    if split == "test":
        rows = None
    taken = shown(rows)
    if source == "digits":
        digits = load_digits(split)
        if rows is None:
            return digits
        check_slice(rows, len(digits), where="digits, split train")
        return replace(digits.take(range(len(digits))[rows]), name=f"digits{taken}")
    path = locate(source, suffixes=_SUFFIXES, expected=_GIVEN)
    if path is None:
        return build_set(source + taken, split, [_from_hub(source, split, labelled)], labelled=labelled, rows=rows)
    name = path.stem if path.is_file() else path.resolve().name
    return build_set(name + taken, split, list(_from_path(path, split, labelled)), labelled=labelled, rows=rows)


def _from_hub(name: str, split: Split, labelled: bool) -> Rows:
    # Imported late: `datasets` takes half a second, and local files need none of it.
    from understudy.data._hub import read_hub

    rows = read_hub(name, _NAMES[split], labelled=labelled)
    if rows is not None:
        return rows
    raise unknown_name(name, embedded="digits", suffixes=_SUFFIXES)


def _from_path(path: Path, split: Split, labelled: bool) -> Iterator[Rows]:
    if path.is_file():
        yield _read_file(path, split, labelled)
        return
    for name in _NAMES[split]:
        shards = _shards(path, name) or _shards(path / "data", name)
        if shards:
            yield from (read_parquet(file, labelled=labelled) for file in shards)
            return
        if (path / name).is_dir():
            if stand_alone(path / name):
                yield read_unlabelled(path / name)
                return
            every_split = (other for names in _NAMES.values() for other in names)
            yield read_folder(path / name, class_names(path, every_split))
            return
    if split == "train" and stand_alone(path):
        yield read_unlabelled(path)
        return
    raise DataError(
        f"no {split} split",
        where=path,
        expected=_EXPECTED,
        fix=f"the folder holds: {', '.join(children(path)) or 'nothing'}",
    )


def _shards(folder: Path, name: str) -> list[Path]:
    whole = folder / f"{name}.parquet"
    return [whole] if whole.is_file() else sorted(folder.glob(f"{name}-*.parquet"))


def _read_file(path: Path, split: Split, labelled: bool) -> Rows:
    """Read a single file as the split that its name says; if it says none, images without labels are to train on."""
    named: Split | None = next((name for name in ("train", "test") if path.name.startswith(name)), None)
    if labelled or named is not None:
        _check_holds(path, named or "test", split)
        return read_parquet(path, labelled=labelled)
    rows = read_parquet(path, labelled=False)
    _check_holds(path, "train" if rows.labels is None else "test", split)
    return rows


def _check_holds(path: Path, holds: Split, split: Split) -> None:
    if split != holds:
        raise DataError(
            f"no {split} split: a single file is one split, and this one is read as {holds}",
            where=path,
            expected="a folder with train.parquet and test.parquet where both are needed",
            fix="put the files into one folder; a name that starts with 'train' marks the train split",
        )
