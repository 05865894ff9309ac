from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from understudy.data import ImageSet, load_images
from understudy.errors import DataError


@pytest.fixture(autouse=True)
def _away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_DATA", str(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")


@pytest.fixture
def write_bare(encode):
    """Write a table of three images with a text beside each, and no labels."""

    def write(path: Path, **columns: object) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        images = [encode(np.full((2, 3), level, dtype=np.uint8)) for level in (10, 20, 30)]
        pq.write_table(pa.table({"image": images, "uid": ["a", "b", "c"], **columns}), path)
        return path

    return write


def check(data: ImageSet, levels: list[int]) -> None:
    assert data.images[:, 0, 0, 0].tolist() == levels
    assert not data.labelled
    assert data.labels.tolist() == [0] * len(levels)
    assert data.classes == ("unlabelled",)


def test_a_table_without_a_label_column(tmp_path: Path, write_bare) -> None:
    write_bare(tmp_path / "bare/train.parquet")
    check(load_images("bare", "train", labelled=False), [10, 20, 30])
    check(load_images("bare[1:]", "train", labelled=False), [20, 30])
    with pytest.raises(DataError, match="no label column: the labels are absent") as caught:
        load_images("bare", "train")
    assert "the table has: image, uid" in str(caught.value)


@pytest.mark.parametrize(
    "labels", [["cat", "dog", "cat"], [0, None, 1], [0.5, 1.5, 0.0], [-1, -1, -1], [4, 4, 4]], ids=str
)
def test_labels_that_say_nothing_are_none(tmp_path: Path, write_bare, labels: list[object]) -> None:
    write_bare(tmp_path / "bare/train.parquet", label=labels)
    check(load_images("bare", "train", labelled=False), [10, 20, 30])
    with pytest.raises(DataError):
        load_images("bare", "train")


def test_one_shard_without_labels_makes_the_set_unlabelled(tmp_path: Path, write_bare) -> None:
    write_bare(tmp_path / "bare/train-0.parquet")
    write_bare(tmp_path / "bare/train-1.parquet", label=[0, 1, 1])
    check(load_images("bare", "train", labelled=False), [10, 20, 30] * 2)
    with pytest.raises(DataError, match="the labels are absent"):
        load_images("bare", "train")


@pytest.mark.parametrize("folder", ["train", "."])
def test_images_that_stand_in_a_folder_themselves(tmp_path: Path, write_images, folder: str) -> None:
    write_images(tmp_path, {f"loose/{folder}": [10, 20, 30]})
    (tmp_path / "loose" / folder / "notes.txt").write_text("not an image")
    check(load_images("loose", "train", labelled=False), [10, 20, 30])
    check(load_images("loose[-2:]", "train", labelled=False), [20, 30])
    with pytest.raises(DataError, match="the labels are absent") as caught:
        load_images("loose", "train")
    assert "give each class a folder of its own" in str(caught.value)
    with pytest.raises(DataError, match="no test split"):
        load_images("loose", "test", labelled=False)


def test_one_folder_in_the_split_is_no_class(tmp_path: Path, write_images) -> None:
    write_images(tmp_path / "loose", {"train/images": [10, 20]})
    check(load_images("loose", "train", labelled=False), [10, 20])
    with pytest.raises(DataError, match="every row has the same label"):
        load_images("loose", "train")


def test_labels_that_are_there_are_loaded(tmp_path: Path, write_table, write_images) -> None:
    write_table(tmp_path / "table/train.parquet", classes=["cat", "dog"])
    write_images(tmp_path / "folder", {"train/cat": [10], "train/dog": [20, 30]})
    for source in ("table", "folder", "digits", "digits[:50]"):
        wanted, unwanted = load_images(source, "train"), load_images(source, "train", labelled=False)
        assert wanted.labelled
        assert unwanted.labelled
        assert torch.equal(wanted.labels, unwanted.labels)
        assert wanted.classes == unwanted.classes


def test_a_single_file_without_labels_is_to_train_on(tmp_path: Path, write_bare, write_table) -> None:
    bare, labelled = write_bare(tmp_path / "pool.parquet"), write_table(tmp_path / "mine.parquet")
    check(load_images(str(bare), "train", labelled=False), [10, 20, 30])
    with pytest.raises(DataError, match="this one is read as train"):
        load_images(str(bare), "test", labelled=False)
    assert load_images(str(labelled), "test", labelled=False).labelled
    with pytest.raises(DataError, match="this one is read as test"):  # whoever tests on it would ask about it first
        load_images(str(labelled), "train", labelled=False)
    held_out = write_bare(tmp_path / "test-pool.parquet")
    check(load_images(str(held_out), "test", labelled=False), [10, 20, 30])
    with pytest.raises(DataError, match="this one is read as test"):
        load_images(str(held_out), "train", labelled=False)


def test_a_set_on_the_hub_without_labels(encode, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [{"bytes": encode(np.full((2, 3), level, dtype=np.uint8)), "path": None} for level in (10, 20)]
    features = datasets.Features({"image": datasets.Image(), "uid": datasets.Value("string")})
    table = datasets.Dataset.from_dict({"image": images, "uid": ["a", "b"]}, features=features)
    monkeypatch.setattr(datasets, "load_dataset", lambda _: datasets.DatasetDict({"train": table}))
    check(load_images("owner/pool", "train", labelled=False), [10, 20])
    with pytest.raises(DataError, match="the labels are absent"):
        load_images("owner/pool", "train")


def test_faults_of_the_images_are_still_found(tmp_path: Path) -> None:
    pq.write_table(pa.table({"uid": ["a"]}), tmp_path / "train.parquet")
    with pytest.raises(DataError, match="no image column"):
        load_images(str(tmp_path), "train", labelled=False)
    (tmp_path / "loose").mkdir()
    (tmp_path / "loose/0.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="cannot be decoded"):
        load_images("loose", "train", labelled=False)
    (tmp_path / "empty/train").mkdir(parents=True)
    with pytest.raises(DataError, match="the data set is empty"):
        load_images("empty", "train", labelled=False)
