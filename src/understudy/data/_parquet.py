"""Image data sets as Parquet tables, in the layout of the Hugging Face hub."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from understudy.data._decode import Rows
from understudy.errors import DataError

IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "labels", "fine_label")


def read_parquet(file: Path, *, labelled: bool = True) -> Rows:
    """Read one shard, with pyarrow alone.

    `datasets` would give the same rows after copying every file into its cache; it is kept for the hub.

    Args:
        file: the shard.
        labelled: whether labels are wanted.

    Raises:
        DataError: the file is no whole Parquet file, or holds no images, or no labels where they are wanted.
    """
    try:
        table = pq.read_table(file, partitioning=None, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"not readable as Parquet: {error}",
            where=file,
            expected="a whole Parquet file",
            fix="download or write the file again",
        ) from error
    return rows_of(table, str(file), labelled=labelled)


def rows_of(table: pa.Table, where: str, *, labelled: bool = True) -> Rows:
    """Take images, labels and class names out of a table.

    Args:
        table: a column `image` (or `img`), a struct with the encoded `bytes` or the bytes themselves, and
            a column `label` (or `labels`, `fine_label`) of integers, whose names may stand in the metadata.
        where: the table's place, for messages.
        labelled: whether labels are wanted; if not, a table without usable ones has none.

    Raises:
        DataError: a column is missing, or of another type.
    """
    encoded = _encoded(table[_one_of(IMAGE_COLUMNS, table, where)], where)
    places = [f"{where}, row {row}" for row in range(len(table))]
    try:
        label = _one_of(LABEL_COLUMNS, table, where, absent=": the labels are absent")
        labels = _labels(table[label], where)
    except DataError:
        if labelled:
            raise
        return Rows(encoded, places, labels=None, classes=None)
    return Rows(encoded, places, labels=labels, classes=_class_names(table.schema.metadata or {}, label))


def _one_of(names: Sequence[str], table: pa.Table, where: str, *, absent: str = "") -> str:
    for name in names:
        if name in table.column_names:
            return name
    raise DataError(
        f"no {names[0]} column{absent}",
        where=where,
        expected="a column " + " or ".join(names),
        fix=f"rename the column; the table has: {', '.join(table.column_names)}",
    )


def _encoded(column: pa.ChunkedArray, where: str) -> list[bytes | None]:
    kind = column.type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        column = pc.struct_field(column, "bytes")
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        raise DataError(
            f"the image column holds {kind}",
            where=where,
            expected="encoded images: bytes, or a struct of bytes and path",
        )
    content: list[bytes | None] = column.to_pylist()
    return content


def _labels(column: pa.ChunkedArray, where: str) -> NDArray[np.int64]:
    if not pa.types.is_integer(column.type) or column.null_count:
        missing = column.null_count + (
            pc.sum(pc.is_nan(column)).as_py() or 0 if pa.types.is_floating(column.type) else 0
        )
        raise DataError(
            f"the label column holds {column.type}, {missing} of {len(column)} missing or NaN",
            where=where,
            expected="one whole number a row, 0 or more",
            fix="write the class indices as integers, and drop the rows without a label",
        )
    try:
        labels: NDArray[np.int64] = column.cast(pa.int64()).to_numpy()
    except pa.ArrowInvalid as error:
        raise DataError(f"a label is no class index: {error}", where=where) from error
    return labels


def _class_names(metadata: dict[bytes, bytes], label: str) -> tuple[str, ...] | None:
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[label]["names"])
    except (KeyError, TypeError, ValueError):
        return None  # a table of plain integers: its classes are numbered
