from pathlib import Path

import numpy as np
import pytest
import torch

from understudy.data import load_images
from understudy.data import sources as module
from understudy.errors import DataError


@pytest.fixture(autouse=True)
def _away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_DATA", str(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")


@pytest.fixture
def ten(tmp_path: Path, write_table) -> Path:
    """Ten training rows whose images carry 10 times the row, in two shards, and four test rows."""
    write_table(tmp_path / "ten/train-0.parquet", labels=[0, 1, 2, 0, 1, 2])
    write_table(tmp_path / "ten/train-1.parquet", labels=[2, 2, 2, 0])
    write_table(tmp_path / "ten/test.parquet")
    return tmp_path / "ten"


ENDS = ["0:10", "2:5", "2:", ":5", ":", "-3:", ":-3", "-4:-2", "5:7", "9:", ":100", "-100:1"]


@pytest.mark.parametrize("ends", ENDS)
def test_a_slice_means_what_it_means_in_python(ten: Path, ends: str) -> None:
    whole = load_images("ten", "train")
    first, _, last = ends.partition(":")
    rows = list(range(10))[int(first) if first else None : int(last) if last else None]
    taken = load_images(f"ten[{ends}]", "train")
    assert torch.equal(taken.images, whole.images[rows])
    assert torch.equal(taken.labels, whole.labels[rows])
    assert taken.classes == whole.classes == ("0", "1", "2")  # of all rows, whatever is taken
    assert taken.name == f"ten[{ends}]"
    assert torch.equal(load_images(f"{ten}[{ends}]", "train").images, taken.images)  # a path as well as a name


@pytest.mark.usefixtures("ten")
def test_a_slice_may_hold_one_class_only() -> None:
    assert load_images("ten[6:9]", "train").labels.tolist() == [2, 2, 2]


@pytest.mark.usefixtures("ten")
def test_the_test_split_is_whole_whatever_the_slice() -> None:
    for split_of in ("ten", "digits"):
        sliced, whole = load_images(f"{split_of}[2:5]", "test"), load_images(split_of, "test")
        assert torch.equal(sliced.images, whole.images)
        assert sliced.name == whole.name == split_of


@pytest.mark.parametrize("ends", ["2:5", "-100:", ":600"])
def test_the_embedded_digits_are_sliced_too(ends: str) -> None:
    first, _, last = ends.partition(":")
    rows = slice(int(first) if first else None, int(last) if last else None)
    whole, taken = load_images("digits", "train"), load_images(f"digits[{ends}]", "train")
    assert torch.equal(taken.images, whole.images[rows])
    assert torch.equal(taken.labels, whole.labels[rows])
    assert (taken.name, taken.classes) == (f"digits[{ends}]", whole.classes)


def test_only_the_rows_of_the_slice_are_decoded(tmp_path: Path, write_table, encode) -> None:
    good = encode(np.zeros((2, 3), dtype=np.uint8))
    write_table(tmp_path / "half/train.parquet", images=[b"broken", good, good, b"broken"])
    assert len(load_images("half[1:3]", "train")) == 2
    with pytest.raises(DataError, match="cannot be decoded") as caught:
        load_images("half[2:]", "train")
    assert "row 3" in str(caught.value)  # counted on file, not in the slice


@pytest.mark.usefixtures("ten")
@pytest.mark.parametrize("source", ["ten[5:5]", "ten[10:]", "ten[7:3]", "ten[:-10]", "digits[5000:]"])
def test_a_slice_without_rows_is_refused(source: str) -> None:
    ends = source.partition("[")[2]
    with pytest.raises(DataError, match="takes none of") as caught:
        load_images(source, "train")
    assert f"the slice [{ends} takes none of {1297 if 'digits' in source else 10} rows" in str(caught.value)


@pytest.mark.parametrize("source", ["ten[3]", "ten[::2]", "ten[a:b]", "ten[]", "ten[1.5:2]", "ten[0:4][x]", "[1:2]"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_what_is_no_slice_is_refused(source: str, split: str) -> None:
    with pytest.raises(DataError, match="is no slice of rows") as caught:
        load_images(source, split)
    assert "such as digits[:600]" in str(caught.value)


def test_a_slice_of_a_single_file_and_of_an_image_folder(tmp_path: Path, write_table, write_images) -> None:
    file = write_table(tmp_path / "train.parquet", labels=[0, 1, 1])
    assert load_images(f"{file}[1:]", "train").images[:, 0, 0, 0].tolist() == [10, 20]
    write_images(tmp_path / "pets", {"train/cat": [10, 20], "train/dog": [30]})
    data = load_images("pets[1:]", "train")
    assert data.images[:, 0, 0, 0].tolist() == [20, 30]
    assert (data.name, data.classes) == ("pets[1:]", ("cat", "dog"))


def test_a_folder_that_is_called_like_a_slice_is_that_folder(tmp_path: Path, write_table) -> None:
    write_table(tmp_path / "odd[0:1]/train.parquet")
    data = load_images(str(tmp_path / "odd[0:1]"), "train")
    assert (len(data), data.name) == (4, "odd[0:1]")


def test_a_slice_of_a_set_on_the_hub(monkeypatch: pytest.MonkeyPatch, ten: Path) -> None:
    asked = []

    def read_hub(name: str, split: str, labelled: bool) -> module.Rows:
        asked.append(name)
        (rows,) = module._from_path(ten / "train-1.parquet", split, labelled)
        return rows

    monkeypatch.setattr(module, "_from_hub", read_hub)
    data = load_images("owner/pets[:2]", "train")
    assert asked == ["owner/pets"]
    assert (data.name, data.images[:, 0, 0, 0].tolist()) == ("owner/pets[:2]", [0, 10])
