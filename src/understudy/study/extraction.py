"""One extraction: ask a target within a budget, train a surrogate on its answers, measure how good a copy it is."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from understudy import catalogue
from understudy.data import ImageSet, adapt, as_float, load_images
from understudy.errors import AccessError, ConfigError
from understudy.evaluation.features import carries_information
from understudy.evaluation.probe import Probes
from understudy.methods.extraction._widths import check_widths
from understudy.methods.extractor import Extractor
from understudy.methods.method import Outcome, validated
from understudy.models import Encoder, Network, count_parameters, resolve_encoder, save_model
from understudy.report import write_extraction_report
from understudy.runs.options import RunOptions
from understudy.runs.progress import ProgressSink
from understudy.runs.run import FREE_OPTIONS, Run, folder_state, resolved_config
from understudy.runs.seeds import derive_seed
from understudy.runs.tensors import digest
from understudy.study.copy_scores import (
    EvaluationSet,
    Features,
    Scores,
    cached_client_scores,
    fidelities,
    leakage,
    network_features,
    probed,
    target_features,
    verdict,
)
from understudy.study.job import RUNS, defaults, merged, require
from understudy.study.measure import FORMAT
from understudy.study.measure import describe as describe_network
from understudy.study.plan import STATES
from understudy.targets import Endpoint, Ledger, Target, resolve_target
from understudy.targets.defences import Client, Defence, describe, parse_defences


class Terms(BaseModel):
    """The terms on which a target is asked."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    access: Literal["embeddings", "logits", "top-k", "labels"] = "embeddings"
    """What the target's answers are."""
    budget: PositiveInt | None = None
    """Most queries that may be sent, counted in images; without one the method's own plan decides."""
    over_budget: Literal["cut", "refuse"] = "cut"
    """What becomes of a plan or a request beyond the budget: as much as fits, or nothing."""
    replay: bool = True
    """Whether a repeated input is answered from file and not charged; off for targets that answer at random."""
    defences: str = "none"
    """What the target does to its answers, such as rounding:1, or several joined by +."""
    batch_rows: PositiveInt = 256
    """Rows of one request to the target."""
    retries: NonNegativeInt = 2
    """How often a request that failed is sent again."""
    price: NonNegativeFloat | None = None
    """Price of 1,000 queries, in any currency."""
    owner: str | None = Field(default=None, min_length=1)
    """Who owns the target."""
    authorised_by: str | None = Field(default=None, min_length=1)
    """Who has allowed this test of it."""


@dataclass(frozen=True)
class Extraction:
    """What a user asked for, resolved: a method, a target and its terms, a surrogate, and images to ask about."""

    name: str
    """The method's name in the catalogue."""
    method: Extractor
    target: str
    """Model folder, python:module:factory, onnx:FILE or stored:FILE."""
    surrogate: str
    """Spec of the network to train."""
    data: str
    """Images to ask about; their labels are not read."""
    options: RunOptions
    terms: Terms = field(default_factory=Terms)
    probe: tuple[str, ...] = ()
    """Labelled data sets on which copy and target are compared; none takes `data` if it is labelled."""
    probes: Probes = field(default_factory=Probes)
    preset: str | None = None
    target_sha256: str | None = None
    """Identity that the target must have; None takes it as it is."""

    def config(self) -> dict[str, Any]:
        """Return the configuration as `config.toml` stores it; `--config` reads the same."""
        return {
            "method": self.name,
            "preset": self.preset,
            "target": self.target,
            "surrogate": self.surrogate,
            "data": self.data,
            "probe": list(self.probe),
            "options": self.method.model_dump(mode="json"),
            "terms": self.terms.model_dump(mode="json"),
            "probes": self.probes.model_dump(mode="json"),
        }

    def default_folder(self) -> Path:
        """Return `runs/NAME`, where NAME tells methods, surrogates and seeds apart, and a hash everything else."""
        everything = json.dumps([self.config(), self.options.model_dump(exclude=set(FREE_OPTIONS))], sort_keys=True)
        short = hashlib.sha256(everything.encode()).hexdigest()[:6]
        return RUNS / f"{self.name}-{Path(self.surrogate.partition(':')[0]).name}-s{self.options.seed}-{short}"


def make_extraction(
    name: str,
    *,
    target: str | None,
    surrogate: str | None,
    data: str | None,
    options: Mapping[str, Any] | None = None,
    terms: Mapping[str, Any] | None = None,
    probes: Mapping[str, Any] | None = None,
    run_options: Mapping[str, Any] | None = None,
    probe: tuple[str, ...] = (),
    preset: str | None = None,
    target_sha256: str | None = None,
) -> Extraction:
    """Resolve an extraction: the preset's values, overridden by `options`, each checked against its bounds.

    Raises:
        ConfigError: a method, preset, defence or option is unknown or out of range, or something is not given.
    """
    cls = catalogue.load(name, verb="extract")
    base = cls.preset(preset).model_dump() if preset else defaults(cls)
    method = cls.checked(merged(base, options or {}), where=f"options of {name}")
    if not isinstance(method, Extractor):
        raise ConfigError(f"{name} is no method of extraction", fix="use `understudy methods`")
    require(target, "--target", "what is asked: a model folder, python:module:factory, onnx:FILE or stored:FILE")
    require(surrogate, "--surrogate", "the network to train, for instance resnet18:width=16")
    require(data, "--data", "images to ask the target about, for instance digits")
    kept = validated(Terms, dict(terms or {}), where="terms")
    parse_defences(kept.defences)
    return Extraction(
        name=name,
        method=method,
        target=str(target),
        surrogate=str(surrogate),
        data=str(data),
        options=validated(RunOptions, dict(run_options or {}), where="run options"),
        terms=kept,
        probe=tuple(probe),
        probes=validated(Probes, dict(probes or {}), where="probes"),
        preset=preset,
        target_sha256=target_sha256,
    )


