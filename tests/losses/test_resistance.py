"""Sparse targets: the specification's numbers, its properties, and the same by a slow second way."""

import math

import numpy as np
import pytest
import torch

from understudy.losses import kept_classes, sparse_target

LN = {number: math.log(number) for number in (4, 9, 16)}
ADVERSARIAL = [[LN[9], 0.0, LN[4], -LN[4]], [0.0, LN[16], LN[4], 0.0]]


def random_logits(rows: int = 64, classes: int = 7, seed: int = 0) -> torch.Tensor:
    return 3 * torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slowly(row: list[float], keep: int, temperature: float) -> list[float]:
    """Powers of probabilities over the kept classes, in the order of the text."""
    order = sorted(range(len(row)), key=lambda place: (-row[place], place))[:keep]
    probs = [math.exp(value) / sum(map(math.exp, row)) for value in row]
    powers = [probs[place] ** (1 / temperature) if place in order else 0.0 for place in range(len(row))]
    return [power / sum(powers) for power in powers]


def test_the_specifications_numbers() -> None:
    found = sparse_target(torch.tensor(ADVERSARIAL, dtype=torch.float64), 2, 2.0)
    expected = [[0.6, 0, 0.4, 0], [0, 2 / 3, 1 / 3, 0]]
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 6.0, 30.0])
@pytest.mark.parametrize("keep", [1, 2, 5, 7])
def test_it_is_the_kept_probabilities_to_a_power(keep: int, temperature: float) -> None:
    logits = random_logits()
    found = sparse_target(logits, keep, temperature)
    expected = [slowly(row, keep, temperature) for row in logits.tolist()]
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("keep", [1, 2, 5])
def test_a_row_keeps_exactly_so_many_classes_and_the_largest_among_them(keep: int) -> None:
    logits = random_logits()
    found = sparse_target(logits, keep, 4.0)
    assert torch.equal((found > 0).sum(dim=1), torch.full((64,), keep))
    assert torch.equal(found > 0, kept_classes(logits, keep))
    np.testing.assert_allclose(found.sum(dim=1).numpy(), 1.0, rtol=0, atol=1e-12)
    assert torch.equal(found.argmax(dim=1), logits.argmax(dim=1))


def test_of_equal_logits_the_first_are_kept() -> None:
    """More columns than a sort by insertion takes, for that one is stable by itself."""
    ties = torch.zeros(3, 100)
    ties[1, 40:] = 1.0
    ties[2, ::2] = 1.0
    found = kept_classes(ties, 3)
    assert [row.nonzero().flatten().tolist() for row in found] == [[0, 1, 2], [40, 41, 42], [0, 2, 4]]
    assert torch.equal(sparse_target(ties, 3, 6.0) > 0, found)


def test_a_constant_added_to_a_row_changes_nothing() -> None:
    logits = random_logits()
    shifts = torch.linspace(-50, 50, 64, dtype=torch.float64)[:, None]
    moved = sparse_target(logits + shifts, 3, 6.0)
    np.testing.assert_allclose(moved.numpy(), sparse_target(logits, 3, 6.0).numpy(), rtol=0, atol=1e-12)


def test_all_classes_kept_is_the_softmax() -> None:
    logits = random_logits()
    expected = torch.softmax(logits / 6, dim=1)
    np.testing.assert_allclose(sparse_target(logits, 7, 6.0).numpy(), expected.numpy(), rtol=0, atol=1e-14)


def test_half_precision_is_widened_and_no_gradient_flows() -> None:
    logits = random_logits().bfloat16().requires_grad_()
    found = sparse_target(logits, 2, 6.0)
    assert found.dtype == torch.float32
    assert not found.requires_grad


@pytest.mark.parametrize("keep", [0, -1, 8])
def test_impossible_numbers_of_classes_are_refused(keep: int) -> None:
    with pytest.raises(ValueError, match="of 7 classes"):
        sparse_target(random_logits(), keep, 6.0)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_impossible_temperatures_are_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="not above 0"):
        sparse_target(random_logits(), 2, temperature)
