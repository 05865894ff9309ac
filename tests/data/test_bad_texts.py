"""Each way in which a user's sentences can be wrong ends in a message that says what, where and what to do."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from understudy.data import load_texts
from understudy.errors import DataError


def refusal(content: str | bytes, folder: Path, *, suffix: str = ".tsv", **columns: str) -> str:
    """Return the message that a train file of such content ends in."""
    file = folder / f"train{suffix}"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as caught:
        load_texts(str(file), "train", **columns)
    return str(caught.value)


def test_a_table_without_text_or_label_lists_its_columns(tmp_path: Path) -> None:
    message = refusal("id\tlabel\n1\t0\n2\t1\n", tmp_path)
    assert "no text column" in message
    assert "--text-column" in message
    assert "the table has: id, label" in message
    message = refusal("sentence\tgrade\nfine\t0\nbad\t1\n", tmp_path)
    assert "the labels are absent" in message
    assert "the table has: sentence, grade" in message


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_heading_of_unknown_names_is_no_row(tmp_path: Path, suffix: str) -> None:
    rows = [("fine", "0"), ("bad", "1"), ("worse", "1")]
    if suffix == ".parquet":
        pq.write_table(pa.table({"foo": [text for text, _ in rows], "bar": ["0", "1", "1"]}), tmp_path / "t.parquet")
        content: str | bytes = (tmp_path / "t.parquet").read_bytes()
    elif suffix == ".jsonl":
        content = "".join(f'{{"foo": "{text}", "bar": "{label}"}}\n' for text, label in rows)
    else:
        content = "foo,bar\n" + "".join(f"{text},{label}\n" for text, label in rows)
    message = refusal(content, tmp_path, suffix=suffix)
    assert "no text column" in message
    assert "name them with --text-column and --label-column; the table has: foo, bar" in message
    file = tmp_path / f"train{suffix}"
    data = load_texts(str(file), "train", text_column="foo", label_column="bar")
    assert (data.texts, data.classes) == (("fine", "bad", "worse"), ("0", "1"))


@pytest.mark.parametrize("labels", ["0 1 1", "no yes yes no"])
def test_a_first_line_with_a_label_of_its_own_is_a_heading(tmp_path: Path, labels: str) -> None:
    rows = "".join(f"sentence {row}\t{label}\n" for row, label in enumerate(labels.split()))
    message = refusal(f"foo\tbar\n{rows}", tmp_path)
    assert "no other row has the label 'bar'" in message
    assert "train.tsv, line 1" in message
    assert "--text-column and --label-column; the table has: foo | bar" in message
    data = load_texts(str(tmp_path / "train.tsv"), "train", text_column="foo", label_column="bar")
    assert len(data) == len(labels.split())
    (tmp_path / "train.tsv").write_text(rows)  # without it
    assert len(load_texts(str(tmp_path / "train.tsv"), "train")) == len(labels.split())


def test_counted_columns_do_not_hide_a_heading(tmp_path: Path) -> None:
    content = "foo,bar\nfine,0\nbad,1\n"
    message = refusal(content, tmp_path, suffix=".csv", text_column="1", label_column="2")
    assert "no other row has the label 'bar'" in message


def test_two_columns_with_usual_names_are_told_apart_by_the_user(tmp_path: Path) -> None:
    content = "sentence\ttext\tlabel\tclass\na\tb\t0\t1\nc\td\t1\t0\n"
    message = refusal(content, tmp_path, label_column="class")
    assert "several columns could hold the text: sentence, text" in message
    assert "--text-column sentence" in message
    assert "several columns could hold the label: label, class" in refusal(content, tmp_path, text_column="text")
    file = str(tmp_path / "train.tsv")
    data = load_texts(file, "train", text_column="text", label_column="class")
    assert (data.texts, data.labels.tolist()) == (("b", "d"), [1, 0])
    data = load_texts(file, "train", context_column="text", label_column="class")  # one of the two is spoken for
    assert (data.texts, data.contexts) == (("a", "c"), ("b", "d"))


def test_a_set_of_images_is_no_set_of_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"digits is a set of images(.|\n)*reviews"):
        load_texts("digits", "train")
    for name, column in (("pictures", "image"), ("films", "text")):
        (tmp_path / name).mkdir()
        pq.write_table(pa.table({column: ["a"], "label": [0]}), tmp_path / name / "train.parquet")
    monkeypatch.setenv("UNDERSTUDY_DATA", str(tmp_path))
    with pytest.raises(DataError) as caught:
        load_texts("zzqx", "train")
    assert "known: films, reviews. Without a network" in str(caught.value)


def test_a_table_of_many_columns_without_a_heading_wants_names(tmp_path: Path) -> None:
    message = refusal("1\tone\ttwo\n0\tthree\tfour\n", tmp_path)
    assert "the table has: 1, 2, 3, counted, for its first line names none: 1 | one | two" in message


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "no column 'stars'" in refusal("sentence\tlabel\nfine\t0\n", tmp_path, label_column="stars")
    assert "one column for two things" in refusal("sentence\tlabel\nfine\t0\n", tmp_path, label_column="sentence")


def test_two_columns_that_could_each_be_the_label(tmp_path: Path) -> None:
    assert "none of them is clearly the label" in refusal("a\tb\nc\td\n", tmp_path)
    assert "none of them is clearly the label" in refusal("1\t2\n3\t4\n", tmp_path)


@pytest.mark.parametrize("label", ["0", "-1", "yes"])
def test_one_class_is_refused(tmp_path: Path, label: str) -> None:
    message = refusal(f"sentence\tlabel\nfine\t{label}\nbad\t{label}\n", tmp_path)
    assert f"every row has the same label, '{label}'" in message
    assert ("published without labels" in message) == (label == "-1")


@pytest.mark.parametrize("suffix", [".tsv", ".csv"])
def test_empty_sentences_are_counted_and_placed(tmp_path: Path, suffix: str) -> None:
    lines = ["sentence,label", "fine,0", ",1", "bad,1", "  ,0"]
    message = refusal("\n".join(lines).replace(",", "\t" if suffix == ".tsv" else ","), tmp_path, suffix=suffix)
    assert "2 empty sentences of 4" in message
    assert f"train{suffix}, line 3; " in message
    assert f"train{suffix}, line 5" in message


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    message = refusal(b"sentence\tlabel\nfine\t0\ncaf\xe9\t1\n", tmp_path)
    assert "bytes that are no text" in message
    assert "line 3" in message
    assert "a zero byte" in refusal(b"fine\t0\nba\0d\t1\n", tmp_path)
    assert "bytes that are no text" in refusal(b"\x89PNG\r\n\x1a\n", tmp_path, suffix=".csv")


def test_bytes_in_a_parquet_column_are_no_text(tmp_path: Path) -> None:
    pq.write_table(pa.table({"sentence": [b"fine", b"\xff"], "label": [0, 1]}), tmp_path / "train.parquet")
    with pytest.raises(DataError, match="holds bytes and no text"):
        load_texts(str(tmp_path), "train")


@pytest.mark.parametrize("missing", ["nan", "NaN", "", "null"])
def test_missing_labels_are_counted_and_placed(tmp_path: Path, missing: str) -> None:
    message = refusal(f"sentence\tlabel\nfine\t0\nbad\t{missing}\nworse\t1\n", tmp_path)
    assert "1 of 3 labels are missing or NaN" in message
    assert "line 3" in message


def test_missing_labels_in_parquet_and_json(tmp_path: Path) -> None:
    table = pa.table({"sentence": ["a", "b", "c"], "label": [0.0, float("nan"), None]})
    pq.write_table(table, tmp_path / "train.parquet")
    with pytest.raises(DataError, match="2 of 3 labels are missing or NaN"):
        load_texts(str(tmp_path / "train.parquet"), "train")
    lines = '{"text": "a", "label": null}\n{"text": "b", "label": NaN}\n{"text": "c", "label": 1}\n'
    assert "2 of 3 labels are missing or NaN" in refusal(lines, tmp_path, suffix=".jsonl")


@pytest.mark.parametrize("score", ["0.5", "inf"])
def test_a_number_to_predict_is_no_class(tmp_path: Path, score: str) -> None:
    assert f"'{score}' is no class" in refusal(f"sentence\tlabel\nfine\t1\nbad\t{score}\n", tmp_path)


def test_a_list_is_no_class_and_a_number_no_sentence(tmp_path: Path) -> None:
    lines = '{"text": "a", "label": [1, 2]}\n{"text": "b", "label": [0]}\n'
    assert "is no class" in refusal(lines, tmp_path, suffix=".jsonl")
    lines = '{"text": "a", "label": 1}\n{"text": 7, "label": 0}\n'
    assert "holds int and no text" in refusal(lines, tmp_path, suffix=".jsonl")


def test_too_many_classes_are_no_classes(tmp_path: Path) -> None:
    rows = "\n".join(f"sentence {row}\tname {row}" for row in range(1001))
    assert "the label column holds 1001 different values" in refusal("text\tlabel\n" + rows, tmp_path)


def test_ragged_rows_are_placed(tmp_path: Path) -> None:
    message = refusal("sentence\tlabel\nfine\t0\nbad\tworse\t1\ngood\t1\n", tmp_path)
    assert "3 columns where the first line has 2" in message
    assert "line 3" in message


@pytest.mark.parametrize("lost", [5, 2, 1])
def test_a_file_cut_short_is_refused(tmp_path: Path, lost: int) -> None:
    whole = "sentence\tlabel\nfine\t0\nso bad\t1"  # within the last sentence, before its tab, after it
    message = refusal(whole[:-lost], tmp_path)
    assert "cut short" in message
    assert "line 3" in message


@pytest.mark.parametrize(
    ("suffix", "content", "message"),
    [
        (".csv", 'text,label\nfine,0\n"so bad', "not readable as comma-separated"),
        (".jsonl", '{"text": "fine", "label": 0}\n{"text": "so b', "not readable as JSON"),
        (".jsonl", "[" * 100_000, "not readable as JSON"),
        (".jsonl", '{"text": "fine", "label": 0}\n{"text": "bad"}\n', "the keys text, label"),
        (".jsonl", "[1, 2]\n", "no object"),
        (".parquet", "PAR1", "not readable as Parquet"),
        (".tsv", "", "the file is empty"),
        (".csv", "\n\n", "the file is empty"),
        (".jsonl", "", "the file is empty"),
        (".tsv", "sentence\tlabel\n", "the data set is empty"),
        (".tsv", "text\ttext\nfine\t0\n", "columns of one name"),
    ],
)
def test_damaged_and_empty_files(tmp_path: Path, suffix: str, content: str, message: str) -> None:
    assert message in refusal(content, tmp_path, suffix=suffix)


def test_a_truncated_parquet_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "train.parquet"
    pq.write_table(pa.table({"sentence": ["fine", "bad"], "label": [0, 1]}), file)
    assert "not readable as Parquet" in refusal(file.read_bytes()[:-20], tmp_path, suffix=".parquet")


def test_places_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    with pytest.raises(DataError, match="did you mean 'films'"):
        load_texts(str(tmp_path / "flims/"), "train")
    with pytest.raises(DataError, match="the folder holds: nothing"):
        load_texts(str(tmp_path / "films"), "train")
    (tmp_path / "films/test.tsv").write_text("fine\t0\nbad\t1\n")
    with pytest.raises(DataError, match=r"the folder holds: test\.tsv"):
        load_texts(str(tmp_path / "films"), "train")
    (tmp_path / "films/test.csv").write_text("fine,0\nbad,1\n")
    with pytest.raises(DataError, match=r"two files for one split: test\.tsv, test\.csv"):
        load_texts(str(tmp_path / "films"), "test")
    (tmp_path / "notes.txt").write_text("fine")
    with pytest.raises(DataError, match=r"ending in \.txt is no table"):
        load_texts(str(tmp_path / "notes.txt"), "test")
