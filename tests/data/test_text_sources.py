"""Sentences from every kind of file, with and without a heading, whole and in slices."""

import json
import os
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from understudy.data import load_texts
from understudy.errors import DataError

ROWS = [("a fine day", 1), ("rain again", 0), ("so so , but fine", 1)]


def write(file: Path, rows: list[tuple[str, object]] = ROWS, *, heading: tuple[str, str] | None = None) -> Path:
    """Write rows by the file's ending."""
    file.parent.mkdir(parents=True, exist_ok=True)
    names = heading or ("sentence", "label")
    if file.suffix == ".parquet":
        pq.write_table(pa.table({name: [row[column] for row in rows] for column, name in enumerate(names)}), file)
    elif file.suffix == ".jsonl":
        file.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows))
    else:
        mark = "\t" if file.suffix == ".tsv" else ","
        quoted = [(f'"{text}"' if mark == "," else text, str(label)) for text, label in rows]
        heading = heading or (names if mark == "," else None)  # a .csv file has one
        lines = [mark.join(row) for row in ([heading] if heading else []) + quoted]
        file.write_text("\n".join(lines) + "\n")
    return file


@pytest.mark.parametrize("suffix", [".tsv", ".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("heading", [None, ("text", "class"), ("Review", "Sentiment")])
def test_every_kind_of_file(tmp_path: Path, suffix: str, heading: tuple[str, str] | None) -> None:
    write(tmp_path / f"films/train{suffix}", heading=heading)
    data = load_texts(str(tmp_path / "films"), "train")
    assert data.texts == ("a fine day", "rain again", "so so , but fine")
    assert data.labels.tolist() == [1, 0, 1]
    assert data.classes == ("0", "1")
    assert (data.name, data.split, data.contexts) == ("films", "train", None)


@pytest.mark.parametrize("suffix", [".tsv", ".csv"])
def test_without_a_heading_the_label_may_come_first(tmp_path: Path, suffix: str) -> None:
    lines = ["1,'tis fine", "2,rain", "1,sun"]
    (tmp_path / f"train{suffix}").write_text("\n".join(lines).replace(",", "\t" if suffix == ".tsv" else ","))
    counted = {"text_column": "2", "label_column": "1"} if suffix == ".csv" else {}
    data = load_texts(str(tmp_path), "train", **counted)
    assert data.texts == ("'tis fine", "rain", "sun")
    assert (data.classes, data.labels.tolist()) == (("1", "2"), [0, 1, 0])


def test_labels_are_sorted_by_value_or_by_name(tmp_path: Path) -> None:
    numbers = write(tmp_path / "train.tsv", [("a b", 10), ("b c", 9), ("c d", -1)])
    assert load_texts(str(numbers), "train").classes == ("-1", "9", "10")
    names = write(tmp_path / "train.jsonl", [("a b", "sport"), ("b c", "arts"), ("c d", "sport")])
    data = load_texts(str(names), "train")
    assert (data.classes, data.labels.tolist()) == (("arts", "sport"), [1, 0, 1])


def test_whole_numbers_written_as_floats_and_truth_values_are_classes(tmp_path: Path) -> None:
    file = write(tmp_path / "train.parquet", [("a b", 1.0), ("b c", 0.0)])
    assert load_texts(str(file), "train").classes == ("0", "1")
    file = write(tmp_path / "train.jsonl", [("a b", True), ("b c", False)])
    assert load_texts(str(file), "train").classes == ("False", "True")


def test_class_names_come_from_the_metadata_of_the_hub(tmp_path: Path) -> None:
    features = datasets.Features(
        {"sentence": datasets.Value("string"), "label": datasets.ClassLabel(names=["worse", "better", "same"])}
    )
    rows = {"sentence": ["a b", "b c"], "label": [1, 0]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "train.parquet")
    data = load_texts(str(tmp_path / "train.parquet"), "train")
    assert (data.classes, data.labels.tolist()) == (("worse", "better", "same"), [1, 0])


def test_columns_are_named_by_the_user(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text(
        "id\tpremise\thypothesis\tverdict\n1\tit rains\tit is wet\tyes\n2\tsun\tice\tno\n"
    )
    data = load_texts(str(tmp_path), "train", context_column="premise", label_column="verdict")
    assert data.texts == ("it is wet", "ice")
    assert data.contexts == ("it rains", "sun")
    assert data.classes == ("no", "yes")
    (tmp_path / "train.tsv").write_text("3\ta headline\tits story\n1\tanother\tand its story\n")
    data = load_texts(str(tmp_path), "train", text_column="3", context_column="2", label_column="1")
    assert (data.texts, data.contexts) == (("its story", "and its story"), ("a headline", "another"))


def test_quotes_mean_something_in_commas_alone(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text('text,label\n"one, ""two""\nthree",0\nfour,1\n')
    assert load_texts(str(tmp_path), "train").texts == ('one, "two"\nthree', "four")
    (tmp_path / "train.csv").unlink()
    (tmp_path / "train.tsv").write_text('text\tlabel\r\n"quite, " he said\t0\r\nfour\u2028five\t1\r\n', newline="")
    assert load_texts(str(tmp_path), "train").texts == ('"quite, " he said', "four\u2028five")


def test_splits_and_their_other_names(tmp_path: Path) -> None:
    write(tmp_path / "train.tsv")
    write(tmp_path / "dev.tsv", [("only this", 1), ("and that", 0)])
    assert len(load_texts(str(tmp_path), "validation")) == 2
    assert len(load_texts(str(tmp_path), "test")) == 2  # a validation split stands in
    write(tmp_path / "test.csv", [("one more", 1), ("or less", 0), ("or none", 0)])
    assert load_texts(str(tmp_path), "test").texts[0] == "one more"


def test_a_single_file_is_one_split(tmp_path: Path) -> None:
    file = write(tmp_path / "train_small.tsv")
    assert load_texts(str(file), "train").name == "train_small"
    with pytest.raises(DataError, match="this one is read as train"):
        load_texts(str(file), "test")
    file = write(tmp_path / "films.tsv")
    assert len(load_texts(str(file), "test")) == 3
    for split in ("train", "validation"):
        with pytest.raises(DataError, match="this one is read as test"):
            load_texts(str(file), split)
    file = write(tmp_path / "dev.tsv")
    assert len(load_texts(str(file), "validation")) == len(load_texts(str(file), "test")) == 3


def test_shards_are_read_in_order(tmp_path: Path) -> None:
    write(tmp_path / "data/train-00000-of-00002.parquet", [("one", 0), ("two", 1)])
    write(tmp_path / "data/train-00001-of-00002.parquet", [("three", 1)])
    assert load_texts(str(tmp_path), "train").texts == ("one", "two", "three")


def test_a_name_is_looked_up_under_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_DATA", str(tmp_path))
    write(tmp_path / "films/train.tsv")
    assert load_texts("films", "train").name == "films"
    monkeypatch.setattr(datasets, "load_dataset", lambda _: (_ for _ in ()).throw(ConnectionError("offline")))
    with pytest.raises(DataError, match="did you mean 'films'"):
        load_texts("film", "train")


def test_a_set_of_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    names = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    table = datasets.Dataset.from_dict({"text": ["a b", "c d"], "label": [1, 0]}, features=names)
    monkeypatch.setattr(datasets, "load_dataset", lambda _: datasets.DatasetDict({"validation": table}))
    data = load_texts("owner/films", "test")
    assert (data.name, data.classes, data.labels.tolist()) == ("owner/films", ("no", "yes"), [1, 0])
    with pytest.raises(DataError, match="no split train"):
        load_texts("owner/films", "train")


def test_a_slice_takes_rows_of_the_train_split_alone(tmp_path: Path) -> None:
    write(tmp_path / "train.tsv", [("zero", 0), ("one", 1), ("two", 2), ("three", 0)])
    write(tmp_path / "test.tsv", [("four", 0), ("five", 1)])
    data = load_texts(f"{tmp_path}[:2]", "train")
    assert (data.texts, data.name) == (("zero", "one"), f"{tmp_path.name}[:2]")
    assert data.classes == ("0", "1", "2")  # of the whole split
    assert load_texts(f"{tmp_path}[-1:]", "train").texts == ("three",)
    assert load_texts(f"{tmp_path}[:2]", "test").texts == ("four", "five")
    with pytest.raises(DataError, match=r"the slice \[9:\] takes none of 4 rows"):
        load_texts(f"{tmp_path}[9:]", "train")
    with pytest.raises(DataError, match=r"\[2\] is no slice of rows"):
        load_texts(f"{tmp_path}[2]", "train")
    assert len(load_texts("reviews[:600]", "train")) == 600


def test_a_test_split_counts_its_classes_as_the_train_split_does(tmp_path: Path) -> None:
    write(tmp_path / "train.tsv", [("zero", "a"), ("one", "b"), ("two", "c"), ("none", "c")])
    write(tmp_path / "test.tsv", [("three", "c"), ("four", "b"), ("five", "b")])
    data = load_texts(str(tmp_path), "test")
    assert (data.classes, data.labels.tolist()) == (("a", "b", "c"), [2, 1, 1])
    write(tmp_path / "test.tsv", [("three", "d"), ("four", "d"), ("five", "b")])
    with pytest.raises(DataError, match="labels that training never shows: 'd'"):
        load_texts(str(tmp_path), "test")


@pytest.mark.skipif(
    not (Path(os.environ.get("UNDERSTUDY_DATA", "nowhere")) / "sst2").is_dir(), reason="no SST-2 under $UNDERSTUDY_DATA"
)
def test_sst2_as_it_is_published() -> None:
    train, validation, test = (load_texts("sst2", split) for split in ("train", "validation", "test"))
    assert [len(data) for data in (train, validation, test)] == [6920, 872, 1821]
    assert {data.classes for data in (train, validation, test)} == {("0", "1")}
    assert [data.labels.sum().item() for data in (train, validation, test)] == [3610, 444, 909]
    clean, removed = train.without(test)
    assert removed == 3  # two sentences, one of which stands twice in the train split
    assert len(clean) == 6917
    assert clean.without(test)[1] == 0
    assert train.without(validation)[1] == 0
