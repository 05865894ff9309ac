"""Texts as words: what is not changed stays, character by character."""

import random

import pytest

from understudy.attacks.text import Words


@pytest.mark.parametrize("text", ["", " ", "\n\t ", "a", " a", "a ", "  a  b ", "one\ttwo\n three", "a b c"])
def test_the_text_comes_back(text: str) -> None:
    words = Words.of(text)
    assert words.text == text
    assert list(words.words) == text.split()
    assert len(words.spaces) == len(words) + 1


def test_any_text_comes_back() -> None:
    rng = random.Random(1)
    for _ in range(300):
        text = "".join(rng.choice("ab. \t\n\x85é\x1f") for _ in range(rng.randrange(12)))
        assert Words.of(text).text == text
        assert list(Words.of(text).words) == text.split()


def test_one_word_changes_and_positions_stay() -> None:
    words = Words.of("  a fine\tfilm ")
    split = words.with_word(1, "fi ne")
    assert split.text == "  a fi ne\tfilm "
    assert split.with_word(2, "movie").text == "  a fi ne\tmovie "
    assert words.changed(split.with_word(2, "movie")) == (1, 2)
    assert words.with_words({0: "the", 2: "plot"}).text == "  the fine\tplot "
    assert words.changed(words) == ()


def test_a_word_is_blanked_by_the_victims_own_token() -> None:
    assert Words.of("a fine film", unknown="<unk>").blanked(1) == "a <unk> film"
    assert Words.of("a fine film", unknown="<unk>").with_word(0, "the").blanked(2) == "the fine <unk>"


def test_a_word_goes_with_one_of_its_spaces() -> None:
    words = Words.of(" a  fine film\n")
    assert [words.without(i) for i in range(3)] == [" fine film\n", " a film\n", " a  fine\n"]
    assert Words.of("film").without(0) == ""
    assert Words.of("two words").without(0) == "words"
    assert Words.of("two words").without(1) == "two"
