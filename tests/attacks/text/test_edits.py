"""Edits of one character: what each may do, over many draws."""

import random
from collections import Counter

import pytest

from understudy.attacks.text import Words
from understudy.attacks.text.characters import EditCandidates
from understudy.attacks.text.constraints import levenshtein
from understudy.attacks.text.edits import (
    KEYS,
    Edit,
    delete,
    delete_inside,
    insert,
    mistype,
    split,
    substitute,
    swap,
    swap_inside,
)

WORDS = ("film", "Story", "ACTING", "aab", "hollow", "it", "naïve", "o'clock")


def draws(edit: Edit, word: str, count: int = 300) -> set[str | None]:
    rng = random.Random(word)
    return {edit(word, rng) for _ in range(count)}


@pytest.mark.parametrize("word", WORDS)
def test_edits_do_what_their_names_say(word: str) -> None:
    for found in draws(swap, word) - {None}:
        assert Counter(found) == Counter(word)
        assert found != word
        assert sum(a != b for a, b in zip(found, word, strict=True)) == 2
    for found in draws(substitute, word):
        assert sum(a != b for a, b in zip(found, word, strict=True)) == 1
    for found in draws(delete, word):
        assert (len(found), levenshtein(word, found)) == (len(word) - 1, 1)
    for found in draws(insert, word):
        assert (len(found), levenshtein(word, found)) == (len(word) + 1, 1)
    for found in draws(split, word):
        assert found.replace(" ", "") == word
        assert found.strip() == found
        assert found.count(" ") == 1
    for found in draws(mistype, word):
        assert sum(a != b for a, b in zip(found, word, strict=True)) == 1


@pytest.mark.parametrize("word", ["film", "Story", "hollow", "aabb"])
def test_inner_edits_keep_the_first_and_the_last_letter(word: str) -> None:
    for edit in (delete_inside, swap_inside):
        for found in draws(edit, word) - {None}:
            assert (found[0], found[-1]) == (word[0], word[-1])
            assert found != word


def test_every_place_and_every_letter_is_drawn() -> None:
    assert draws(swap, "film") == {"iflm", "flim", "fiml"}
    assert draws(swap_inside, "films") == {"flims", "fimls"}
    assert draws(delete, "film") == {"ilm", "flm", "fim", "fil"}
    assert draws(delete_inside, "film") == {"flm", "fim"}
    assert draws(split, "film") == {"f ilm", "fi lm", "fil m"}
    assert len(draws(substitute, "it", 5000)) == 50
    assert len(draws(insert, "it", 5000)) == 3 * 26 - 2  # an i beside the i and a t beside the t come about twice


def test_where_an_edit_is_not_possible_it_says_so() -> None:
    assert draws(swap, "aaa") == {None}
    assert draws(swap, "a") == {None}
    assert draws(swap_inside, "abc") == {None}
    assert draws(swap_inside, "abba") == {None}
    assert draws(delete, "a") == {None}
    assert draws(delete_inside, "ab") == {None}
    assert draws(split, "a") == {None}
    assert draws(mistype, "映画") == {None}


def test_typing_errors_look_alike_or_lie_beside() -> None:
    assert KEYS["q"] == "wa"
    assert KEYS["s"] == "adwx"
    assert KEYS["m"] == "nj"
    assert draws(mistype, "o") == {"0", "i", "p", "l"}
    assert draws(mistype, "A") == {"@", "S", "Q", "Z"}
    assert set(KEYS) == set("abcdefghijklmnopqrstuvwxyz")
    assert all(letter not in near and near for letter, near in KEYS.items())


def test_candidates_keep_the_punctuation_and_differ() -> None:
    candidates = EditCandidates((swap, substitute, delete, insert), 4)
    for seed in range(100):
        found = candidates(Words.of("a (fine,"), 1, random.Random(seed))
        assert all(word.startswith("(") and word.endswith(",") and word != "(fine," for word in found)
        assert 1 <= len(found) <= 4
        assert len(set(found)) == len(found)


def test_short_words_have_no_candidates_where_a_length_is_asked_for() -> None:
    candidates = EditCandidates((split, delete_inside), 4, shortest=4)
    assert candidates(Words.of("fun."), 0, random.Random(0)) == []
    assert candidates(Words.of("film"), 0, random.Random(0)) != []


def test_more_candidates_are_further_draws() -> None:
    few, many = (
        EditCandidates((substitute, insert), limit)(Words.of("film"), 0, random.Random(3)) for limit in (2, 12)
    )
    assert many[: len(few)] == few
    assert len(many) > 6
