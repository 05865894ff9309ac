"""Shares and differences over seeds, with intervals that one seed alone can have, too.

Seeds that agree by chance say nothing of the sentences, which are few: an interval over seeds is never narrower than
the mean of those of the single seeds.
"""

import math
from collections.abc import Sequence

import torch

from understudy.evaluation.paired import mcnemar
from understudy.evaluation.statistics import Interval, mean_interval, wilson

Right = Sequence[bool]
"""Sentence by sentence, whether a model is right."""


def share_over_seeds(right: Sequence[Right]) -> Interval:
    """Return a share over seeds, Wilson's interval over the sentences of one; see `mean_share` for more of them."""
    return mean_share([[one] for one in right])


def mean_share(parts: Sequence[Sequence[Right]]) -> Interval:
    """Return the unweighted mean of several shares, such as clean accuracy and that under each attack.

    Args:
        parts: for each seed, what each share is taken from; one seed or more.

    Returns:
        In [0, 1]. Over one seed, the mean of the ends of Wilson's intervals: as wide as if all shares erred together,
        for they are of the same sentences. Over two or more, the wider at each end of Student's interval of the seeds'
        means and the mean of those of single seeds. n is the number of seeds, or the smallest number of sentences of
        the one.
    """
    return _over_seeds([_averaged([wilson(sum(one), len(one)) for one in seed]) for seed in parts], 0.0)


def mean_gain(ours: Sequence[Sequence[Right]], theirs: Sequence[Sequence[Right]]) -> Interval:
    """Return the difference of two models' mean shares, on the same sentences and seeds.

    Args:
        ours: for each seed, what each share of the first model is taken from.
        theirs: the same of the second model, sentence by sentence.

    Returns:
        In [-1, 1]. Over one seed, the mean of the paired intervals of Bonett and Price; over two or more, the wider at
        each end of Student's interval of the paired differences and the mean of those of single seeds.
    """
    return _over_seeds([_paired(a, b) for a, b in zip(ours, theirs, strict=True)], -1.0)


def mean_over_seeds(found: Sequence[Interval]) -> Interval:
    """Return the mean of one estimate a seed, no surer than the single ones are; one seed keeps its own interval."""
    return _over_seeds(found, 0.0)


def _over_seeds(found: Sequence[Interval], least: float) -> Interval:
    """Return the mean over seeds with the wider of both intervals at each end, from `least` to 1."""
    if len(found) == 1:
        return found[0]
    student, within = mean_interval([one.value for one in found]), _averaged(found)
    low, high = min(student.low, within.low), max(student.high, within.high)
    return Interval(student.value, max(low, least), min(high, 1.0), student.n)


def _paired(ours: Sequence[Right], theirs: Sequence[Right]) -> Interval:
    """Return the difference of two models' mean shares at one seed."""
    found = []
    for a, b in zip(ours, theirs, strict=True):
        paired = mcnemar(torch.tensor(a, dtype=torch.bool), torch.tensor(b, dtype=torch.bool))
        found.append(Interval(paired.difference, paired.low, paired.high, len(a)))
    return _averaged(found)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _averaged(found: Sequence[Interval]) -> Interval:
    ends = ([one.value for one in found], [one.low for one in found], [one.high for one in found])
    value, low, high = (_mean(end) for end in ends)
    return Interval(value, low, high, min(one.n for one in found))
