import os
from pathlib import Path

import numpy as np
import pytest

from understudy.data import load_images
from understudy.errors import DataError

ROOT = os.environ.get("UNDERSTUDY_DATA")


@pytest.fixture(autouse=True)
def _away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNDERSTUDY_DATA", raising=False)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")


def test_a_parquet_folder_gives_pixels_labels_and_class_names(tmp_path: Path, write_table, encode) -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (4, 5, 6, 3), dtype=np.uint8)
    images = [encode(image) for image in pixels]
    write_table(tmp_path / "toy/train.parquet", images=images, labels=[1, 0, 2, 1], classes=["cat", "dog", "owl"])
    write_table(tmp_path / "toy/test.parquet", labels=[0, 1], classes=["cat", "dog", "owl"])
    train = load_images(str(tmp_path / "toy"), "train")
    np.testing.assert_array_equal(train.images.numpy(), pixels.transpose(0, 3, 1, 2))
    assert train.labels.tolist() == [1, 0, 2, 1]
    assert train.classes == load_images(str(tmp_path / "toy"), "test").classes == ("cat", "dog", "owl")
    assert (train.name, train.split) == ("toy", "train")


@pytest.mark.parametrize("columns", [("img", "fine_label"), ("image", "labels")])
def test_the_hubs_other_column_names_are_known(tmp_path: Path, write_table, columns: tuple[str, str]) -> None:
    write_table(tmp_path / "test.parquet", columns=columns, classes=["a", "b"])
    data = load_images(str(tmp_path), "test")
    assert data.labels.tolist() == [0, 1, 1, 0]
    assert data.classes == ("a", "b")


def test_classes_without_names_are_numbered(tmp_path: Path, write_table) -> None:
    write_table(tmp_path / "test.parquet", labels=[0, 3])
    assert load_images(str(tmp_path), "test").classes == ("0", "1", "2", "3")


@pytest.mark.parametrize("folder", [".", "data"])
def test_shards_are_read_in_order(tmp_path: Path, write_table, folder: str) -> None:
    write_table(tmp_path / folder / "train-00001-of-00002.parquet", labels=[2, 3])
    write_table(tmp_path / folder / "train-00000-of-00002.parquet", labels=[0, 1])
    assert load_images(str(tmp_path), "train").labels.tolist() == [0, 1, 2, 3]


def test_validation_stands_in_for_an_absent_test_split_only(tmp_path: Path, write_table) -> None:
    write_table(tmp_path / "validation.parquet", labels=[0, 1, 1])
    assert len(load_images(str(tmp_path), "test")) == 3
    write_table(tmp_path / "test.parquet", labels=[0, 1])
    assert len(load_images(str(tmp_path), "test")) == 2


def test_a_single_file_is_one_split_by_its_name(tmp_path: Path, write_table) -> None:
    file = write_table(tmp_path / "mine.parquet")
    train = write_table(tmp_path / "train-mine.parquet")
    assert (load_images(str(file), "test").name, load_images(str(train), "train").split) == ("mine", "train")
    with pytest.raises(DataError, match="no train split: a single file is one split"):
        load_images(str(file), "train")
    with pytest.raises(DataError, match="no test split"):
        load_images(str(train), "test")


def test_an_image_folder_numbers_the_classes_of_all_splits(tmp_path: Path, write_images) -> None:
    write_images(
        tmp_path,
        {"train/owl": [5], "train/cat": [10, 20], "train/dog": [30], "test/owl": [40], "test/dog": [50]},
    )
    (tmp_path / "train/cat/notes.txt").write_text("not an image")
    (tmp_path / "train/.hidden").mkdir()
    train, test = load_images(str(tmp_path), "train"), load_images(str(tmp_path), "test")
    assert train.classes == test.classes == ("cat", "dog", "owl")
    assert train.labels.tolist() == [0, 0, 1, 2]
    assert train.images[:, 0, 0, 0].tolist() == [10, 20, 30, 5]
    assert test.labels.tolist() == [1, 2]  # no cat, and no label moved


def test_a_name_is_looked_for_under_the_data_root_first(tmp_path: Path, write_table, monkeypatch) -> None:
    write_table(Path("toy/test.parquet"), labels=[0, 1])
    assert len(load_images("toy", "test")) == 2  # the working folder
    write_table(tmp_path / "root/toy/test.parquet", labels=[0, 1, 2])
    monkeypatch.setenv("UNDERSTUDY_DATA", str(tmp_path / "root"))
    assert len(load_images("toy", "test")) == 3
    assert len(load_images("./toy", "test")) == 2  # a path is no name


@pytest.mark.parametrize("kind", ["JPEG", "BMP", "GIF"])
def test_other_encodings_are_decoded(tmp_path: Path, write_table, encode, kind: str) -> None:
    images = [encode(np.full((4, 4), level, dtype=np.uint8), kind) for level in (0, 255)]
    write_table(tmp_path / "test.parquet", images=images, labels=[0, 1])
    data = load_images(str(tmp_path), "test")
    levels = data.images.flatten(1).unique(dim=1).tolist()
    assert levels == [[0], [255]]


@pytest.mark.skipif(ROOT is None, reason="UNDERSTUDY_DATA names no folder with real data sets")
@pytest.mark.parametrize(
    ("name", "shape", "mean", "std"),
    [
        ("mnist", (1, 28, 28), (0.1325,), (0.3105,)),
        ("cifar10", (3, 32, 32), (0.494, 0.485, 0.450), (0.245, 0.242, 0.261)),
    ],
)
def test_real_sets(
    name: str, shape: tuple[int, ...], mean: tuple[float, ...], std: tuple[float, ...], monkeypatch
) -> None:
    if not (Path(str(ROOT)) / name).is_dir():
        pytest.skip(f"no {name} under UNDERSTUDY_DATA")
    monkeypatch.setenv("UNDERSTUDY_DATA", str(ROOT))
    data = load_images(name, "test")
    assert (len(data), data.shape, len(data.classes)) == (10_000, shape, 10)
    assert data.mean == pytest.approx(mean, abs=2e-3)
    assert data.std == pytest.approx(std, abs=2e-3)
