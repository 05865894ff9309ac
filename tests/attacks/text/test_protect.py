"""Which words attacks leave alone."""

import pytest

from understudy.attacks.text import Words, attackable, protected


@pytest.mark.parametrize(
    "word",
    ["the", "The", "THE", "not", "Not,", "n't", "don't", "don’t", "never", "(without)", "a", "I", "x", "42", "3.14",
     "--", "...", "'s", "`", "s.", "without"],
)  # fmt: skip
def test_these_stay(word: str) -> None:
    assert protected(word)


@pytest.mark.parametrize("word", ["film", "Film.", "ok", "3d", "well-made", "naïve", "映画", "O'Brien", "notable"])
def test_these_may_change(word: str) -> None:
    assert not protected(word)


def test_only_what_reaches_the_model_is_attacked() -> None:
    words = Words.of("the film is not a very good film")
    assert attackable(words, 8) == [1, 6, 7]
    assert attackable(words, 7) == [1, 6]
    assert attackable(words, 0) == []
