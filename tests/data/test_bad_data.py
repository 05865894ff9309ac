"""Each way in which a user's data can be wrong ends in a message that says what, where and what to do."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from understudy.data import load_images
from understudy.errors import DataError, ShapeError


def refusal(folder: Path, error: type[Exception] = DataError, split: str = "test") -> str:
    with pytest.raises(error) as caught:
        load_images(str(folder), split)
    return str(caught.value)


def test_a_missing_path_lists_near_names(tmp_path: Path) -> None:
    (tmp_path / "flowers").mkdir()
    message = refusal(tmp_path / "flowes")
    assert "no such file or folder" in message
    assert "did you mean 'flowers'?" in message
    assert "no such file or folder" in refusal(tmp_path / "nowhere/x.parquet")


def test_an_absent_split_says_what_is_there(tmp_path: Path, write_table) -> None:
    write_table(tmp_path / "test.parquet")
    assert "the folder holds: test.parquet" in refusal(tmp_path, split="train")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    assert "the folder holds: nothing" in refusal(tmp_path)


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_truncated_parquet_file_is_refused(tmp_path: Path, write_table, keep: int) -> None:
    file = write_table(tmp_path / "test.parquet")
    file.write_bytes(file.read_bytes()[:keep])
    message = refusal(tmp_path)
    assert "not readable as Parquet" in message
    assert str(file) in message


def test_what_is_no_parquet_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "test.parquet").write_text("id,label\n" * 100)
    assert "not readable as Parquet" in refusal(tmp_path)


def test_a_table_without_rows_is_refused(tmp_path: Path, write_table) -> None:
    write_table(tmp_path / "test.parquet", labels=pa.array([], type=pa.int64()))
    assert "the data set is empty" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("columns", "message"),
    [(("picture", "label"), "no image column"), (("image", "class"), "no label column")],
)
def test_a_missing_column_is_named(tmp_path: Path, write_table, columns: tuple[str, str], message: str) -> None:
    write_table(tmp_path / "test.parquet", columns=columns)
    found = refusal(tmp_path)
    assert message in found
    assert f"the table has: {', '.join(columns)}" in found


def test_an_image_column_of_numbers_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [[1, 2], [3, 4]], "label": [0, 1]}), tmp_path / "test.parquet")
    assert "the image column holds list<" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, 1, 1], "every row has the same label, 1"),
        ([-1, -1], "the split is published without labels"),
        ([0, -2, 1], "label -2 lies outside"),
        ([0.5, 1.0], "holds double, 0 of 2 missing or NaN"),
        ([0.0, float("nan")], "holds double, 1 of 2 missing or NaN"),
        ([0, None, 1], "holds int64, 1 of 3 missing or NaN"),
        (["cat", "dog"], "holds string"),
        ([0, 10**15], "label 1000000000000000 is no class index"),
        (pa.array([0, 2**64 - 1], type=pa.uint64()), "a label is no class index"),
    ],
)
def test_labels_that_are_no_class_indices_are_refused(
    tmp_path: Path, write_table, labels: object, message: str
) -> None:
    write_table(tmp_path / "test.parquet", labels=labels)
    assert message in refusal(tmp_path)


def test_a_label_beyond_the_named_classes_is_refused(tmp_path: Path, write_table) -> None:
    write_table(tmp_path / "test.parquet", labels=[0, 2], classes=["a", "b"])
    assert "label 2 lies outside the 2 classes" in refusal(tmp_path)


def test_shards_that_disagree_on_the_classes_are_refused(tmp_path: Path, write_table) -> None:
    write_table(tmp_path / "test-0.parquet", classes=["a", "b"])
    write_table(tmp_path / "test-1.parquet", classes=["b", "a"])
    assert "the shards name different classes" in refusal(tmp_path)


@pytest.mark.parametrize("shape", [(3, 2), (2, 3, 3)])
def test_images_of_several_shapes_are_refused(tmp_path: Path, write_table, encode, shape: tuple[int, ...]) -> None:
    images = [encode(np.zeros(size, dtype=np.uint8)) for size in ((2, 3), shape)]
    file = write_table(tmp_path / "test.parquet", images=images, labels=[0, 1])
    message = refusal(tmp_path, ShapeError)
    assert "images of several shapes" in message
    assert f"{file}, row 1" in message


@pytest.mark.parametrize("content", [b"not an image", b"\x89PNG\r\n\x1a\n broken", None, b""])
def test_bytes_that_are_no_image_are_refused(tmp_path: Path, write_table, encode, content: bytes | None) -> None:
    whole = encode(np.zeros((2, 3), dtype=np.uint8))
    write_table(tmp_path / "test.parquet", images=[whole, content], labels=[0, 1])
    message = refusal(tmp_path)
    assert ("cannot be decoded" if content else "has no bytes") in message
    assert "row 1" in message


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_an_image_cut_short_is_refused(tmp_path: Path, write_table, encode, kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    whole = encode(noise, kind)
    write_table(tmp_path / "test.parquet", images=[whole, whole[: len(whole) // 2]], labels=[0, 1])
    assert "cannot be decoded" in refusal(tmp_path)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "I;16"])
def test_alpha_and_16_bits_are_not_dropped_unasked(tmp_path: Path, write_table, mode: str) -> None:
    file = io.BytesIO()
    Image.new(mode, (3, 2)).save(file, format="PNG")
    write_table(tmp_path / "test.parquet", images=[file.getvalue()] * 2, labels=[0, 1])
    assert f"mode '{mode}' has no plain 8-bit reading" in refusal(tmp_path)


def test_an_empty_class_folder_is_refused(tmp_path: Path, write_images) -> None:
    write_images(tmp_path, {"test/cat": [1], "test/dog": []})
    message = refusal(tmp_path)
    assert "a class folder without images" in message
    assert str(tmp_path / "test/dog") in message


def test_a_split_folder_without_classes_is_empty(tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    assert "the data set is empty" in refusal(tmp_path)


def test_an_image_folder_with_one_class_is_refused(tmp_path: Path, write_images) -> None:
    write_images(tmp_path, {"test/cat": [1, 2]})
    assert "every row has the same label, 0" in refusal(tmp_path)
