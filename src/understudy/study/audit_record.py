"""What an audit found, as `audit.json` holds it: put together from the results of its runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from understudy.report import summarise_audit
from understudy.runs.files import read_json
from understudy.study.audit_grid import Control, Grid, Point
from understudy.study.audit_job import Audit
from understudy.study.copy_scores import leakage
from understudy.study.extraction_result import describe_target, evaluation_ledger
from understudy.targets.defences import parse_defences

FORMAT = 1
Results = Mapping[str, dict[str, Any]]
"""Contents of `result.json` by folder."""
_FAILURE = ("method", "budget", "defence", "seed", "folder", "error")
_MACHINE = (
    "understudy", "python", "platform", "cpu", "cores", "device", "device_name", "started", "commit", "packages",
)  # fmt: skip


def audit_record(audit: Audit, grid: Grid, folder: Path, results: Results, errors: Mapping[str, str]) -> dict[str, Any]:
    """Return the content of `audit.json`.

    Args:
        audit: what was asked.
        grid: its runs.
        folder: of the audit.
        results: of the runs that were finished.
        errors: of those that were not, by folder.
    """
    environment, terms = read_json(folder / "environment.json"), audit.terms
    record = {
        "format": FORMAT,
        "name": folder.name,
        "target": {**describe_target(grid.ready.target), "spec": audit.target},
        "owner": terms.owner,
        "authorised_by": terms.authorised_by,
        "surrogate": audit.surrogate,
        "queries": {"source": audit.data, "rows": len(grid.ready.pool), "adapted": grid.ready.adapted},
        "probes": [one.to_json() for one in grid.ready.evaluation],
        "methods": list(audit.methods),
        "budgets": list(audit.budgets),
        "defences": list(audit.defences),
        "about_defences": {spec: _about(spec) for spec in audit.defences},
        "seeds": list(audit.seeds),
        "price_per_1000": terms.price,
        "currency": terms.currency,
        "measure": audit.measure,
        "copied_frac": terms.copied_frac,
        "preset": audit.preset,
        "options": {name: {**audit.options, **audit.options_of.get(name, {})} for name in audit.methods},
        "cells": [_cell(grid, point, results) for point in grid.points if point.folder in results],
        "failures": _failures(grid, errors),
        "controls": {
            "random": _controls(grid, "random_surrogate", results),
            "no_query": _controls(grid, "no_query", results),
        },
        "target_scores": _mean_scores([result["scores"]["target"] for result in _one_a_seed(grid, results)]),
        "carries_information": all(result["informative"] for result in results.values()),
        "honest": _honest(grid, results),
        "evaluation": _evaluation(grid, folder),
        "command": environment.get("command", ""),
        "machine": {name: environment[name] for name in _MACHINE if environment.get(name) is not None},
    }
    return {**record, "summary": summarise_audit(record)}


def _cell(grid: Grid, point: Point, results: Results) -> dict[str, Any]:
    result = results[point.folder]
    kept = ("images", "partial", "note", "cost")
    scores = {"surrogate": result["scores"]["surrogate"]}
    control = next(
        one for one in grid.controls if (one.kind, one.images, one.seed) == ("no_query", point.plan.images, point.seed)
    )
    if control.folder in results:
        scores["no_query"] = results[control.folder]["scores"]["surrogate"]
    return {
        "method": point.method,
        "budget": point.budget,
        "defence": point.defence,
        "seed": point.seed,
        "folder": point.folder,
        **{name: result[name] for name in kept},
        "queries": result["ledger"]["extraction"]["rows"],
        "ledger": {"extraction": result["ledger"]["extraction"]},
        "scores": scores["surrogate"],
        "fidelity": result["fidelity"]["surrogate"],
        "leakage": leakage(scores),
    }


def _controls(grid: Grid, kind: str, results: Results) -> list[dict[str, Any]]:
    return [
        {
            "seed": one.seed,
            "images": one.images,
            "folder": one.folder,
            "scores": results[one.folder]["scores"]["surrogate"],
            "fidelity": results[one.folder]["fidelity"]["surrogate"],
        }
        for one in grid.controls
        if one.kind == kind and one.folder in results
    ]


def _failures(grid: Grid, errors: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the runs that could not be finished, each once."""
    found: dict[str, dict[str, Any]] = {}
    for place in grid.places:
        if place.folder in errors:
            what = (place.kind, 0, "none") if isinstance(place, Control) else _point_of(place)
            values = (*what, place.seed, place.folder, errors[place.folder])
            found[place.folder] = dict(zip(_FAILURE, values, strict=True))
    return list(found.values())


def _point_of(place: Point) -> tuple[str, int, str]:
    return place.method, place.runs_with, place.defence


def _one_a_seed(grid: Grid, results: Results) -> list[dict[str, Any]]:
    """Return a result of each seed that has one; runs of one seed have the same scores of the target."""
    found: dict[int, dict[str, Any]] = {}
    for place in grid.places:
        if place.folder in results:
            found.setdefault(place.seed, results[place.folder])
    return list(found.values())


def _mean_scores(every: list[dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Return the means over the seeds of scores and of the ends of their intervals."""
    if not every:
        return {}
    return {
        source: {
            name: {
                **interval,
                **{end: sum(one[source][name][end] for one in every) / len(every) for end in ("value", "low", "high")},
            }
            for name, interval in scores.items()
        }
        for source, scores in every[0].items()
    }


def _honest(grid: Grid, results: Results) -> list[dict[str, Any]]:
    """Return what an honest client gets, once for each defence and seed."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for point in grid.points:
        if point.folder in results:
            scores = results[point.folder]["scores"]["honest_client"]
            found.setdefault(
                (point.defence, point.seed), {"defence": point.defence, "seed": point.seed, "scores": scores}
            )
    return list(found.values())


def _evaluation(grid: Grid, folder: Path) -> dict[str, Any] | None:
    """Return the evaluation account, which all runs share; it is never mixed with what a copier asks."""
    place = folder / "evaluation"
    if not (place / "ledger.sqlite").exists():
        return None
    with evaluation_ledger(grid.ready.target, place) as ledger:
        return ledger.counts("evaluation").to_json()


def _about(spec: str) -> dict[str, Any]:
    """Return a defence in words."""
    chain = parse_defences(spec)
    return {
        "words": ", then ".join(defence.summary for defence in chain),
        "random": any(defence.random for defence in chain),
    }
