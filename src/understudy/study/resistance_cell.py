"""One cell of a resistance study: a student trained in a folder of its own, and measured on the test images."""

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from understudy.errors import IntegrityError
from understudy.evaluation import evaluate
from understudy.methods.method import Outcome
from understudy.models import model_digest
from understudy.runs.files import read_json
from understudy.runs.options import RunOptions
from understudy.runs.progress import ProgressSink
from understudy.runs.run import Run
from understudy.study.resistance_attacks import DATA_FREE
from understudy.study.resistance_grid import Cell, Grid
from understudy.study.resistance_teachers import Owner, answers_identity
from understudy.study.served_answers import served_answers

_ASKING = ("ask", "defend")
_BULKY = ("checkpoint", "bank", "control")
"""What a finished cell has no more use for; answers that others share lie elsewhere."""


def run_cell(
    grid: Grid, cell: Cell, folder: Path, *, options: RunOptions, progress: ProgressSink | None
) -> dict[str, Any]:
    """Train and measure a cell's student, or go on with it, or return what was measured.

    The test images are looked at once, when the student is done; nothing is chosen by them.

    Args:
        grid: the study's.
        cell: what to train.
        folder: of the study.
        options: of the run, but for its seed.
        progress: where its progress is shown.

    Returns:
        "accuracy" and "agreement", shares of the test images; "validation"; "seconds" by phase; and "answers", how
        many were asked for and how many were on file.

    Raises:
        UnderstudyError: the training cannot be done.
        Interrupted: the user asked to stop; the same call goes on.
    """
    place = folder / cell.folder
    done = read_cell(place)
    if done is None:
        done = _train(grid, cell, folder, options.model_copy(update={"seed": cell.seed, "previews": False}), progress)
    for name in _BULKY:
        shutil.rmtree(place / name, ignore_errors=True)
    return done


def read_cell(place: Path) -> dict[str, Any] | None:
    """Return what a finished cell's folder holds; None where it is not finished.

    Raises:
        IntegrityError: the file is not as it was written.
    """
    path = place / "result.json"
    if not path.exists():
        return None
    found = read_json(path)
    if not isinstance(found, dict) or not isinstance(found.get("accuracy"), float):
        raise IntegrityError("no result of a cell", where=path, fix=f"remove {place} and run the same command again")
    return found


def _train(grid: Grid, cell: Cell, folder: Path, options: RunOptions, progress: ProgressSink | None) -> dict[str, Any]:
    owner, student = grid.owner(cell), grid.student(cell)
    config = {**cell.key(), "options": cell.method.model_dump(mode="json")}
    facts = {
        "teacher_sha256": owner.digests[cell.seed] if cell.teacher else None,
        "defence": answers_identity(owner) if cell.teacher else None,
        **{name: grid.facts[name] for name in ("train_sha256", "test_sha256", "queries_sha256")},
    }
    run = Run(folder / cell.folder, config, options, progress=progress, facts=facts)
    outcome: Outcome
    if cell.attack == DATA_FREE:
        outcome = cell.method.run(teacher=owner.served(cell.seed), student=student, run=run)
    else:
        outcome = cell.method.run(
            teacher=owner.network(cell.seed),
            student=student,
            data=grid.images(cell.regime),
            run=run,
            store=folder / "answers",
        )
    test = grid.test.to(run.device)
    answers = _test_logits(grid, owner, cell.seed, run.device) if cell.teacher else None
    scores = evaluate(outcome.model, test, teacher_logits=answers)
    timing = run.timing()
    result = {
        "accuracy": scores.accuracy.value,
        "agreement": scores.agreement.value if scores.agreement else None,
        "validation": _validation(outcome),
        "seconds": {
            "gather": round(sum(spent for name, spent in timing.items() if name.startswith(_ASKING)), 3),
            "all": round(sum(timing.values()), 3),
        },
        "answers": outcome.facts.get("answers", {"asked": outcome.facts.get("teacher_evaluations", 0), "served": 0}),
        "student_sha256": model_digest(outcome.model),
    }
    run.finish(result)
    return result


def _test_logits(grid: Grid, owner: Owner, seed: int, device: torch.device) -> Tensor:
    """Return what leaves the teacher's house on the test images, found out once for all of its students."""
    key = (owner.name, seed)
    if key not in grid.test_logits:
        grid.test_logits[key] = served_answers(
            owner.network(seed).to(device), owner.chain, grid.test.to(device), seed=seed
        )[0].logits()
    return grid.test_logits[key]


def _validation(outcome: Outcome) -> dict[str, Any] | None:
    """Return the score by which variants are chosen; without data it is agreement on synthetic samples held out."""
    found: dict[str, Any] | None = outcome.facts.get("validation")
    if found is None and "synthetic" in outcome.facts:
        return {**outcome.facts["synthetic"]["agreement"], "by": "answers"}
    return found
