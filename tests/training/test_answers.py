"""Answers: softened as logits are or as probabilities, and looked up by row and view."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.errors import DataError
from understudy.training.served import Answers, Served


def slow_powers(rows: np.ndarray, temperature: float) -> np.ndarray:
    """p^(1/T) made to sum to 1, in float64, one row at a time; 0 stays 0."""
    found = []
    for row in rows.astype(np.float64):
        logs = [math.log(p) / temperature if p else -math.inf for p in row]
        weights = [math.exp(value - max(logs)) for value in logs]
        found.append([weight / sum(weights) for weight in weights])
    return np.array(found)


@given(seed=st.integers(0, 2**32 - 1), temperature=st.floats(0.25, 50))
@settings(max_examples=50, deadline=None)
def test_probabilities_are_softened_as_the_logits_behind_them(seed: int, temperature: float) -> None:
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 5, (4, 6))
    exact = np.exp(logits / temperature - (logits / temperature).max(1, keepdims=True))
    exact /= exact.sum(1, keepdims=True)
    wide = torch.from_numpy(logits)
    of_logits = Answers(wide, "logits").softened(temperature)
    of_probabilities = Answers(wide.softmax(1), "probabilities").softened(temperature)
    np.testing.assert_allclose(of_logits.numpy(), exact, rtol=0, atol=1e-12)
    np.testing.assert_allclose(of_probabilities.numpy(), exact, rtol=0, atol=1e-10)


@given(seed=st.integers(0, 2**32 - 1), temperature=st.floats(0.05, 100))
@settings(max_examples=50, deadline=None)
def test_a_probability_of_0_stays_0_and_rows_sum_to_1(seed: int, temperature: float) -> None:
    generator = np.random.default_rng(seed)
    rows = generator.random((5, 7)) ** 20 * (generator.random((5, 7)) < 0.5)
    rows[:, 3] += 1e-30  # no row of zeros, and numbers that underflow when raised
    values = torch.from_numpy(rows / rows.sum(1, keepdims=True)).float()
    soft = Answers(values, "probabilities").softened(temperature)
    assert (soft[values == 0] == 0).all()
    torch.testing.assert_close(soft.sum(1), torch.ones(5))
    np.testing.assert_allclose(soft.numpy(), slow_powers(values.numpy(), temperature), rtol=0, atol=2e-5)


def test_a_label_alone_is_the_same_at_every_temperature() -> None:
    answers = Answers(torch.eye(3), "probabilities")
    for temperature in (0.1, 1.0, 20.0):
        assert torch.equal(answers.softened(temperature), torch.eye(3))


def test_logits_are_finite_in_any_case() -> None:
    logits = torch.tensor([[3.0, -2.0]])
    assert Answers(logits, "logits").logits() is logits
    found = Answers(torch.tensor([[1.0, 0.0]]), "probabilities").logits(floor=1e-4)
    torch.testing.assert_close(found, torch.tensor([[0.0, math.log(1e-4)]]))


def test_the_top_class_is_the_lowest_of_equal_ones() -> None:
    assert Answers(torch.tensor([[0.2, 0.4, 0.4], [0.1, 0.2, 0.7]]), "probabilities").top1().tolist() == [1, 2]


@pytest.fixture
def served() -> Served:
    keys = torch.tensor([3, 4, 10, 17])  # two views an image: rows 1, 2, 5 and 8
    values = keys[:, None].half() + torch.tensor([0.0, 0.5]).half()
    return Served(keys, values, kind="logits", views=2, device=torch.device("cpu"), asked=1)


def test_answers_are_found_by_row_and_view(served: Served) -> None:
    found = served.at(torch.tensor([8, 1, 8, 2]), torch.tensor([1, 1, 1, 0]))
    assert found.values.tolist() == [[17.0, 17.5], [3.0, 3.5], [17.0, 17.5], [4.0, 4.5]]
    assert found.values.dtype == served.all().values.dtype == torch.float32
    assert served.all().values[:, 0].tolist() == served.keys.tolist()
    assert (served.rows.tolist(), served.classes, len(served)) == ([1, 2, 5, 8], 2, 4)


@pytest.mark.parametrize(("row", "view"), [(0, 0), (1, 0), (5, 1), (9, 0), (900, 1)])
def test_what_was_never_asked_is_not_made_up(served: Served, row: int, view: int) -> None:
    with pytest.raises(DataError, match="never asked for"):
        served.at(torch.tensor([1, row]), torch.tensor([1, view]))


def test_of_no_queries_there_are_no_answers() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    served = Served(none, torch.zeros(0, 3), kind="logits", views=2, device=torch.device("cpu"))
    assert served.at(none, none).values.shape == (0, 3)
    with pytest.raises(DataError, match="never asked for"):
        served.at(torch.tensor([0]), torch.tensor([0]))
