"""What attackers make of answers: by hand, by slow loops, and in what they must never lose."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from understudy.methods.attackers.centred import means_by_class
from understudy.methods.attackers.composition import composed
from understudy.methods.attackers.regression import centred_error, rank_loss
from understudy.methods.attackers.uniform_tail import uniform_tail

seeds = st.integers(0, 2**32 - 1)


def random_logits(seed: int, rows: int = 6, classes: int = 5, scale: float = 4.0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, scale, (rows, classes)))


def test_the_tail_by_hand() -> None:
    rows = torch.tensor([[0.7, 0.2, 0.06, 0.04], [0.1, 0.0, 0.9, 0.0], [0.0, 1.0, 0.0, 0.0]], dtype=torch.float64)
    expected = [[0.7, 0.1, 0.1, 0.1], [0.1 / 3, 0.1 / 3, 0.9, 0.1 / 3], [0.0, 1.0, 0.0, 0.0]]
    assert uniform_tail(rows).numpy() == pytest.approx(np.array(expected), abs=1e-15)


def test_of_equal_classes_the_lowest_stays_the_first() -> None:
    assert uniform_tail(torch.tensor([[0.2, 0.4, 0.4]], dtype=torch.float64)).argmax(dim=1).tolist() == [1]
    assert uniform_tail(torch.full((1, 4), 0.25)).tolist() == [[0.25] * 4]


@given(seed=seeds)
def test_the_tail_keeps_the_first_class_and_its_share_and_forgets_the_order_of_the_rest(seed: int) -> None:
    probs = random_logits(seed).softmax(dim=1)
    found = uniform_tail(probs)
    assert torch.equal(found.argmax(dim=1), probs.argmax(dim=1))
    assert torch.equal(found.amax(dim=1), probs.amax(dim=1))
    assert found.sum(dim=1).numpy() == pytest.approx(1, abs=1e-12)
    assert torch.allclose(uniform_tail(found), found)
    tail = found.sort(dim=1).values[:, :-1]
    assert torch.equal(tail, tail[:, :1].expand_as(tail))


@given(seed=seeds, beta=st.floats(0, 1))
def test_composed_targets_are_label_and_answer(seed: int, beta: float) -> None:
    soft = random_logits(seed).div(50).softmax(dim=1)
    labels = torch.arange(6) % 5
    found = composed(labels, soft, beta=beta)
    for row in range(6):
        for k in range(5):
            expected = (1 - beta) * float(k == labels[row]) + beta * float(soft[row, k])
            assert float(found[row, k]) == pytest.approx(expected, abs=1e-12)
    assert torch.equal(composed(labels, soft, beta=1.0), soft)


def test_composition_by_hand() -> None:
    """σ₂([ln16, ln4, 0, 0]) is [1/2, 1/4, 1/8, 1/8]; half of it and half of class 1."""
    soft = torch.tensor([[16.0, 4.0, 1.0, 1.0]], dtype=torch.float64).log().div(2).softmax(dim=1)
    found = composed(torch.tensor([1]), soft, beta=0.5)[0].tolist()
    assert found == pytest.approx([0.25, 0.625, 0.0625, 0.0625], abs=1e-15)


@given(seed=seeds)
def test_means_by_class_are_those_of_a_slow_loop(seed: int) -> None:
    logits = random_logits(seed, rows=12)
    rows, classes = logits.numpy(), 5
    found = means_by_class(logits).numpy()
    for k in range(classes):
        mine = [row for row in rows if row.argmax() == k]
        for j in range(classes):
            column = [row[j] for row in (mine if mine and j != k else rows)]
            assert found[k, j] == pytest.approx(sum(column) / len(column), abs=1e-12)


def test_means_by_class_are_the_same_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = random_logits(3, rows=50)
    whole = means_by_class(logits)
    monkeypatch.setattr("understudy.methods.attackers.centred._PIECE", 7)
    assert torch.allclose(means_by_class(logits), whole, atol=1e-12, rtol=0)


@given(seed=seeds, shift=st.floats(-50, 50))
def test_the_error_of_logits_is_that_of_a_slow_loop_and_sees_no_shift(seed: int, shift: float) -> None:
    ours, theirs = random_logits(seed), random_logits(seed + 1)
    slow = []
    for s, t in zip(ours.numpy(), theirs.numpy(), strict=True):
        slow.append(sum(((s[k] - s.mean()) - (t[k] - t.mean())) ** 2 for k in range(5)) / 5)
    assert centred_error(ours, theirs).numpy() == pytest.approx(np.array(slow), abs=1e-9)
    assert torch.allclose(centred_error(ours + shift, theirs), centred_error(ours, theirs), atol=1e-9)
    assert not centred_error(theirs, theirs).any()


@given(seed=seeds, top=st.integers(2, 5))
def test_the_loss_of_order_is_that_of_a_slow_loop(seed: int, top: int) -> None:
    ours, theirs = random_logits(seed), random_logits(seed + 1)
    slow = []
    for s, t in zip(ours.tolist(), theirs.tolist(), strict=True):
        first = sorted(range(5), key=lambda k: -t[k])[:top]
        pairs = [(first[i], first[j]) for i in range(top) for j in range(i + 1, top)]
        slow.append(sum(math.log1p(math.exp(s[j] - s[i])) for i, j in pairs) / len(pairs))
    assert rank_loss(ours, theirs, top=top).numpy() == pytest.approx(np.array(slow), abs=1e-9)


def test_the_loss_of_order_by_hand() -> None:
    """A student of equal logits pays ln 2 a pair; one that has the teacher's order, and widely, next to nothing."""
    teacher = torch.tensor([[3.0, 2.0, 1.0, 0.0]], dtype=torch.float64)
    assert float(rank_loss(torch.zeros_like(teacher), teacher, top=3)) == pytest.approx(math.log(2), abs=1e-15)
    assert float(rank_loss(100 * teacher, teacher, top=3)) < 1e-20
    assert float(rank_loss(-teacher, teacher, top=2)) == pytest.approx(math.log1p(math.e), abs=1e-12)
