"""What a finished run is worth: scores of the model, its teacher and its controls, with their costs."""

from typing import Any

from understudy import catalogue
from understudy.data import ImageSet
from understudy.evaluation import evaluate, predict, throughput
from understudy.methods.method import Outcome
from understudy.models import Classifier, count_macs, count_parameters, model_digest
from understudy.runs.run import Run

FORMAT = 1


def measure(
    name: str,
    preset: str | None,
    run: Run,
    outcome: Outcome,
    teacher: Classifier | None,
    test: ImageSet | None,
    *,
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
    if test is not None:
        held = test.to(run.device)
        answers = predict(teacher, held) if teacher is not None else None
        for key, network in networks.items():
            others = None if network is teacher else answers
            scores[key] = evaluate(network, held, teacher_logits=others).to_json()
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
        "scores": scores,
        "timing_s": run.timing(),
    }


def describe(network: Classifier) -> dict[str, Any]:
    """Return a network's spec, size, cost and hash."""
    return {
        "spec": network.spec,
        "parameters": count_parameters(network),
        "macs": count_macs(network),
        "sha256": model_digest(network),
        "images_per_s": throughput(network, network.input_shape),
    }
