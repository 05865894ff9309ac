import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.errors import DataError
from understudy.evaluation import mean_interval, wilson


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # Newcombe (1998), Statistics in Medicine 17, table I, method 3, to the four digits printed there.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_equals_published_intervals(successes: int, n: int, low: float, high: float) -> None:
    interval = wilson(successes, n)
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)
    assert (interval.value, interval.n) == (successes / n, n)


def test_wilson_golden_value() -> None:
    interval = wilson(489, 500)
    assert interval.low == pytest.approx(0.96103913861958, abs=1e-12)
    assert interval.high == pytest.approx(0.98767199178506, abs=1e-12)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
@settings(deadline=None)
def test_wilson_ends_solve_the_score_equation(row: tuple[int, int]) -> None:
    successes, n = row
    interval = wilson(successes, n)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1
    for end in (interval.low, interval.high):
        if 0 < end < 1:  # |p - end| = z * sqrt(end (1 - end) / n)
            distance = 1.959964 * math.sqrt(end * (1 - end) / n)
            assert abs(interval.value - end) == pytest.approx(distance, rel=1e-6, abs=1e-9)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
@settings(deadline=None)
def test_wilson_treats_hits_and_misses_alike(row: tuple[int, int]) -> None:
    successes, n = row
    hits, misses = wilson(successes, n), wilson(n - successes, n)
    assert hits.low == pytest.approx(1 - misses.high, abs=1e-12)


def test_mean_interval_equals_the_t_table() -> None:
    # Student's t for 2 degrees of freedom at 97.5 %: 4.302653 (any table); deviation 0.01.
    interval = mean_interval([0.96, 0.97, 0.98])
    assert interval.value == pytest.approx(0.97, abs=1e-12)
    assert interval.high - interval.value == pytest.approx(4.302653 * 0.01 / math.sqrt(3), abs=1e-8)
    assert interval.value - interval.low == pytest.approx(interval.high - interval.value, abs=1e-12)
    assert interval.n == 3


def test_equal_runs_have_an_interval_of_no_width() -> None:
    interval = mean_interval([0.5, 0.5])
    assert (interval.low, interval.high) == (0.5, 0.5)


def test_numbers_without_a_spread_are_refused() -> None:
    with pytest.raises(DataError, match="1 runs have no spread"):
        mean_interval([0.5])
    with pytest.raises(DataError, match="0 of 0 rows is no share"):
        wilson(0, 0)
    with pytest.raises(DataError, match="3 of 2 rows is no share"):
        wilson(3, 2)


def test_an_interval_is_plain_json() -> None:
    assert wilson(1, 2).to_json().keys() == {"value", "low", "high", "n"}
