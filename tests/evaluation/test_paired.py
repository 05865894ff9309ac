"""McNemar's test against a slow count of coin tosses, its symmetries, and what it refuses."""

from fractions import Fraction
from math import comb

import pytest
import torch
from torch import Tensor

from understudy.errors import DataError, ShapeError
from understudy.evaluation.paired import exact_p, mcnemar


def slow_p(one: int, other: int) -> float:
    """Add up, in fractions, all splits that are at most as likely as this one."""
    n = one + other
    chances = [Fraction(comb(n, k), 2**n) for k in range(n + 1)]
    return float(sum(chance for chance in chances if chance <= chances[one]))


def rows(both: int, only_a: int, only_b: int, neither: int) -> tuple[Tensor, Tensor]:
    a = [True] * both + [True] * only_a + [False] * only_b + [False] * neither
    b = [True] * both + [False] * only_a + [True] * only_b + [False] * neither
    return torch.tensor(a), torch.tensor(b)


@pytest.mark.parametrize("one", range(8))
@pytest.mark.parametrize("other", [0, 1, 4, 9, 30])
def test_the_p_value_is_the_chance_of_so_uneven_a_split(one: int, other: int) -> None:
    assert exact_p(one, other) == pytest.approx(slow_p(one, other), abs=1e-14)
    assert exact_p(one, other) == exact_p(other, one)


def test_a_table_of_the_books() -> None:
    # Agresti, Categorical Data Analysis (2013), table 11.1: 86 approvals became disapprovals, 150 the other way.
    found = mcnemar(*rows(794, 150, 86, 570))
    assert (found.both, found.only_a, found.only_b, found.neither) == (794, 150, 86, 570)
    assert found.difference == pytest.approx(64 / 1600)
    assert (found.low, found.high) == pytest.approx((0.0213, 0.0587), abs=3e-4)
    assert found.p_value == pytest.approx(3.7e-5, rel=0.05)


def test_the_second_against_the_first_is_the_mirror_image() -> None:
    a, b = rows(5, 7, 2, 3)
    one, other = mcnemar(a, b), mcnemar(b, a)
    assert one.p_value == other.p_value
    assert one.difference == -other.difference == pytest.approx(5 / 17)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert one.low < one.difference < one.high


def test_images_on_which_both_agree_move_nothing_but_the_shares() -> None:
    few, many = mcnemar(*rows(0, 6, 1, 0)), mcnemar(*rows(500, 6, 1, 500))
    assert few.p_value == many.p_value == pytest.approx(2 * 8 / 128)
    assert many.difference == pytest.approx(5 / 1007)


def test_equal_models_are_equal() -> None:
    right = torch.tensor([True, False, True])
    found = mcnemar(right, right)
    assert (found.difference, found.p_value) == (0.0, 1.0)
    assert -1 <= found.low < 0 < found.high <= 1
    assert mcnemar(torch.tensor([True]), torch.tensor([False])).high == 1.0


def test_other_images_and_no_images_are_refused() -> None:
    with pytest.raises(ShapeError, match="3 images of one model and 2 of the other"):
        mcnemar(torch.ones(3, dtype=torch.bool), torch.ones(2, dtype=torch.bool))
    none = torch.ones(0, dtype=torch.bool)
    with pytest.raises(DataError, match="no images"):
        mcnemar(none, none)
