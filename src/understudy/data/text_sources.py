"""Where sentences come from: embedded, a local file or folder, or a name that is looked up."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from understudy.data._names import check_slice, children, locate, shown, slice_of, unknown_name
from understudy.data._text_rows import Columns, TextRows, read_rows
from understudy.data._text_tables import SUFFIXES, Table, from_arrow, names_text, read_table
from understudy.data.reviews import load_reviews
from understudy.data.text_set import TextSet, TextSplit
from understudy.errors import DataError

# Many sets are published with an unlabelled or no test split.
_NAMES: dict[TextSplit, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "validation", "valid", "val", "dev"),
}
_GIVEN = f"reviews, a data set's name, or the path of a folder or of a file ending in {', '.join(SUFFIXES)}"


def load_texts(
    source: str,
    split: TextSplit,
    *,
    text_column: str | None = None,
    context_column: str | None = None,
    label_column: str | None = None,
) -> TextSet:
    """Load one split of a set of labelled sentences.

    Args:
        source: one of

            - `reviews`, embedded and synthetic;
            - a name such as `sst2` or `owner/name`: the folder of that name under `$UNDERSTUDY_DATA`, else under
              the working folder, else the data set of that name on the Hugging Face hub;
            - a folder with `train` and `test`, each ending in .tsv, .csv, .jsonl or .parquet (or shards
              `train-*.parquet`, there or in its subfolder `data`), and with `validation` or `dev`;
            - one such file: the train split if its name starts with "train", else the test split, so that
              nothing is ever tested on the rows it was trained on;
            - any of these with a slice behind it, `sst2[:2000]`: those rows of the train split, as they stand on
              file. The other splits are whole whatever the slice.
        split: "train", "validation" or "test"; a validation split stands in where there is no test split.
        text_column: name of the column with the sentences, which attacks change; None finds one of the usual
            names. The columns of a file without a heading are called 1, 2, ...
        context_column: name of a column with what stands before each sentence, and is never changed; None for none.
        label_column: name of the column with the classes; None finds one of the usual names.

    Returns:
        The set. Its classes are those of the whole train split where there is one: sorted, or in the order that the
        file's metadata give them.

    Raises:
        DataError: nothing is found, the split is absent, a slice is malformed or takes no row, or a file is cut
            short, no text, without the columns, with empty sentences, missing labels or one class only.
    """
    source, rows = slice_of(source, example="sst2[:2000]")
    rows = rows if split == "train" else None
    if source == "reviews":
        whole = load_reviews(split)
        if rows is not None:
            check_slice(rows, len(whole), where="reviews, split train")
            whole = replace(whole.take(range(len(whole))[rows]), name=f"reviews{shown(rows)}")
        return whole
    if source == "digits" and not Path(source).exists():
        raise DataError("digits is a set of images", where="--data", expected=_GIVEN, fix="name sentences: reviews")
    path = locate(source, suffixes=SUFFIXES, expected=_GIVEN)
    name = source if path is None else path.stem if path.is_file() else path.resolve().name
    columns = Columns(text_column, context_column, label_column)
    data = _read(source, path, split, columns).build(name + shown(rows), split, rows=rows)
    if split == "train" or not _has_train(path):
        return data
    return data.with_classes(_read(source, path, "train", columns).classes)


def _read(source: str, path: Path | None, split: TextSplit, columns: Columns) -> TextRows:
    tables = _from_hub(source, split) if path is None else _from_path(path, split, columns.wanted)
    return read_rows(tables, columns, where=f"{source}, split {split}")


def _has_train(path: Path | None) -> bool:
    return path is not None and path.is_dir() and bool(_files(path, "train"))


def _from_hub(name: str, split: TextSplit) -> list[Table]:
    # Imported late: `datasets` takes half a second, and local files need none of it.
    from understudy.data._hub import hub_table

    found = hub_table(name, _NAMES[split])
    if found is None:
        raise unknown_name(name, embedded="reviews", suffixes=SUFFIXES, fits=_holds_text)
    return [from_arrow(found[1], f"hub: {name}, split {found[0]}")]


def _from_path(path: Path, split: TextSplit, wanted: Sequence[str]) -> list[Table]:
    if path.is_file():
        named: TextSplit = next((one for one in _NAMES if path.name.startswith(_NAMES[one])), "test")
        holds = "train" if named == "train" else "test"  # a lone validation file is what there is to test on
        if split not in (named, holds):
            raise DataError(
                f"no {split} split: a single file is one split, and this one is read as {holds}",
                where=path,
                expected="a folder with a train and a test file where both are needed",
                fix="put the files into one folder; a name that starts with 'train' marks the train split",
            )
        return [read_table(path, wanted=wanted)]
    for name in _NAMES[split]:
        if files := _files(path, name):
            return [read_table(file, wanted=wanted) for file in files]
    raise DataError(
        f"no {split} split",
        where=path,
        expected=f"{' or '.join(_NAMES[split])}, ending in {', '.join(SUFFIXES)}",
        fix=f"the folder holds: {', '.join(children(path)) or 'nothing'}",
    )


def _holds_text(path: Path) -> bool:
    """Return whether a file, or one of a folder's, is a table that need not be one of images; it is not read."""
    files = [path] if path.is_file() else [*path.glob("*"), *path.glob("data/*")]
    return any(file.suffix in SUFFIXES and (file.suffix != ".parquet" or names_text(file)) for file in files)


def _files(folder: Path, name: str) -> list[Path]:
    """Return the one file of a split, or its shards."""
    whole = [folder / f"{name}{suffix}" for suffix in SUFFIXES if (folder / f"{name}{suffix}").is_file()]
    if len(whole) > 1:
        raise DataError(
            f"two files for one split: {', '.join(file.name for file in whole)}",
            where=folder,
            fix="keep one of them, or name the file itself",
        )
    return whole or sorted(folder.glob(f"{name}-*.parquet")) or sorted((folder / "data").glob(f"{name}-*.parquet"))
