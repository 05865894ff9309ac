"""What a run would do and cost, found out without doing it."""

from pathlib import Path
from typing import Any

from understudy.bank import Bank
from understudy.runs.run import folder_state, resolved_config
from understudy.study.job import Job, prepare

STATES = {
    "new": "new",
    "begun": "begun: the command would go on with it",
    "finished": "finished: the command would print its result",
}
"""What a plan says of its folder."""


def plan(job: Job, folder: Path) -> dict[str, Any]:
    """Check a job as far as it can be checked, and return its plan.

    Returns:
        "config", "cost" (evaluations of the teacher, training steps, bytes of the bank, parameters), "folder"
        and "state": whether the folder is new, begun or finished.

    Raises:
        UnderstudyError: what running the job would raise before its first step.
    """
    ready = prepare(job)
    config = resolved_config(ready.config, job.options)
    cost = job.method.cost(
        ready.model,
        rows=len(ready.train) if ready.train else None,
        bank=ready.bank if isinstance(ready.bank, Bank) else None,
    )
    state = STATES[folder_state(folder, config)]
    return {"config": config, "cost": cost, "folder": str(folder), "state": state}
