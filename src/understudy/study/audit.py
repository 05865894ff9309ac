"""An audit from start to end: every run of the grid, what they say together, and the page. The same call resumes it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from understudy.errors import StorageError, UnderstudyError
from understudy.report import write_audit
from understudy.runs.files import read_json, write_json
from understudy.runs.options import RunOptions
from understudy.runs.progress import ProgressSink
from understudy.runs.run import Run, folder_state, resolved_config
from understudy.study.audit_grid import Grid, make_grid
from understudy.study.audit_job import Audit, make_audit
from understudy.study.audit_record import audit_record
from understudy.study.extraction import execute_extraction
from understudy.study.plan import STATES

__all__ = ["Audit", "make_audit", "plan_audit", "run_audit"]


def run_audit(
    audit: Audit,
    folder: Path | None = None,
    *,
    progress: ProgressSink | None = None,
    announce: Callable[[str], object] = lambda line: None,  # noqa: ARG005
) -> dict[str, Any]:
    """Carry an audit out in its folder, or go on with it, or return what it found if it is finished.

    A run that fails is put on record under "failures", and the others go on; the same call tries it again.

    Args:
        audit: what to do.
        folder: for all of it; by default `runs/` and a name made from the settings.
        progress: where the progress of each run is shown.
        announce: called with a line before each run.

    Returns:
        The content of `audit.json`, with the folder under "folder".

    Raises:
        UnderstudyError: anything that a user can mend before the first run; a disk that refuses.
        Interrupted: the user asked to stop; the same call goes on.
    """
    grid = make_grid(audit)
    place = folder or audit.default_folder()
    # Whoever works in the folder holds it; it is for this audit, this target and these images alone.
    run = Run(place, _config(audit, grid), _options(audit), progress=progress, facts=grid.ready.facts)
    path = run.folder / "audit.json"
    if not path.exists() or read_json(path).get("failures"):
        results, errors = _carry_out(audit, grid, run, announce, progress)
        write_json(path, audit_record(audit, grid, run.folder, results, errors))
        (run.folder / "audit.html").unlink(missing_ok=True)
    if not (run.folder / "audit.html").exists():
        write_audit(run.folder)
    return {"folder": str(run.folder), **read_json(path)}


def plan_audit(audit: Audit, folder: Path) -> dict[str, Any]:
    """Check an audit as far as it can be checked without a query, and return its plan.

    Returns:
        "config", "cost" (runs, controls, most queries, training steps, money), "folder" and "state".

    Raises:
        UnderstudyError: what running it would raise before its first query.
    """
    grid = make_grid(audit)
    config = resolved_config(_config(audit, grid), _options(audit))
    once = {point.folder: point for point in grid.points}.values()
    queries = sum(point.plan.queries for point in once)
    cost: dict[str, int | float] = {
        "runs": len(once),
        "controls": len(grid.controls),
        "queries": queries,
        "training_steps": sum(point.plan.steps for point in once),
        "evaluation_queries": sum(len(one.train) + len(one.test) for one in grid.ready.evaluation),
    }
    if audit.terms.price is not None:
        cost["price"] = round(queries * audit.terms.price / 1000, 2)
    state = "finished" if (folder / "audit.json").exists() else folder_state(folder, config)
    return {"config": config, "cost": cost, "folder": str(folder), "state": STATES[state]}


def _config(audit: Audit, grid: Grid) -> dict[str, Any]:
    return {**audit.config(), "target_sha256": grid.ready.target.identity}


def _options(audit: Audit) -> RunOptions:
    return audit.run.model_copy(update={"seed": audit.seeds[0]})


def _carry_out(
    audit: Audit, grid: Grid, run: Run, announce: Callable[[str], object], progress: ProgressSink | None
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Return the results by folder, and the errors of those that have none."""
    results: dict[str, dict[str, Any]] = {}
    errors: dict[str, str] = {}
    listed = grid.runs(audit)
    for number, (what, folder, job) in enumerate(listed, start=1):
        run.check_interrupt()
        place = run.folder / folder
        if (place / "result.json").exists():
            results[folder] = read_json(place / "result.json")
            continue
        announce(f"{number} of {len(listed)}: {what}")
        try:
            results[folder] = execute_extraction(
                job, place, progress=progress, evaluation_folder=run.folder / "evaluation"
            )
        except StorageError:  # the next run would meet the same disk
            raise
        except UnderstudyError as error:
            errors[folder] = str(error)
            announce(f"failed: {error}")
    return results, errors
