"""What a resistance study found, as `resistance.json` holds it: what is measured, and what follows from that."""

from collections.abc import Mapping
from typing import Any

from understudy.runs.files import read_json
from understudy.runs.run import Run
from understudy.study.resistance_found import choose, missing_attacks, weak_points
from understudy.study.resistance_grid import Grid, regime_rows
from understudy.study.resistance_job import Resistance
from understudy.study.resistance_scores import TEMPERATURES, TeacherScores, teacher_scores
from understudy.study.resistance_summary import interval, summarise
from understudy.study.resistance_teachers import Owner
from understudy.study.resistance_verdict import verdict

FORMAT = 1
Results = Mapping[str, dict[str, Any]]
"""What was measured of each cell, by folder."""
_WEAK = "Not among the attackers, though a worst case should have them"
_MACHINE = (
    "understudy", "python", "platform", "cpu", "cores", "device", "device_name", "started", "commit", "packages",
)  # fmt: skip


def resistance_record(
    job: Resistance, grid: Grid, run: Run, results: Results, errors: Mapping[str, str]
) -> dict[str, Any]:
    """Return the content of `resistance.json`.

    Args:
        job: what was asked.
        grid: its cells.
        run: of the study, for its folder and device.
        results: of the cells that were finished.
        errors: of those that were not, by folder.
    """
    environment = read_json(run.folder / "environment.json")
    scores = {owner.name: _scores(owner, job, grid, run) for owner in grid.owners}
    regimes = [regime_rows(grid, job, name) for name in job.all_regimes]
    measured = {
        "format": FORMAT,
        "kind": "resistance",
        "name": run.folder.name,
        "date": environment.get("started", ""),
        "command": environment.get("command", ""),
        "data": {"source": job.data, "rows": len(grid.train), "classes": list(grid.train.classes)},
        "queries": {"source": job.queries, "rows": len(grid.queries), "labelled": False} if job.queries else None,
        "test": {"source": job.data, "split": grid.test.split, "rows": len(grid.test)},
        "teachers": [_teacher(owner, scores, grid.ordinary) for owner in grid.owners],
        "students": list(job.students),
        "regimes": regimes,
        "attacks": [attack.to_json(job.all_regimes) for attack in grid.attacks],
        "seeds": list(job.seeds),
        "teacher_scores": {name: _mean_scores(of) for name, of in scores.items()},
        "cells": [
            {**cell.key(), "folder": cell.folder, **_measured(results[cell.folder])}
            for cell in grid.cells
            if cell.folder in results
        ],
        "answers": _answers(results),
        "failures": [
            {**cell.key(), "folder": cell.folder, "error": errors[cell.folder]}
            for cell in grid.cells
            if cell.folder in errors
        ],
        "notes": _notes(job, grid),
        "settings": {
            "margin": job.margin,
            "held_out": job.held_out,
            "preset": job.preset,
            "attacks": list(job.attacks),
            "options": job.options,
            "options_of": job.options_of,
        },
        "machine": {name: environment[name] for name in _MACHINE if environment.get(name) is not None},
    }
    return completed(measured)


def completed(measured: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with all that follows from its measurements: choices, summary, verdicts.

    Args:
        measured: content of `resistance.json` without "summary" and "headline_missing"; its cells need not say which
            of them are chosen.
    """
    record = {**measured, "cells": choose(measured["cells"], measured["attacks"])}
    missing, weak = missing_attacks(record), weak_points(record)
    labels = {one["name"]: one["label"] for one in record["attacks"]}
    summary = summarise(record)
    for one in summary.values():
        if missing:
            for regime in one["regimes"].values():
                regime["headline"] = None
        one["verdict"] = verdict(one, missing=missing, weak=weak, margin=record["settings"]["margin"], labels=labels)
    notes = [*record["notes"], f"{_WEAK}: {', '.join(weak)}."] if weak else record["notes"]
    return {**record, "notes": notes, "summary": summary, "headline_missing": missing}


def _teacher(owner: Owner, scores: Mapping[str, Mapping[int, TeacherScores]], ordinary: Owner) -> dict[str, Any]:
    """Return what the record says of a teacher, with its accuracies, and where it and the ordinary one part ways."""
    own, other = scores[owner.name], scores[ordinary.name]
    return {
        **owner.to_json(),
        "accuracies": {str(seed): one.values["accuracy"] for seed, one in own.items()},
        "parted": {str(seed): float((one.right != other[seed].right).double().mean()) for seed, one in own.items()},
    }


def _scores(owner: Owner, job: Resistance, grid: Grid, run: Run) -> dict[int, TeacherScores]:
    """Return the scores of a teacher at each seed; a network that serves several is measured once, unless it draws."""
    draws = any(defence.random for defence in owner.chain)
    found: dict[object, TeacherScores] = {}
    for seed in job.seeds:
        key = (owner.digests[seed], seed if draws else None)
        if key not in found:
            found[key] = teacher_scores(owner, seed, grid.test, run.device)
    return {seed: found[owner.digests[seed], seed if draws else None] for seed in job.seeds}


def _mean_scores(of: Mapping[int, TeacherScores]) -> dict[str, Any]:
    """Return the means over the networks of one teacher."""
    different = list({id(one): one for one in of.values()}.values())

    def mean(name: str) -> dict[str, Any] | None:
        values = [one.values[name] for one in different]
        return None if None in values else interval([float(value) for value in values if value is not None])

    entropies = {str(t): mean(f"entropy_{t}") for t in TEMPERATURES}
    return {**{name: mean(name) for name in ("accuracy", "nll", "ece", "l1", "top1_kept")}, "entropy": entropies}


def _measured(result: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("validation", "accuracy", "agreement", "answers")
    return {**{name: result[name] for name in kept}, "seconds": result["seconds"]["all"]}


def _answers(results: Results) -> dict[str, Any]:
    """Return how often teachers were asked, how often the file sufficed, and the time of either."""
    gather = sum(one["seconds"]["gather"] for one in results.values())
    total = sum(one["seconds"]["all"] for one in results.values())
    counts = {name: sum(one["answers"][name] for one in results.values()) for name in ("asked", "served")}
    return {**counts, "gather_s": round(gather, 3), "fit_s": round(total - gather, 3)}


def _notes(job: Resistance, grid: Grid) -> list[str]:
    notes = []
    if "unlabelled" in job.regimes and not job.queries:
        notes.append(
            "Where no label is known, attackers ask about the owner's own images; fresh ones (--queries) are the "
            "harder case for them."
        )
    if len(job.seeds) > 1:
        same = [owner.name for owner in grid.owners if len(set(owner.digests.values())) < len(job.seeds)]
        if same:
            notes.append(
                f"One network of {', '.join(same)} teaches the students of several seeds: intervals hold for that "
                "network and say nothing of another training of it; {seed} in its folder gives each seed its own."
            )
    if len(job.seeds) < 3:
        notes.append("Fewer than three seeds: intervals are wide, or there are none.")
    return notes
