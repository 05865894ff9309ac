"""Shares and differences over seeds, with intervals that one seed alone can have, too."""

import math
from collections.abc import Sequence

import torch

from understudy.evaluation.paired import mcnemar
from understudy.evaluation.statistics import Interval, mean_interval, wilson

Right = Sequence[bool]
"""Sentence by sentence, whether a model is right."""


def share_over_seeds(right: Sequence[Right]) -> Interval:
    """Return a share over seeds: Student's interval over two or more, Wilson's over the sentences of one."""
    return mean_share([[one] for one in right])


def mean_share(parts: Sequence[Sequence[Right]]) -> Interval:
    """Return the unweighted mean of several shares, such as clean accuracy and that under each attack.

    Args:
        parts: for each seed, what each share is taken from; one seed or more.

    Returns:
        In [0, 1]. Over two or more seeds, Student's interval of the seeds' means. Over one, the mean of the ends of
        Wilson's intervals: as wide as if all shares erred together, for they are of the same sentences. n is the
        number of seeds, or the smallest number of sentences of the one.
    """
    if len(parts) > 1:
        return _cut(mean_interval([_mean([_share(one) for one in seed]) for seed in parts]), 0.0)
    found = [wilson(sum(one), len(one)) for one in parts[0]]
    return _averaged(found)


def mean_gain(ours: Sequence[Sequence[Right]], theirs: Sequence[Sequence[Right]]) -> Interval:
    """Return the difference of two models' mean shares, on the same sentences and seeds.

    Args:
        ours: for each seed, what each share of the first model is taken from.
        theirs: the same of the second model, sentence by sentence.

    Returns:
        In [-1, 1]. Over two or more seeds, Student's interval of the paired differences; over one, the mean of the
        paired intervals of Bonett and Price.
    """
    if len(ours) > 1:
        pairs = zip(ours, theirs, strict=True)
        differences = [_mean([_share(one) for one in a]) - _mean([_share(one) for one in b]) for a, b in pairs]
        return _cut(mean_interval(differences), -1.0)
    found = []
    for a, b in zip(ours[0], theirs[0], strict=True):
        paired = mcnemar(torch.tensor(a, dtype=torch.bool), torch.tensor(b, dtype=torch.bool))
        found.append(Interval(paired.difference, paired.low, paired.high, len(a)))
    return _averaged(found)


def mean_over_seeds(found: Sequence[Interval]) -> Interval:
    """Return the mean of one estimate a seed; a single seed keeps its own interval."""
    return found[0] if len(found) == 1 else _cut(mean_interval([one.value for one in found]), 0.0)


def _share(right: Right) -> float:
    return sum(right) / len(right)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _averaged(found: Sequence[Interval]) -> Interval:
    ends = ([one.value for one in found], [one.low for one in found], [one.high for one in found])
    value, low, high = (_mean(end) for end in ends)
    return Interval(value, low, high, min(one.n for one in found))


def _cut(found: Interval, least: float) -> Interval:
    """Return the interval cut to what the quantity can be, up to 1."""
    return Interval(found.value, max(found.low, least), min(found.high, 1.0), found.n)
