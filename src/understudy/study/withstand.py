"""A study of text classifiers under attack from start to end: every model and seed, the record and the page."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from understudy.errors import ConfigError
from understudy.report import write_report
from understudy.runs.files import read_json, write_json
from understudy.runs.options import RunOptions
from understudy.runs.progress import ProgressSink
from understudy.runs.run import Run, folder_state, resolved_config
from understudy.study.plan import STATES
from understudy.study.text_folder import check_verb
from understudy.study.text_job import cost_of
from understudy.study.text_run import TextStudy
from understudy.study.text_train import Workshop, prepared
from understudy.study.withstand_job import Withstand, make_withstand

__all__ = ["Withstand", "make_withstand", "plan_withstand", "run_withstand"]

RECORD, PAGE = "withstand.json", "withstand.html"


def run_withstand(
    job: Withstand,
    folder: Path | None = None,
    *,
    progress: ProgressSink | None = None,
    announce: Callable[[str], object] = lambda line: None,  # noqa: ARG005
) -> dict[str, Any]:
    """Carry a study out in its folder, or go on with it, or return what it found if it is finished.

    A model that fails is put on record under "failures", and the others go on; the same call tries it again.

    Args:
        job: what to do.
        folder: for all of it; by default `runs/` and a name made from the settings.
        progress: where progress is shown.
        announce: called with a line before each part.

    Returns:
        The content of `withstand.json`, with the folder under "folder".

    Raises:
        UnderstudyError: anything that a user can mend before the first training; a disk that refuses.
        Interrupted: the user asked to stop; the same call goes on.
    """
    chosen, options = job.chosen(), _options(job)
    bench, backbones, facts = prepared(job.text, chosen, options)
    folder = folder or job.default_folder()
    check_verb(folder, "withstand")
    run = Run(folder, job.config(), options, progress=progress, facts=facts)
    if run.world > 1:
        raise ConfigError("a study trains in one process", fix="start the command without torchrun")
    path = run.folder / RECORD
    if not path.exists() or read_json(path).get("failures"):
        shop = Workshop(bench, run, job.run, alone=False, progress=progress, backbones=backbones)
        study = TextStudy(shop, chosen, job.seeds, announce)
        study.carry_out()
        write_json(path, study.record(job.config()))
        (run.folder / PAGE).unlink(missing_ok=True)
    if not (run.folder / PAGE).exists():
        write_report(run.folder)
    return {"folder": str(run.folder), **read_json(path)}


def plan_withstand(job: Withstand, folder: Path) -> dict[str, Any]:
    """Check a study as far as it can be checked without a training, and return its plan.

    Returns:
        "config", "cost" (models, training steps and attacked sentences, at most), "folder" and "state".

    Raises:
        UnderstudyError: what running it would raise before its first training.
    """
    chosen = list(job.chosen())
    check_verb(folder, "withstand")
    bench, _, _ = prepared(job.text, chosen, _options(job))
    config = resolved_config(job.config(), _options(job))
    state = "finished" if (folder / RECORD).exists() else folder_state(folder, config)
    cost = {"models": len(chosen) * len(job.seeds), **cost_of(bench, chosen, seeds=len(job.seeds))}
    return {"config": config, "cost": cost, "folder": str(folder), "state": STATES[state]}


def _options(job: Withstand) -> RunOptions:
    return job.run.model_copy(update={"seed": job.seeds[0]})
