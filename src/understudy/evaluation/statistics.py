"""Numbers with their uncertainty."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from understudy.errors import DataError


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval.

    Args:
        value: the estimate.
        low: lower end of the interval.
        high: upper end.
        n: rows or runs behind it.
    """

    value: float
    low: float
    high: float
    n: int

    def to_json(self) -> dict[str, float | int]:
        """Return the fields as a JSON object."""
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}


def wilson(successes: int, n: int, *, z: float = 1.959964) -> Interval:
    """Return a share with its score interval, which stays inside [0, 1] and is honest near its ends.

    Wilson (1927), Probable inference, the law of succession, and statistical inference. JASA 22.

    Args:
        successes: rows that count, 0 to n.
        n: rows, 1 or more.
        z: normal quantile; 1.959964 gives 95 %.

    Raises:
        DataError: no rows, or more successes than rows.

    Example:
        >>> interval = wilson(95, 100)
        >>> round(interval.low, 4), round(interval.high, 4)
        (0.8882, 0.9785)
    """
    if not 0 <= successes <= n or n < 1:
        raise DataError(f"{successes} of {n} rows is no share", expected="at least one row")
    share, weight = successes / n, z * z / n
    centre = (share + weight / 2) / (1 + weight)
    half = math.sqrt(weight * (share * (1 - share) + weight / 4)) / (1 + weight)
    # At 0 and n successes an end is the share itself; rounding would leave it a hair off.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Interval(share, low, high, n)


def mean_interval(values: Sequence[float], *, confidence: float = 0.95) -> Interval:
    """Return the mean over runs (seeds) with Student's t interval.

    Args:
        values: one number a run; 2 or more, for one run says nothing of the spread.
        confidence: coverage, inside (0, 1).

    Raises:
        DataError: fewer than two runs.
    """
    from scipy.special import stdtrit

    n = len(values)
    if n < 2:
        raise DataError(f"{n} runs have no spread", expected="two or more seeds", fix="run more seeds")
    mean = math.fsum(values) / n
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = float(stdtrit(n - 1, 0.5 + confidence / 2)) * deviation / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n)
