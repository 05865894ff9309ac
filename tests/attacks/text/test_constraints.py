"""Constraints: word classes, similarity against a slow computation, edit distance against its recursion."""

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.attacks.text.constraints import (
    EditDistance,
    SameWordClass,
    Similarity,
    levenshtein,
    open_similarity,
    similarity_words,
)
from understudy.attacks.text.greedy import Constraint
from understudy.attacks.text.wordnet import WordNet
from understudy.attacks.text.words import Words
from understudy.errors import ConfigError, DependencyError
from understudy.models.text.tiny import build_tiny

LONG = "the film is good and the plot is dull and the actors were fine in this bright story of a film"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = ("good", "bad", "fine", "film", "plot", "dull", "bright", "story", "the", "is", "actors")
    return build_tiny(words, tmp_path_factory.mktemp("encoder") / "lm", hidden=32, seed=1)


def pick(
    constraint: Constraint, original: str, position: int, words: list[str], current: str | None = None
) -> list[str]:
    """Return the words that may be put at a position."""
    now = Words.of(current or original)
    held = constraint.allows(Words.of(original), now, position, [now.with_word(position, word) for word in words])
    return [word for word, holds in zip(words, held, strict=True) if holds]


def test_a_new_word_shares_a_part_of_speech(make_wordnet: Callable[..., Path]) -> None:
    wordnet = WordNet(make_wordnet())
    words = ["good", "story,", "ran", "well", "xyzzy", "Films"]
    assert pick(SameWordClass(wordnet), "a fine film", 1, words) == ["good", "xyzzy"]
    assert pick(SameWordClass(wordnet), "a fine story", 2, words) == ["good", "story,", "xyzzy", "Films"]
    assert pick(SameWordClass(wordnet, noun_verb_swap=True), "a fine story", 2, words) == [
        "good", "story,", "ran", "xyzzy", "Films",
    ]  # fmt: skip
    assert pick(SameWordClass(wordnet), "a plugh story", 1, words) == words
    # it is the original's class that counts, not that of what stands there now
    assert pick(SameWordClass(wordnet), "a fine film", 1, ["story", "great"], "a good film") == ["great"]


def slow_cosine(encoder: Path, a: str, b: str) -> float:
    transformers: Any = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(encoder)
    model = transformers.AutoModel.from_pretrained(encoder, add_pooling_layer=False).eval()
    states = []
    for text in (a, b):
        with torch.inference_mode():
            states.append(
                model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].double().mean(dim=0).numpy()
            )
    return float(states[0] @ states[1] / np.linalg.norm(states[0]) / np.linalg.norm(states[1]))


def window(text: str, position: int) -> str:
    words = text.split()
    return " ".join(words[max(0, position - 7) : position + 8])


@pytest.mark.parametrize("metric", ["cosine", "angular"])
@pytest.mark.parametrize("reference", ["original", "previous"])
def test_similarity_equals_a_slow_computation_in_a_window(encoder: Path, metric: Any, reference: Any) -> None:
    position, candidates = 9, ["good", "story", "is", "bright"]
    original, current = Words.of(LONG), Words.of(LONG).with_word(8, "bad")
    texts = [current.with_word(position, word) for word in candidates]
    compared = original if reference == "original" else current
    values = [slow_cosine(encoder, window(compared.text, position), window(text.text, position)) for text in texts]
    if metric == "angular":
        values = [1 - math.acos(min(1.0, value)) / math.pi for value in values]
    for threshold in [value + shift for value in values for shift in (-1e-3, 1e-3)]:
        if not -1 <= threshold <= 1:
            continue
        similar = Similarity(str(encoder), threshold=threshold, metric=metric, reference=reference)
        close = [abs(value - threshold) < 1e-4 for value in values]
        held = similar.allows(original, current, position, texts)
        assert [h for h, c in zip(held, close, strict=True) if not c] == [
            value >= threshold for value, c in zip(values, close, strict=True) if not c
        ]


def test_short_texts_are_not_checked_and_whole_texts_can_be(encoder: Path) -> None:
    words = ["good", "dull"]
    assert pick(Similarity(str(encoder), threshold=1.0), "the film is fine", 3, words) == words
    assert pick(Similarity(str(encoder), threshold=1.0, window=None), "the film is fine", 3, words) == []
    assert pick(Similarity(str(encoder), threshold=-1.0, window=None), "the film is fine", 3, words) == words


def test_closeness_is_the_similarity_of_whole_texts(encoder: Path) -> None:
    similar = Similarity(str(encoder), threshold=0.5)
    others = [Words.of("the film is fine"), Words.of("the film is dull"), Words.of("the plot is good")]
    found = similar.closeness(Words.of("the film is good"), others)
    expected = [slow_cosine(encoder, "the film is good", other.text) for other in others]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_similarity_needs_an_encoder_and_a_threshold_that_can_be(tmp_path: Path, encoder: Path) -> None:
    options: dict[str, Any] = {"attack": "bae", "metric": "cosine", "reference": "original"}
    assert open_similarity(None, None, **options) is None
    assert open_similarity(str(encoder), None, **options) is None
    with pytest.raises(DependencyError, match="--similarity-encoder"):
        open_similarity(None, 0.8, **options)
    with pytest.raises(ConfigError, match="no such folder"):
        open_similarity(str(tmp_path / "none"), 0.8, **options)
    with pytest.raises(ConfigError, match="cannot be"):
        Similarity(str(encoder), threshold=1.5)
    assert "not asked for" in similarity_words(None, "original")
    assert "0.8" in similarity_words(0.8, "original")


@cache
def slow_levenshtein(a: str, b: str) -> int:
    if not a or not b:
        return len(a) + len(b)
    return min(
        slow_levenshtein(a[1:], b) + 1,
        slow_levenshtein(a, b[1:]) + 1,
        slow_levenshtein(a[1:], b[1:]) + (a[0] != b[0]),
    )


@settings(deadline=None)
@given(st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_levenshtein_equals_its_recursion(a: str, b: str) -> None:
    assert levenshtein(a, b) == slow_levenshtein(a, b)


def test_edits_add_up_over_the_text() -> None:
    words = ["fine", "fin", "wine", "win", "dull"]
    assert pick(EditDistance(1), "a fine film", 1, words) == ["fine", "fin", "wine"]
    assert pick(EditDistance(2), "a fine film", 1, words, "a fine fill") == ["fine", "fin", "wine"]  # one is spent
    assert pick(EditDistance(2), "a fine film", 1, words, "a finest film") == ["fine", "fin", "wine", "win"]
