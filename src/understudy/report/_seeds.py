"""Runs that differ in their seed alone, and what they say together."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from understudy.evaluation import statistics
from understudy.report._format import finite
from understudy.report._read import Interval, RunRecord

_PLACES = frozenset({"name", "run", "folder", "out", "fresh", "json", "teacher", "teacher_sha256", "bank"})
"""Top-level keys that say where things are kept, not what a run does; a study has a teacher for each seed."""


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
    if len(known) < 2 or len(known) != len(values):
        return None
    found = statistics.mean_interval(known)
    return Interval(value=found.value, low=max(0.0, found.low), high=min(1.0, found.high), n=found.n)


def _key(run: RunRecord) -> str:
    kept = {key: value for key, value in run.config.items() if key not in _PLACES or isinstance(value, Mapping)}
    return json.dumps([run.result.method, _without_seed(kept)], sort_keys=True, default=str)


def _without_seed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_seed(part) for key, part in value.items() if key != "seed"}
    return value
