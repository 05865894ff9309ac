"""Data sets by name, from the Hugging Face hub."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import datasets
import pyarrow as pa
from datasets.table import embed_table_storage
from huggingface_hub import utils as hub

from understudy.data._decode import Rows
from understudy.data._parquet import rows_of
from understudy.errors import DataError


def read_hub(name: str, split_names: Sequence[str], *, labelled: bool = True) -> Rows | None:
    """Read a split of images; see `hub_table`, which raises what it raises, and returns None where it does.

    Args:
        name: `mnist` or `owner/name`.
        split_names: what the split may be called; the first that is there is read.
        labelled: whether labels are wanted.

    Raises:
        DataError: the set is there and cannot be used: another split, another layout, a broken file.
    """
    found = hub_table(name, split_names)
    if found is None:
        return None
    split, table = found
    # A set of loose image files comes as paths into the cache; their bytes are taken in here.
    return rows_of(embed_table_storage(table), f"hub: {name}, split {split}", labelled=labelled)


def hub_table(name: str, split_names: Sequence[str]) -> tuple[str, pa.Table] | None:
    """Return a split as a table, and its name, through `datasets`, which keeps its downloads where `HF_HOME` says.

    Args:
        name: `mnist` or `owner/name`.
        split_names: what the split may be called; the first that is there is read.

    Returns:
        The split's name and its table, or None where the hub does not know the name or cannot be reached.

    Raises:
        DataError: the set is there and cannot be loaded, or has no such split.
    """
    try:
        with _no_bars():
            splits = datasets.load_dataset(name)
    except (datasets.exceptions.DatasetNotFoundError, ConnectionError):
        return None
    except (OSError, ValueError, RuntimeError, pa.ArrowException, datasets.exceptions.DatasetsError) as error:
        raise DataError(f"the hub's data set cannot be loaded: {error}", where=f"hub: {name}") from error
    found = next((split for split in split_names if split in splits), None)
    if found is None:
        raise DataError(
            f"no split {' or '.join(split_names)}",
            where=f"hub: {name}",
            expected="a train and a test split",
            fix=f"the set has: {', '.join(splits)}",
        )
    return found, splits[found].with_format("arrow")[:]


@contextmanager
def _no_bars() -> Iterator[None]:
    shown = [library for library in (datasets, hub) if not library.are_progress_bars_disabled()]
    try:
        for library in shown:
            library.disable_progress_bars()
        yield
    finally:
        for library in shown:
            library.enable_progress_bars()
