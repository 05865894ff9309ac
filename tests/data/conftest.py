"""Small image files and Parquet tables, made the way a user would make them."""

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

Encode = Callable[..., bytes]
Write = Callable[..., Path]


@pytest.fixture
def encode() -> Encode:
    """Return the PNG bytes of an array of shape (h, w) or (h, w, 3)."""

    def encode_png(pixels: np.ndarray, kind: str = "PNG") -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, format=kind)
        return file.getvalue()

    return encode_png


@pytest.fixture
def write_table(encode: Encode) -> Write:
    """Write a Parquet file in the hub's layout; by default four grey images of 2 x 3 pixels, two classes."""

    def write(
        path: Path,
        *,
        images: Sequence[bytes | None] | None = None,
        labels: Sequence[object] | pa.Array = (0, 1, 1, 0),
        columns: tuple[str, str] = ("image", "label"),
        classes: Sequence[str] | None = None,
    ) -> Path:
        if images is None:
            images = [encode(np.full((2, 3), 10 * row, dtype=np.uint8)) for row in range(len(labels))]
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        content = pa.array([{"bytes": image, "path": None} for image in images], type=kind)
        table = pa.table(dict(zip(columns, (content, pa.array(labels)), strict=True)))
        if classes is not None:
            features = {
                columns[0]: {"_type": "Image"},
                columns[1]: {"_type": "ClassLabel", "names": list(classes)},
            }
            table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path)
        return path

    return write


@pytest.fixture
def write_images(encode: Encode) -> Callable[[Path, dict[str, list[int]]], None]:
    """Write SPLIT/CLASS/N.png, each image filled with one grey level: {"train/cat": [10, 20]}."""

    def write(root: Path, levels: dict[str, list[int]]) -> None:
        for folder, values in levels.items():
            (root / folder).mkdir(parents=True)
            for number, value in enumerate(values):
                (root / folder / f"{number}.png").write_bytes(encode(np.full((2, 3), value, dtype=np.uint8)))

    return write
