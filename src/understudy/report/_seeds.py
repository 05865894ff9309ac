"""Runs that differ in their seed alone, and what they say together."""

import json
import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from understudy.report._format import finite
from understudy.report._read import Interval, RunRecord

# Two-sided 95 % quantiles of Student's t distribution for 1 to 30 degrees of freedom, to five figures.
_T95 = (
    12.706, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
    2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860,
    2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
)  # fmt: skip
_PLACES = frozenset({"name", "run", "folder", "out", "fresh", "json"})
"""Top-level keys that say where a run is kept, not what it does."""


def by_config(runs: Sequence[RunRecord]) -> list[list[RunRecord]]:
    """Return the groups of two or more runs that differ in their seed alone; one run for each seed.

    A run without a configuration on file belongs to no group.
    """
    groups: dict[str, dict[int | None, RunRecord]] = {}
    for run in runs:
        if run.config:
            groups.setdefault(_key(run), {}).setdefault(run.result.seed, run)
    return [list(group.values()) for group in groups.values() if len(group) > 1]


def mean_interval(values: Sequence[float | None]) -> Interval | None:
    """Return the mean over seeds with its 95 % t interval, cut to [0, 1]; None if a value is missing.

    The interval speaks of what another seed would give; it says nothing on the size of the test set.
    """
    known = [value for value in map(finite, values) if value is not None]
    n = len(known)
    if n < 2 or n != len(values):
        return None
    mean = fmean(known)
    # Beyond the table its last quantile is used, which is at most 5 % too wide.
    half = _T95[min(n - 1, len(_T95)) - 1] * stdev(known) / math.sqrt(n)
    return Interval(value=mean, low=max(0.0, mean - half), high=min(1.0, mean + half), n=n)


def _key(run: RunRecord) -> str:
    kept = {key: value for key, value in run.config.items() if key not in _PLACES or isinstance(value, Mapping)}
    return json.dumps([run.result.method, _without_seed(kept)], sort_keys=True, default=str)


def _without_seed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_seed(part) for key, part in value.items() if key != "seed"}
    return value
