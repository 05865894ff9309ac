"""Tables of synonyms, and how a find is fitted into the place of a word."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.attacks.text.synonyms import (
    SynonymSource,
    SynonymTable,
    keep_casing,
    replacements,
    split_punctuation,
)
from understudy.errors import DataError


@pytest.fixture
def table(tmp_path: Path) -> SynonymTable:
    path = tmp_path / "table.json"
    words = {"fine": ["good", "Fine", "very good", "grand", "good", "motion_picture"], "IBM": ["Apple"], "odd": []}
    path.write_text(json.dumps(words))
    return SynonymTable(path)


def test_words_are_looked_up_as_written_then_in_lower_case(table: SynonymTable) -> None:
    source: SynonymSource = table
    assert list(source.synonyms("IBM")) == ["Apple"]
    assert list(source.synonyms("ibm")) == []
    assert next(iter(source.synonyms("FINE"))) == "good"
    assert list(source.synonyms("odd")) == list(source.synonyms("xyzzy")) == []
    assert "table.json" in source.summary


def test_replacements_are_single_new_words_in_the_words_own_casing_and_punctuation(table: SynonymTable) -> None:
    assert replacements(table, "fine", 10) == ["good", "grand"]
    assert replacements(table, "(Fine,", 10) == ["(Good,", "(Grand,"]
    assert replacements(table, "FINE!", 1) == ["GOOD!"]
    assert replacements(table, "--", 10) == []
    assert replacements(table, "", 10) == []


@settings(deadline=None)
@given(st.text(max_size=20))
def test_splitting_punctuation_loses_nothing(word: str) -> None:
    before, core, after = split_punctuation(word)
    assert before + core + after == word
    assert not any(letter.isalnum() for letter in before + after)
    assert not core or (core[0].isalnum() and core[-1].isalnum())


def test_casing() -> None:
    assert [keep_casing(word, "good") for word in ("fine", "Fine", "FINE", "I", "")] == [
        "good", "Good", "GOOD", "Good", "good",
    ]  # fmt: skip
    assert keep_casing("fine", "Grand") == "Grand"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "cannot be read as JSON"),
        (b"\xff\xfe", "cannot be read as JSON"),
        (b"[1]", "it holds a list"),
        (b'{"fine": "good"}', "entry of 'fine'"),
        (b'{"fine": [1]}', "entry of 'fine'"),
        (b'{"fine": []}', "no word of it has a synonym"),
        (b"{}", "no word of it has a synonym"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "table.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        SynonymTable(path)


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        SynonymTable(tmp_path / "none.json")
