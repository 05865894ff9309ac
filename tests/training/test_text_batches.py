"""Batches of sentences: a function of (seed, step), every row once, short beside short."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from understudy.data import TextSet
from understudy.errors import ConfigError, DataError
from understudy.training.text_batches import TextBatch, TextBatches


class Letters:
    """Stands in for a backbone: a token a letter, its code, filled up on the right or on the left."""

    def __init__(self, *, left: bool = False, classes: int = 2) -> None:
        self.left, self.classes, self.asked = left, classes, 0

    def encode(self, texts: Sequence[str], contexts: Sequence[str] | None = None) -> dict[str, Tensor]:
        self.asked += 1
        whole = [c + t for c, t in zip(contexts, texts, strict=True)] if contexts else texts
        width = max(map(len, whole))
        filled = [text.rjust(width, "\0") if self.left else text.ljust(width, "\0") for text in whole]
        tokens = torch.tensor([[ord(letter) for letter in text] for text in filled])
        return {"input_ids": tokens, "attention_mask": (tokens > 0).long()}


def sentences(rows: int = 40, **more: object) -> TextSet:
    texts = tuple(chr(48 + row) * (1 + (7 * row) % 23) for row in range(rows))
    return TextSet("letters", "train", texts, torch.arange(rows) % 2, ("no", "yes"), **more)


def written(batch: TextBatch) -> list[str]:
    rows = zip(batch.encoded["input_ids"], batch.encoded["attention_mask"], strict=True)
    return ["".join(chr(token) for token in row[mask == 1].tolist()) for row, mask in rows]


@pytest.mark.parametrize("left", [False, True])
def test_each_batch_holds_its_rows_and_no_empty_column(left: bool) -> None:
    data, backbone = sentences(), Letters(left=left)
    batches = TextBatches(data, backbone, batch_size=8, seed=0)
    for step in range(12):
        batch = batches.at(step)
        assert written(batch) == [data.texts[row] for row in batch.rows.tolist()]
        assert torch.equal(batch.labels, data.labels[batch.rows])
        assert batch.encoded["input_ids"].shape[1] == max(len(data.texts[row]) for row in batch.rows.tolist())
    assert backbone.asked == 1


def test_every_row_once_an_epoch_less_a_last_batch_that_is_not_full() -> None:
    batches = TextBatches(sentences(43), Letters(), batch_size=8, seed=0)
    assert (batches.batch_size, batches.steps_per_epoch) == (8, 5)
    missing = set()
    for epoch in range(20):
        rows = torch.cat([batches.at(5 * epoch + step).rows for step in range(5)])
        assert len(rows.unique()) == 40
        missing |= set(range(43)) - set(rows.tolist())
    assert len(missing) > 10  # another remainder in each epoch: sorting by length must not choose it


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    one = TextBatches(sentences(), Letters(), batch_size=8, seed=0)
    other = TextBatches(sentences(), Letters(), batch_size=8, seed=0)
    forwards = [one.at(step).rows for step in range(15)]
    backwards = [other.at(step).rows for step in reversed(range(15))][::-1]
    assert all(torch.equal(a, b) for a, b in zip(forwards, backwards, strict=True))
    elsewhere = TextBatches(sentences(), Letters(), batch_size=8, seed=1)
    assert not all(torch.equal(elsewhere.at(step).rows, rows) for step, rows in enumerate(forwards))
    named = TextBatches(sentences(), Letters(), batch_size=8, seed=0, name="other")
    assert not all(torch.equal(named.at(step).rows, rows) for step, rows in enumerate(forwards))


def test_sorting_by_length_fills_less_up_and_keeps_batches_in_no_order_of_length() -> None:
    sorted_, plain = (TextBatches(sentences(), Letters(), batch_size=8, seed=0, pool=pool) for pool in (50, 1))
    widths = [[batches.at(step).encoded["input_ids"].shape[1] for step in range(5)] for batches in (sorted_, plain)]
    assert sum(widths[0]) < sum(widths[1])
    orders = {
        tuple(sorted_.at(5 * epoch + step).encoded["input_ids"].shape[1] for step in range(5)) for epoch in range(6)
    }
    assert any(list(order) != sorted(order) for order in orders)


def test_fewer_rows_than_a_batch_are_one_batch() -> None:
    batches = TextBatches(sentences(3), Letters(), batch_size=32, seed=0)
    assert batches.steps_per_epoch == 1
    assert sorted(batches.at(4).rows.tolist()) == [0, 1, 2]


def test_the_shares_of_several_processes_are_the_batch_of_one() -> None:
    batches = TextBatches(sentences(), Letters(), batch_size=8, seed=0)
    shares = [batches.at(3, rank=rank, world=2) for rank in range(2)]
    whole = batches.at(3)
    assert torch.equal(torch.cat([share.rows for share in shares]), whole.rows)
    widths = {share.encoded["input_ids"].shape[1] for share in shares}
    assert widths == {whole.encoded["input_ids"].shape[1]}
    with pytest.raises(ConfigError, match="does not divide among 3 processes"):
        batches.at(0, rank=0, world=3)


def test_contexts_are_handed_on() -> None:
    data = sentences(4, contexts=("w", "x", "y", "z"))
    batches = TextBatches(data, Letters(), batch_size=4, seed=0)
    assert sorted(text[0] for text in written(batches.at(0))) == ["w", "x", "y", "z"]


def test_what_cannot_be_batched_is_refused() -> None:
    with pytest.raises(ConfigError, match="batch_size is 0"):
        TextBatches(sentences(), Letters(), batch_size=0, seed=0)
    more = TextSet("letters", "train", ("a", "b"), torch.tensor([0, 2]), ("x", "y", "z"))
    with pytest.raises(DataError, match="3 classes, and the model has 2"):
        TextBatches(more, Letters(), batch_size=2, seed=0)
