"""Shares and differences over seeds: Student's intervals over several, those of one seed from its sentences."""

import pytest

from understudy.evaluation import Interval, mean_interval, wilson
from understudy.evaluation.text_intervals import mean_gain, mean_over_seeds, mean_share, share_over_seeds

FOUR = [True, True, True, False]
HALF = [True, False, True, False]


def test_one_seed_has_the_interval_of_its_sentences() -> None:
    assert share_over_seeds([FOUR]) == wilson(3, 4)


def test_several_seeds_have_students_interval_cut_to_what_a_share_can_be() -> None:
    found, whole = share_over_seeds([FOUR, HALF]), mean_interval([0.75, 0.5])
    assert found.value == pytest.approx(0.625)
    assert (found.low, found.high) == (0.0, 1.0)
    assert whole.low < 0 < 1 < whole.high


def test_means_are_unweighted_and_their_ends_are_means_of_ends() -> None:
    long = [True] * 90 + [False] * 10
    found = mean_share([[long, HALF]])
    a, b = wilson(90, 100), wilson(2, 4)
    assert found.value == pytest.approx(0.7)
    assert found.low == pytest.approx((a.low + b.low) / 2)
    assert found.high == pytest.approx((a.high + b.high) / 2)
    assert found.n == 4


def test_gains_are_paired_over_seeds() -> None:
    ours, theirs = [[[True] * 10], [[True] * 9 + [False]]], [[[True] * 8 + [False] * 2], [[True] * 7 + [False] * 3]]
    found = mean_gain(ours, theirs)
    assert found.value == pytest.approx(0.2)
    assert found.n == 2
    # Each seed gains the same: no spread, but ten sentences are not sure of it.
    one = mean_gain(ours[:1], theirs[:1])
    assert (found.low, found.high) == pytest.approx((one.low, one.high))
    assert one.low < 0.2 < one.high


def test_seeds_that_agree_are_no_surer_than_their_sentences() -> None:
    found = share_over_seeds([[True] * 3 + [False] * 3] * 2)
    assert (found.value, found.low, found.high) == pytest.approx((0.5, wilson(3, 6).low, wilson(3, 6).high))
    assert found.n == 2
    nothing = mean_gain([[HALF], [HALF]], [[HALF], [HALF]])
    assert nothing.low < nothing.value < nothing.high
    assert nothing.value == 0


def test_where_seeds_differ_more_than_their_sentences_the_seeds_count() -> None:
    found = mean_share([[[True] * 1000], [[True] * 500 + [False] * 500]])
    student = mean_interval([1.0, 0.5])
    assert student.low < found.low == 0.0
    gain = mean_gain([[[True] * 1000], [[True] * 1000]], [[[True] * 1000], [[True] * 900 + [False] * 100]])
    student = mean_interval([0.0, 0.1])
    assert (gain.low, gain.high) == pytest.approx((student.low, student.high))


def test_a_gain_of_one_seed_is_paired_over_sentences() -> None:
    found = mean_gain([[FOUR * 10]], [[HALF * 10]])
    assert found.value == pytest.approx(0.25)
    assert found.low < 0.25 < found.high
    assert found.n == 40


def test_a_single_estimate_keeps_its_interval() -> None:
    one = Interval(0.7, 0.6, 0.8, 50)
    assert mean_over_seeds([one]) == one
    assert mean_over_seeds([one, Interval(0.9, 0.8, 1.0, 50)]).n == 2
    twice = mean_over_seeds([one, one])
    assert (twice.low, twice.high) == pytest.approx((0.6, 0.8))
