"""What the models of a text study score, over seeds: means, gains, and counts of each attack.

`static_common_mean` is the static mean on those sentences that were attacked adaptively, too: where both protocols are
compared, this one and `adaptive_mean` are, so that nothing but the protocol differs.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.attacks.text import Record
from understudy.evaluation.statistics import Interval
from understudy.evaluation.text import tally
from understudy.evaluation.text_intervals import mean_gain, mean_over_seeds, mean_share, share_over_seeds
from understudy.study.text_bench import Bench
from understudy.study.text_measure import read_adaptive, read_static

Parts = list[list[bool]]
"""Of one seed: sentence by sentence whether a model is right, for each share that a mean is taken of."""


@dataclass(frozen=True)
class Found:
    """What one model did at one seed."""

    clean: list[bool]
    static: Mapping[str, list[bool]]
    """By the attack's spec; empty where there is none."""
    adaptive: Mapping[str, Sequence[Record]]
    """Likewise; empty unless every attack is finished."""
    answers: Mapping[str, Any]
    """Predictions and speed, as they are on file."""

    def adaptive_right(self, spec: str) -> list[bool]:
        """Return which sentences stay right when the model itself is attacked."""
        return [one.status == "failed" for one in self.adaptive[spec]]


def read_found(bench: Bench, folder: Path, key: str, seed: int) -> Found | None:
    """Return what is on file of one model at one seed; None where even the static part is unfinished."""
    answers = read_static(bench, folder, key, seed)
    if answers is None:
        return None
    labels = bench.test.labels.tolist()
    right = {spec: [a == b for a, b in zip(found, labels, strict=False)] for spec, found in answers["static"].items()}
    clean = [a == b for a, b in zip(answers["predictions"], labels, strict=True)]
    records = {
        attack.spec: read_adaptive(bench, folder, key, seed, attack) for attack in bench.attacks if bench.adaptive_rows
    }
    whole = {spec: found for spec, found in records.items() if found is not None}
    return Found(clean, right, whole if len(whole) == len(bench.attacks) else {}, answers)


def scores(bench: Bench, found: Sequence[Found]) -> dict[str, Any]:
    """Return what a record says of one model, over its seeds."""
    static = {one.spec: share_over_seeds([each.static[one.spec] for each in found]) for one in bench.attacks}
    attacked = found if all(each.adaptive for each in found) else []
    adaptive = {
        one.spec: _adaptive([each.adaptive[one.spec] for each in attacked]) for one in bench.attacks if attacked
    }
    return {
        "clean": share_over_seeds([each.clean for each in found]).to_json(),
        "static": {spec: interval.to_json() for spec, interval in static.items()},
        "adaptive": adaptive,
        **{name: _json(_mean(parts)) for name, parts in _means(bench, found).items()},
    }


def gains(bench: Bench, ours: Sequence[Found], theirs: Sequence[Found]) -> dict[str, Any]:
    """Return by how much one model is ahead of another at the same seeds; a protocol that was not run has None."""
    a, b = _means(bench, ours), _means(bench, theirs)
    paired = {name: _json(mean_gain(a[name], b[name])) if a[name] and b[name] else None for name in _GAINS}
    clean = mean_gain([[one.clean] for one in ours], [[one.clean] for one in theirs])
    return {**paired, "clean": clean.to_json()}


_GAINS = ("static_mean", "static_common_mean", "adaptive_mean")


def _means(bench: Bench, found: Sequence[Found]) -> dict[str, list[Parts]]:
    """Return, by the name of each mean, what its shares are taken of, seed by seed; empty where nothing is."""
    known, unknown = ([one.spec for one in part] for part in (bench.known, bench.unknown))
    attacked = all(one.adaptive for one in found)
    # Clean sentences of an adaptive mean are all clean ones, as in the static mean: one share, attacked by nobody.
    static = {name: [[one.static[spec] for spec in specs] for one in found] for name, specs in _sets(known, unknown)}
    adaptive = {
        name: [[one.adaptive_right(spec) for spec in specs] for one in found] if attacked else []
        for name, specs in _sets(known, unknown)
    }
    named: dict[str, list[Parts]] = {}
    for protocol, parts in (("static", static), ("adaptive", adaptive)):
        whole = parts["all"] if bench.attacks else []
        named[f"{protocol}_mean"] = [[one.clean, *each] for one, each in zip(found, whole, strict=False)]
        named |= {f"{protocol}_{name}": parts[name] if specs else [] for name, specs in _sets(known, unknown)[1:]}
    # The adaptive protocol attacks the first sentences alone: beside it, static means are taken of the same ones.
    common = bench.adaptive_rows if bench.attacks else 0
    first = [[one.clean, *(one.static[spec][:common] for spec in (*known, *unknown))] for one in found]
    return {**named, "static_common_mean": first if common else []}


def _sets(known: list[str], unknown: list[str]) -> list[tuple[str, list[str]]]:
    return [("all", [*known, *unknown]), ("known", known), ("unknown", unknown)]


def _mean(parts: list[Parts]) -> Interval | None:
    return mean_share(parts) if parts else None


def _json(interval: Interval | None) -> dict[str, float | int] | None:
    return None if interval is None else interval.to_json()


def _adaptive(records: Sequence[Sequence[Record]]) -> dict[str, Any]:
    """Return what a record says of one attack on one model itself, over its seeds."""
    counted = [tally(seed) for seed in records]
    rates = [one.success_rate for one in counted]
    whole = [rate for rate in rates if rate is not None]
    changed = [one.changed_share for one in counted if one.changed_share is not None]
    return {
        "accuracy": share_over_seeds([[one.status == "failed" for one in seed] for seed in records]).to_json(),
        "success_rate": mean_over_seeds(whole).to_json() if whole else None,
        "queries": math.fsum(one.queries for one in counted) / len(counted),
        "changed_share": math.fsum(changed) / len(changed) if changed else None,
        "exhausted": sum(one.exhausted for one in counted),
        "no_candidates": sum(one.no_candidates for one in counted),
        "skipped": sum(one.skipped for one in counted),
    }
