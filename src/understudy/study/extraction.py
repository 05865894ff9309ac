"""One extraction: ask a target within a budget, train a surrogate on its answers, measure how good a copy it is."""

from pathlib import Path
from typing import Any

from understudy.methods.method import Outcome
from understudy.models import count_parameters, save_model
from understudy.report import write_extraction_report
from understudy.runs.progress import ProgressSink
from understudy.runs.run import Run, folder_state, resolved_config
from understudy.runs.seeds import derive_seed
from understudy.study.extraction_job import Extraction, Terms, make_extraction
from understudy.study.extraction_ready import Ready, prepare_extraction
from understudy.study.extraction_result import result_of
from understudy.study.plan import STATES
from understudy.targets import Endpoint, Ledger
from understudy.targets.defences import Client

__all__ = [
    "Extraction",
    "Ready",
    "Terms",
    "execute_extraction",
    "make_extraction",
    "plan_extraction",
    "prepare_extraction",
]


def execute_extraction(
    job: Extraction,
    folder: Path | None = None,
    *,
    progress: ProgressSink | None = None,
    evaluation_folder: Path | None = None,
) -> dict[str, Any]:
    """Carry an extraction out in its folder, or go on with it, or return its result if it is finished.

    Args:
        job: what to do.
        folder: of the run.
        progress: where to show how far it is.
        evaluation_folder: where the target's answers to the evaluation sets and their scores are kept, for several
            runs to share; None keeps them in the run.

    Returns:
        The content of `result.json`, with the folder under "folder".

    Raises:
        UnderstudyError: anything that a user can mend; what is on file stays there.
        Interrupted: the user asked to stop; the same call goes on.
    """
    ready = prepare_extraction(job)
    run = Run(folder or job.default_folder(), ready.config, job.options, progress=progress, facts=ready.facts)
    if run.result is None:
        ledger = Ledger(
            run.folder / "ledger.sqlite",
            target=ready.target.identity,
            width=ready.target.width,
            budgets={"extraction": job.terms.budget, "evaluation": None},
        )
        endpoint = _endpoint(job, ready, ledger)
        outcome = job.method.run(endpoint=endpoint, surrogate=ready.surrogate, data=ready.pool, run=run)
        _save(job, run, outcome, ready)
        run.finish(result_of(job, ready, outcome, run, ledger, evaluation_folder))
    if not (run.folder / "report.html").exists():
        write_extraction_report(run.folder)
    return {"folder": str(run.folder), **(run.result or {})}


def plan_extraction(job: Extraction, folder: Path) -> dict[str, Any]:
    """Check an extraction as far as it can be checked without a query, and return its plan.

    Returns:
        "config", "cost" (queries, training steps, rows of the surrogate, money), "folder" and "state".

    Raises:
        UnderstudyError: what running the job would raise before its first query.
    """
    ready = prepare_extraction(job)
    config = resolved_config(ready.config, job.options)
    plan = job.method.plan(len(ready.pool), job.terms.budget, over_budget=job.terms.over_budget)
    batch = min(job.method.fit.batch_size, plan.images)
    cost = {
        "images": plan.images,
        "queries": plan.queries,
        "training_steps": plan.steps,
        "surrogate_rows": plan.steps * batch * job.method.rows_per_image,
        "evaluation_queries": sum(len(one.train) + len(one.test) for one in ready.evaluation),
        "parameters": count_parameters(ready.surrogate),
    }
    return {"config": config, "cost": cost, "folder": str(folder), "state": STATES[folder_state(folder, config)]}


def _endpoint(job: Extraction, ready: Ready, ledger: Ledger) -> Endpoint:
    """Return the target as a client sees it: normalised, defended, counted."""
    terms = job.terms
    return Endpoint(
        ready.target,
        ledger,
        account="extraction",
        defences=ready.defences,
        client=Client(seed=derive_seed(job.options.seed, "client")),
        normalise=job.method.normalise_answers,
        replay=job.method.replay if terms.replay is None else terms.replay,
        over_budget=terms.over_budget,
        batch_rows=terms.batch_rows,
        retries=terms.retries,
    )


def _save(job: Extraction, run: Run, outcome: Outcome, ready: Ready) -> None:
    about: dict[str, object] = {
        "method": job.name,
        "preset": job.preset,
        "seed": run.seed,
        "target": {"name": ready.target.name, "sha256": ready.target.identity},
    }
    save_model(outcome.model, run.folder / "model", about=about)
    for name, control in outcome.controls.items():
        save_model(control, run.folder / "control" / name / "model", about={**about, "control": name})
