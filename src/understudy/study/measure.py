"""What a finished run is worth: scores of the model, its teacher and its controls, with their costs."""

from collections.abc import Mapping
from typing import Any

from understudy import catalogue
from understudy.data import ImageSet
from understudy.evaluation import evaluate, predict, throughput
from understudy.evaluation.features import embed
from understudy.evaluation.probe import Probes, probe
from understudy.evaluation.robustness import attack_suite, share, some_rows
from understudy.methods.method import Outcome
from understudy.models import Classifier, Encoder, Network, count_macs, count_parameters, model_digest
from understudy.runs.run import Run
from understudy.study.served_answers import mean_entropies, served_answers
from understudy.targets.class_defences import parse_class_defences

FORMAT = 1
ROBUST_ROWS = 1000
"""Test images of the first look at a network's robustness; `understudy evaluate --attack` takes as many as wanted."""
ROBUST_ATTACKS = ("pgd20", "cw")


def measure(
    name: str,
    preset: str | None,
    run: Run,
    outcome: Outcome,
    teacher: Classifier | None,
    test: ImageSet | None,
    *,
    train: ImageSet | None = None,
    data_source: str | None,
) -> dict[str, Any]:
    """Return the content of `result.json`.

    Args:
        name: the method.
        preset: its preset, if one was named.
        run: the run, for its seed, device and timings.
        outcome: what the method left.
        teacher: the distilled network, or None for training without one.
        test: images to measure on; None leaves the scores out.
        train: labelled images from which the probe of an encoder learns.
        data_source: how the user named them.
    """
    entry = catalogue.entry(name)
    role = "student" if teacher is not None else "model"
    networks = {role: outcome.model, **outcome.controls}
    if teacher is not None:
        networks["teacher"] = teacher
    for network in networks.values():
        network.to(run.device)
    scores = {}
    encodes = isinstance(outcome.model, Encoder)
    if encodes and train is not None and test is not None:
        scores = {key: probed(network, train, test, seed=run.seed) for key, network in networks.items()}
    elif test is not None:
        held = test.to(run.device)
        answers = predict(teacher, held) if teacher is not None else None
        for key, network in networks.items():
            others = None if network is teacher else answers
            scores[key] = evaluate(network, held, teacher_logits=others).to_json()
            if entry.family == "resistance":
                serving = outcome.facts.get("serving", "none") if key == role else "none"
                assert isinstance(network, Classifier)
                leaving, _ = served_answers(network, parse_class_defences(serving), held, seed=run.seed)
                scores[key]["entropy"] = mean_entropies(leaving)
            if threat := outcome.facts.get("threat"):
                scores[key]["robust"] = robust_scores(network, held, threat, run=run, name=key)
    data = None
    if test is not None:
        data = {"source": data_source, "split": test.split, "rows": len(test), "classes": list(test.classes)}
    return {
        "format": FORMAT,
        "method": name,
        "family": entry.family,
        "fidelity": entry.fidelity,
        "preset": preset,
        "seed": run.seed,
        **outcome.facts,
        "models": {key: describe(network) for key, network in networks.items()},
        "data": data,
        "measured_by": "linear probe" if encodes else None,
        "scores": scores,
        "timing_s": run.timing(),
    }


def robust_scores(
    network: Network, test: ImageSet, threat: Mapping[str, Any], *, run: Run, name: str
) -> dict[str, Any]:
    """Return accuracy under two quick attacks within the threat that a method trained against."""
    few = test.take(some_rows(len(test), ROBUST_ROWS))
    suite = attack_suite(
        network, few, attacks=ROBUST_ATTACKS, **threat, seed=run.seed, progress=run.progress, name=name
    )
    attacks = {name: share(suite.robust(name)).to_json() for name in ROBUST_ATTACKS}
    return {**threat, "rows": len(few), "attacks": attacks, "worst": share(suite.worst).to_json()}


def probed(encoder: Network, train: ImageSet, test: ImageSet, *, seed: int) -> dict[str, Any]:
    """Return the accuracy of logistic regression on an encoder's embeddings, in the place of a classifier's scores."""
    found = probe(
        embed(encoder, train),
        train.labels,
        embed(encoder, test),
        test.labels,
        probes=Probes(few_shot=False, knn=False),
        seed=seed,
        classes=len(train.classes),
    )
    return {"accuracy": found["linear"].to_json(), "agreement": None}


def describe(network: Network) -> dict[str, Any]:
    """Return a network's spec, size, cost and hash."""
    return {
        "spec": network.spec,
        "parameters": count_parameters(network),
        "macs": count_macs(network),
        "sha256": model_digest(network),
        "images_per_s": throughput(network, network.input_shape),
    }
