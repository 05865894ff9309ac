"""A resistance study from start to end: every cell, what they say together, and the page. The same call resumes it."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from understudy.errors import ConfigError, StorageError, UnderstudyError
from understudy.models import Classifier
from understudy.report import write_resistance
from understudy.runs.files import read_json, write_json
from understudy.runs.options import RunOptions
from understudy.runs.progress import ProgressSink
from understudy.runs.run import Run, folder_state, resolved_config
from understudy.study.plan import STATES
from understudy.study.resistance_attacks import DATA_FREE
from understudy.study.resistance_cell import read_cell, run_cell
from understudy.study.resistance_grid import Cell, Grid, make_grid
from understudy.study.resistance_job import Resistance, make_resistance
from understudy.study.resistance_record import resistance_record

__all__ = ["Resistance", "make_resistance", "plan_resistance", "run_resistance"]

RECORD, PAGE = "resistance.json", "resistance.html"


def run_resistance(
    job: Resistance,
    folder: Path | None = None,
    *,
    progress: ProgressSink | None = None,
    announce: Callable[[str], object] = lambda line: None,  # noqa: ARG005
) -> dict[str, Any]:
    """Carry a study out in its folder, or go on with it, or return what it found if it is finished.

    A cell that fails is put on record under "failures", and the others go on; the same call tries it again.

    Args:
        job: what to do.
        folder: for all of it; by default `runs/` and a name made from the settings.
        progress: where the progress of each training is shown.
        announce: called with a line before each training.

    Returns:
        The content of `resistance.json`, with the folder under "folder".

    Raises:
        UnderstudyError: anything that a user can mend before the first training; a disk that refuses.
        Interrupted: the user asked to stop; the same call goes on.
    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise ConfigError("a study trains in one process", fix="start the command without torchrun")
    grid = make_grid(job)
    place = folder or job.default_folder()
    # Whoever works in the folder holds it; it is for these teachers and images alone.
    run = Run(place, job.config(), _options(job), progress=progress, facts=grid.facts)
    path = run.folder / RECORD
    if not path.exists() or read_json(path).get("failures"):
        results, errors = _carry_out(job, grid, run, announce, progress)
        write_json(path, resistance_record(job, grid, run, results, errors))
        (run.folder / PAGE).unlink(missing_ok=True)
    if not (run.folder / PAGE).exists():
        write_resistance(run.folder)
    return {"folder": str(run.folder), **read_json(path)}


def plan_resistance(job: Resistance, folder: Path) -> dict[str, Any]:
    """Check a study as far as it can be checked without a training, and return its plan.

    Returns:
        "config", "cost" (trainings, those that are done, training steps, most answers of the teachers), "folder" and
        "state".

    Raises:
        UnderstudyError: what running it would raise before its first training.
    """
    grid = make_grid(job)
    config = resolved_config(job.config(), _options(job))
    state = "finished" if (folder / RECORD).exists() else folder_state(folder, config)
    students = {cell.student: grid.student(cell) for cell in grid.cells}
    costs = [_cost(grid, cell, students[cell.student]) for cell in grid.cells]
    cost = {
        "trainings": len(grid.cells),
        "done": sum(read_cell(folder / cell.folder) is not None for cell in grid.cells),
        "training_steps": sum(one.get("training_steps", 0) for one in costs),
        "teacher_answers_at_most": _answers(grid, costs),
    }
    return {"config": config, "cost": cost, "folder": str(folder), "state": STATES[state]}


def _options(job: Resistance) -> RunOptions:
    return job.run.model_copy(update={"seed": job.seeds[0]})


def _cost(grid: Grid, cell: Cell, student: Classifier) -> dict[str, int]:
    return cell.method.cost(student, rows=None if cell.attack == DATA_FREE else len(grid.images(cell.regime)))


def _answers(grid: Grid, costs: Sequence[Mapping[str, int]]) -> int:
    """Return the most answers that the teachers could be asked for: filed ones are shared by all that can use them."""
    shared: dict[tuple[object, ...], int] = {}
    for cell, cost in zip(grid.cells, costs, strict=True):
        asked = cost.get("teacher_evaluations", 0)
        if cell.attack == DATA_FREE:
            key: tuple[object, ...] = (cell.folder,)
        else:
            augment = (getattr(cell.method, "crop_padding", 0), getattr(cell.method, "flip", False))
            images = grid.images(cell.regime)
            key = (grid.owner(cell).digests[cell.seed], id(images), cell.seed if any(augment) else None, augment)
        shared[key] = max(shared.get(key, 0), asked)
    return sum(shared.values())


def _carry_out(
    job: Resistance, grid: Grid, run: Run, announce: Callable[[str], object], progress: ProgressSink | None
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Return the results by folder, and the errors of those that have none."""
    results: dict[str, dict[str, Any]] = {}
    errors: dict[str, str] = {}
    for number, cell in enumerate(grid.cells, start=1):
        run.check_interrupt()
        if read_cell(run.folder / cell.folder) is None:
            announce(f"{number} of {len(grid.cells)}: {cell.words}")
        try:
            results[cell.folder] = run_cell(grid, cell, run.folder, options=job.run, progress=progress)
        except StorageError:  # the next one would meet the same disk
            raise
        except (UnderstudyError, torch.OutOfMemoryError) as error:
            errors[cell.folder] = str(error)
            announce(f"failed: {error}")
        if cell.folder in errors:  # no traceback holds its tensors any more
            torch.cuda.empty_cache()
    return results, errors
