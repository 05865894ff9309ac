"""What an extraction came to: `result.json`, with the scores of target, honest client, surrogate and controls."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from understudy import catalogue
from understudy.evaluation.features import carries_information
from understudy.methods.extraction import spared
from understudy.methods.method import Outcome
from understudy.models import Network
from understudy.runs.run import Run
from understudy.study.copy_scores import (
    Features,
    Scores,
    cached_client_scores,
    clean_answers,
    fidelities,
    in_client_coordinates,
    leakage,
    network_features,
    probed,
    target_features,
    verdict,
)
from understudy.study.extraction_job import Extraction
from understudy.study.extraction_ready import Ready
from understudy.study.measure import FORMAT
from understudy.study.measure import describe as describe_network
from understudy.targets import Endpoint, Ledger, Target
from understudy.targets.defences import describe


def result_of(
    job: Extraction, ready: Ready, outcome: Outcome, run: Run, ledger: Ledger, evaluation_folder: Path | None
) -> dict[str, Any]:
    """Return the content of `result.json`: what was asked, what came of it, and what it is worth."""
    entry, terms = catalogue.entry(job.name), job.terms
    shared = evaluation_folder or run.folder / "evaluation"
    asked = ledger if evaluation_folder is None else evaluation_ledger(ready.target, evaluation_folder)
    networks = {"surrogate": outcome.model, **outcome.controls}
    scores, fidelity, informative = _scores(
        job, ready, networks, run, asked, shared, asked_about=outcome.facts["images"]
    )
    extraction = ledger.counts("extraction")
    return {
        "format": FORMAT,
        "method": job.name,
        "family": entry.family,
        "fidelity_word": entry.fidelity,
        "preset": job.preset,
        "seed": run.seed,
        "queries_planned": outcome.facts["queries"],
        **{name: fact for name, fact in outcome.facts.items() if name != "queries"},
        "target": describe_target(ready.target),
        "defences": describe(ready.defences),
        "budget": terms.budget,
        "ledger": {"extraction": extraction.to_json(), "evaluation": asked.counts("evaluation").to_json()},
        "price_per_1000": terms.price,
        "cost": None if terms.price is None else extraction.rows / 1000 * terms.price,
        "models": {name: describe_network(network) for name, network in networks.items()},
        "data": {"source": job.data, "rows": len(ready.pool), "adapted": ready.adapted},
        "probes": [one.to_json() for one in ready.evaluation],
        "scores": scores,
        "fidelity": fidelity,
        "leakage": leakage(scores),
        "informative": informative,
        "verdict": verdict(scores, informative=informative),
        "owner": terms.owner,
        "authorised_by": terms.authorised_by,
        "timing_s": run.timing(),
    }


def _scores(
    job: Extraction,
    ready: Ready,
    networks: Mapping[str, Network],
    run: Run,
    ledger: Ledger,
    folder: Path,
    *,
    asked_about: int,
) -> tuple[dict[str, Scores], dict[str, Any], bool]:
    """Return the scores of everyone on every set, the fidelities, and whether the target says anything at all."""
    endpoint = Endpoint(
        ready.target,
        ledger,
        account="evaluation",
        normalise=job.method.normalise_answers,
        batch_rows=job.terms.batch_rows,
        retries=job.terms.retries,
    )
    scores: dict[str, Scores] = {name: {} for name in ("target", "honest_client", *networks)}
    clean: list[Features] = []
    for one in ready.evaluation:
        run.check_interrupt()
        clean.append(target_features(endpoint, one))
        for name, defences in (("target", ()), ("honest_client", ready.defences)):
            scores[name][one.source] = cached_client_scores(
                defences, clean[-1], one, job.probes, run=run, folder=folder
            )
        for name, network in networks.items():
            network.to(run.device)
            scores[name][one.source] = probed(network_features(network, one), one, job.probes, seed=run.seed)
    if clean:
        answers, images = clean[0].test, ready.evaluation[0].test
    else:
        left = spared(ready.pool, asked_about, seed=run.seed)
        if left is None:  # every image was learnt from, and none is left to judge on
            return scores, dict.fromkeys(networks), True
        images = left.take(range(min(len(left), job.probes.train_rows)))
        answers = clean_answers(endpoint, images)
    served = in_client_coordinates(answers, ready.defences, seed=run.seed)
    pooled = job.method.match == "pooled"
    return scores, fidelities(networks, served, images, pooled=pooled), carries_information(answers)


def evaluation_ledger(target: Target, folder: Path) -> Ledger:
    """Return the ledger of the evaluation account that several runs share."""
    return Ledger(folder / "ledger.sqlite", target=target.identity, width=target.width)


def describe_target(target: Target) -> dict[str, Any]:
    """Return what results say of a target."""
    return {
        "name": target.name,
        "access": target.access.value,
        "input_shape": list(target.input_shape),
        "width": target.width,
        "sha256": target.identity,
    }
