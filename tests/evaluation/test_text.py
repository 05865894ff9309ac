"""Counting what attacks on sentences did, and asking a classifier."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from understudy.attacks.text import Record
from understudy.errors import DataError
from understudy.evaluation.text import answers, attacked_texts, tally


def record(status: str, *, text: str = "a b c d", attacked: str = "x b c d", **given: object) -> Record:
    values = {
        "attack": "deepwordbug", "row": 0, "label": 1, "queries": 4, "changed": (0,), "exhausted": False,
        "no_candidates": False, "score_before": 0.1, "score_after": 0.9, "predicted_before": 1, "predicted_after": 0,
    }  # fmt: skip
    return Record(text=text, attacked=attacked, status=status, **{**values, **given})  # type: ignore[arg-type]


class Longest:
    """Says class 1 of texts of more than three letters; remembers what it was asked."""

    classes, labels, backbone, passes, sha256 = 2, ("no", "yes"), None, 1.0, "0"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def probs(self, texts: Sequence[str], contexts: Sequence[str] | None = None) -> Tensor:  # noqa: ARG002
        self.asked += texts
        right = torch.tensor([len(text) > 3 for text in texts]).float()
        return torch.stack([1 - right, right], dim=1)


def test_every_sentence_is_counted_once_and_rates_leave_out_what_was_wrong_before() -> None:
    found = tally(
        [
            record("success", changed=(0, 1), queries=10),
            record("success", queries=6),
            record("failed", exhausted=True, queries=20),
            record("failed", attacked="a b c d", changed=(), no_candidates=True, queries=1),
            record("skipped", attacked="a b c d", changed=(), queries=1),
        ]
    )
    assert (found.sentences, found.success, found.failed, found.skipped) == (5, 2, 2, 1)
    assert (found.exhausted, found.no_candidates) == (1, 1)
    assert found.queries == pytest.approx(38 / 5)
    assert found.changed_share == pytest.approx((0.5 + 0.25) / 2)
    assert found.accuracy.value == pytest.approx(2 / 5)
    assert found.success_rate is not None
    assert found.success_rate.value == pytest.approx(2 / 4)


def test_what_nothing_is_known_of_has_no_number() -> None:
    found = tally([record("skipped")])
    assert found.success_rate is None
    assert found.changed_share is None
    with pytest.raises(DataError, match="no attacked sentences"):
        tally([])


def test_skipped_sentences_count_by_the_unchanged_text() -> None:
    skipped = replace(record("skipped"), attacked="something else")
    assert attacked_texts([record("success"), record("failed"), skipped]) == ["x b c d", "x b c d", "a b c d"]


def test_answers_keep_the_order_and_ask_each_sentence_once() -> None:
    texts = ["word" if number % 3 else "a" for number in range(200)]
    model = Longest()
    found = answers(model, texts)  # type: ignore[arg-type]
    assert found.predictions.tolist() == [int(number % 3 > 0) for number in range(200)]
    assert model.asked == texts
    assert found.sentences_per_s > 0
    with pytest.raises(DataError, match="no sentences"):
        answers(model, [])  # type: ignore[arg-type]
