"""What a run would do and cost, found out without doing it."""

from pathlib import Path
from typing import Any

from understudy.runs.run import without_none
from understudy.study.job import Job, prepare


def plan(job: Job, folder: Path) -> dict[str, Any]:
    """Check a job as far as it can be checked, and return its plan.

    Returns:
        "config", "cost" (evaluations of the teacher, training steps, bytes of the bank, parameters), "folder"
        and "state": whether the folder is new, begun or finished.

    Raises:
        UnderstudyError: what running the job would raise before its first step.
    """
    ready = prepare(job)
    cost = job.method.cost(ready.model, rows=len(ready.train) if ready.train else None)
    state = "new"
    if (folder / "result.json").exists():
        state = "finished: the command would print its result"
    elif (folder / "config.toml").exists():
        state = "begun: the command would go on with it"
    return {"config": without_none(ready.config), "cost": cost, "folder": str(folder), "state": state}
