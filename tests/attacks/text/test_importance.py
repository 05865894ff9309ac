"""What orders words: golden numbers, and what is asked for."""

from collections.abc import Callable

import numpy as np
import pytest

from understudy.attacks.text import Words
from understudy.attacks.text.importance import Importance, Ranking, pwws_importance, rank, textfooler_importance


def drive(ranking: Ranking, p: Callable[[str], float]) -> tuple[list[list[str]], np.ndarray | None]:
    """Answer all requests for two classes; return them and what came of it."""
    requests, request = [], next(ranking)
    while True:
        requests.append(request)
        first = np.array([p(text) for text in request])
        try:
            request = ranking.send(np.stack([first, 1 - first], axis=1))
        except StopIteration as end:
            return requests, end.value


def test_pwws_golden_numbers() -> None:
    found = pwws_importance(np.array([0.3, 0.1, 0.6]), np.array([0.05, 0.4, 0.2]))
    assert found == pytest.approx([0.0157798917, 0.1033558607, 0.0852025030], abs=5e-11)
    assert list(np.argsort(-found)) == [1, 2, 0]


def test_pwws_without_candidates_is_zero_and_large_saliencies_do_not_overflow() -> None:
    assert list(pwws_importance(np.array([1e4, 0.0]), np.array([0.0, 0.5]))) == [0.0, 0.0]
    assert pwws_importance(np.zeros(0), np.zeros(0)).shape == (0,)


def test_textfooler_golden_numbers() -> None:
    before = np.array([0.9, 0.1])
    removed = np.array([[0.4, 0.6], [0.7, 0.3]])
    assert textfooler_importance(before, removed, 0) == pytest.approx([1.0, 0.2], abs=1e-15)


def test_textfooler_counts_the_class_that_the_prediction_turns_to() -> None:
    before = np.array([0.1, 0.6, 0.3])
    removed = np.array([[0.2, 0.3, 0.5], [0.45, 0.4, 0.15]])
    assert textfooler_importance(before, removed, 1) == pytest.approx([0.3 + 0.2, 0.2 + 0.35], abs=1e-15)


@pytest.mark.parametrize(
    ("importance", "asked"),
    [
        ("unk", [["[UNK] fine film", "a fine [UNK]"]]),
        ("delete", [["fine film", "a fine"]]),
        ("textfooler", [["fine film", "a fine"]]),
        ("pwws", [["[UNK] fine film", "a fine [UNK]"], ["a fine plot", "a fine show"]]),
    ],
)
def test_it_asks_for_no_more_than_it_needs(importance: Importance, asked: list[list[str]]) -> None:
    words = Words.of("a fine film")
    tries = {0: [], 2: [words.with_word(2, "plot"), words.with_word(2, "show")]}
    ranking = rank(importance, words, [0, 2], np.array([0.8, 0.2]), 0, tries.__getitem__)
    answers = {"[UNK] fine film": 0.5, "fine film": 0.5, "a fine plot": 0.6, "a fine show": 0.3}
    found, ended = drive(ranking, lambda text: answers.get(text, 0.7))
    assert found == asked
    expected = {
        "unk": [0.5, 0.3],
        "delete": [0.5, 0.3],
        "textfooler": [0.3, 0.1],
        "pwws": [0.0, np.exp(0.3) / (np.exp(0.5) + np.exp(0.3)) * 0.5],
    }[importance]
    assert ended == pytest.approx(expected, abs=1e-12)
    if importance == "pwws":
        assert ended[0] == 0.0


@pytest.mark.parametrize("importance", ["unk", "pwws"])
def test_a_short_answer_ends_it(importance: Importance) -> None:
    words = Words.of("fine film")
    ranking = rank(importance, words, [0, 1], np.array([0.8, 0.2]), 0, lambda i: [words.with_word(i, "x")])
    next(ranking)
    full, short = np.full((2, 2), 0.5), np.full((1, 2), 0.5)
    if importance == "pwws":
        ranking.send(full)
    with pytest.raises(StopIteration) as end:
        ranking.send(short)
    assert end.value.value is None