@dataclass(frozen=True)
class Ready:
    """An extraction with everything loaded and checked, before its first query."""

    target: Target
    defences: tuple[Defence, ...]
    surrogate: Encoder
    pool: ImageSet
    evaluation: tuple[EvaluationSet, ...]
    config: dict[str, Any]
    facts: dict[str, object]

    @property
    def width(self) -> int:
        """Numbers of an answer as a client sees it."""
        width = self.target.width
        for defence in self.defences:
            width = defence.width(width)
        return width


def prepare_extraction(job: Extraction) -> Ready:
    """Load what an extraction needs, and check that it fits together; the target is not asked.

    Raises:
        AccessError: the method needs more than the target gives.
        UnderstudyError: something is missing, damaged, or does not fit.
    """
    options, terms = job.options, job.terms
    target = resolve_target(job.target, access=terms.access, device=options.torch_device(), precision=options.precision)
    if not target.access.covers(job.method.requires):
        raise AccessError(
            f"{job.name} needs {job.method.requires.value}, and the target gives {target.access.value}",
            where=job.target,
            fix="choose another method (`understudy methods`), or declare what the target gives with --access",
        )
    if job.target_sha256 not in (None, target.identity):
        raise ConfigError(
            "the target is not the one that the configuration was made for (its SHA-256 differs)",
            where=job.target,
            fix="name the right target, or remove target_sha256 from the configuration",
        )
    defences = parse_defences(terms.defences)
    width = target.width
    for defence in defences:
        defence.check(width)
        width = defence.width(width)
    pool = adapt(load_images(job.data, "train", labelled=False), target.input_shape)
    surrogate = resolve_encoder(
        job.surrogate,
        input_shape=target.input_shape,
        mean=pool.mean,
        std=pool.std,
        width=width if job.method.match == "linear" else None,
        seed=derive_seed(options.seed, "surrogate"),
    )
    if job.method.queries_per_image != 0:
        check_widths(width, surrogate.width, job.method.match)
    job.method.plan(len(pool), terms.budget, over_budget=terms.over_budget)
    evaluation = tuple(
        EvaluationSet.load(source, target.input_shape, rows=job.probes.train_rows, seed=options.seed)
        for source in _probe_sources(job)
    )
    facts: dict[str, object] = {"train_sha256": digest({"images": pool.images}), "target_sha256": target.identity}
    for number, one in enumerate(evaluation):
        facts[f"probe_{number}_sha256"] = one.digest()
    config = {**job.config(), "target_sha256": target.identity}
    return Ready(target, defences, surrogate, pool, evaluation, config, facts)


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
        run.finish(_result(job, ready, outcome, run, ledger, evaluation_folder))
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
        replay=terms.replay and job.method.replay,
        over_budget=terms.over_budget,
        batch_rows=terms.batch_rows,
        retries=terms.retries,
    )


def _probe_sources(job: Extraction) -> tuple[str, ...]:
    if job.probe:
        return job.probe
    return (job.data,) if load_images(job.data, "train", labelled=False).labelled else ()


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


def _result(
    job: Extraction, ready: Ready, outcome: Outcome, run: Run, ledger: Ledger, evaluation_folder: Path | None
) -> dict[str, Any]:
    """Return the content of `result.json`: what was asked, what came of it, and what it is worth."""
    entry, terms = catalogue.entry(job.name), job.terms
    shared = evaluation_folder or run.folder / "evaluation"
    asked = ledger if evaluation_folder is None else evaluation_ledger(ready.target, evaluation_folder)
    networks = {"surrogate": outcome.model, **outcome.controls}
    scores, fidelity, informative = _scores(job, ready, networks, run, asked, shared)
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
        "data": {"source": job.data, "rows": len(ready.pool)},
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
    job: Extraction, ready: Ready, networks: Mapping[str, Network], run: Run, ledger: Ledger, folder: Path
) -> tuple[dict[str, Scores], dict[str, Any], bool]:
    """Return the scores of everyone on every set, the fidelities, and whether the target says anything at all."""
    endpoint = Endpoint(
        ready.target, ledger, account="evaluation", client=Client(seed=0), batch_rows=job.terms.batch_rows
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
        images = ready.pool.take(range(min(len(ready.pool), job.probes.train_rows)))
        answers = torch.cat([endpoint.ask(as_float(part)) for part in images.images.split(512)])
    pooled = job.method.match == "pooled"
    return scores, fidelities(networks, answers, images, pooled=pooled), carries_information(answers)


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
