"""Entropies, the area under the ROC curve, and tables of who was taken for whom."""

import math
import random

import pytest
import torch

from understudy.errors import DataError
from understudy.evaluation.text_profile import bin_edges, confusion, entropies, histogram, roc_area


def test_entropies_are_those_of_the_specification() -> None:
    found = entropies(torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [1.0, 0.0]], dtype=torch.float64))
    expected = [0.3250829733914482, 0.6730116670092565, 0.5004024235381879, 0.0]
    assert found == pytest.approx(expected, abs=1e-14)
    assert math.copysign(1.0, found[-1]) == 1.0


def test_the_area_is_the_share_of_pairs_in_the_right_order() -> None:
    draw = random.Random(3)
    clean = [round(draw.random(), 1) for _ in range(23)]
    attacked = [round(draw.random() + 0.2, 1) for _ in range(31)]
    wins = sum((high > low) + 0.5 * (high == low) for low in clean for high in attacked)
    found = roc_area(clean, attacked)
    assert found.value == pytest.approx(wins / (23 * 31), abs=1e-12)
    assert 0 <= found.low < found.value < found.high <= 1
    assert found.n == 54


def test_the_interval_is_that_of_hanley_and_mcneil() -> None:
    found = roc_area([0.1, 0.2, 0.5], [0.15, 0.3, 0.6, 0.7])
    area = 9 / 12
    first, second = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (area * (1 - area) + 3 * (first - area**2) + 2 * (second - area**2)) / 12
    assert found.value == pytest.approx(area)
    assert found.low == pytest.approx(area - 1.959964 * variance**0.5)
    assert found.high == 1.0  # cut
    assert area + 1.959964 * variance**0.5 > 1


def test_no_scores_have_no_area() -> None:
    with pytest.raises(DataError, match="no scores"):
        roc_area([0.1], [])


def test_every_value_falls_into_one_bin_also_at_and_above_the_end() -> None:
    assert histogram([0.0, 0.49, 0.5, 1.0, 1.2], top=1.0, bins=2) == [2, 3]
    assert bin_edges(top=1.0, bins=2) == [0.0, 0.5, 1.0]


def test_bins_are_fine_enough_for_entropies_that_lie_close_together() -> None:
    top = math.log(2)
    counts = histogram([0.678 + at * 0.0015 for at in range(10)], top=top)
    assert len(bin_edges(top=top)) == len(counts) + 1
    assert sum(count > 0 for count in counts) >= 8


def test_confusion_counts_pairs() -> None:
    counts = confusion(["a", "a", "b"], ["y", "x", "y"], rows=["a", "b"], columns=["x", "y"])
    assert counts == [[1, 1], [0, 1]]
