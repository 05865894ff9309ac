"""How good a copy is: probes and fidelity of target, honest client, surrogate and controls on labelled sets."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.data import ImageSet, adapt, adaptation, as_float, load_images
from understudy.evaluation import Interval
from understudy.evaluation.features import embed, fidelity
from understudy.evaluation.probe import Probes, probe, stratified_rows
from understudy.methods.extraction import matched
from understudy.models import Network
from understudy.runs.files import read_json, write_json
from understudy.runs.run import Run
from understudy.runs.seeds import derive_seed, stream
from understudy.runs.tensors import digest
from understudy.targets import Endpoint
from understudy.targets.defences import Client, Defence, describe

_ROWS = 512
_SEED = 0  # of the rows that probes learn from

Scores = dict[str, dict[str, Any]]


@dataclass(frozen=True, eq=False)
class EvaluationSet:
    """A labelled data set on which encoders are compared."""

    source: str
    train: ImageSet
    test: ImageSet
    adapted: str | None
    """What was done to its images to fit the target, in words."""

    @classmethod
    def load(cls: "type[EvaluationSet]", source: str, shape: tuple[int, ...], *, rows: int) -> "EvaluationSet":
        """Return a data set in the target's shape, with at most so many rows to learn from, the same for every seed.

        Raises:
            DataError: it is missing, damaged, or has no labels.
            ShapeError: its images cannot be brought to the shape.
        """
        train, test = load_images(source, "train"), load_images(source, "test")
        if len(train) > rows:
            train = train.take(stratified_rows(train.labels, rows, classes=len(train.classes), seed=_SEED))
        return cls(source, adapt(train, shape), adapt(test, shape), adaptation(train.shape, shape))

    def digest(self) -> str:
        """Return the hash of its images and labels."""
        parts = {"train": self.train, "test": self.test}
        images = {f"{name}_images": one.images for name, one in parts.items()}
        labels = {f"{name}_labels": one.labels for name, one in parts.items()}
        return digest({**images, **labels})

    def to_json(self) -> dict[str, Any]:
        """Return what `result.json` says of it."""
        return {
            "source": self.source,
            "classes": len(self.train.classes),
            "train_rows": len(self.train),
            "test_rows": len(self.test),
            "adapted": self.adapted,
        }


@dataclass(frozen=True, eq=False)
class Features:
    """The features of one encoder on both splits of an evaluation set."""

    train: Float[Tensor, "n d"]
    test: Float[Tensor, "m d"]

    def through(self, change: Callable[[Tensor], Tensor]) -> "Features":
        """Return the features after a change of each row."""
        return Features(change(self.train), change(self.test))


def clean_answers(endpoint: Endpoint, data: ImageSet) -> Float[Tensor, "n d"]:
    """Return the target's answers to all images, asked on the account of evaluation."""
    return torch.cat([endpoint.ask(as_float(part)) for part in torch.split(data.images, _ROWS)])


def target_features(endpoint: Endpoint, data: EvaluationSet) -> Features:
    """Return the target's answers to both splits of an evaluation set."""
    return Features(clean_answers(endpoint, data.train), clean_answers(endpoint, data.test))


def defended(features: Features, defences: tuple[Defence, ...], *, seed: int) -> Features:
    """Return what an honest client gets, who asks once about each image and has not asked before."""
    client = Client(seed=derive_seed(seed, "honest_client"))
    keys = stream(seed, "honest_queries")

    def change(rows: Tensor) -> Tensor:
        numbers = torch.randint(2**62, (len(rows),), generator=keys)
        for defence in defences:
            rows = defence.transform(rows, keys=numbers, client=client)
        return rows

    return features.through(change)


def in_client_coordinates(
    answers: Float[Tensor, "n d"], defences: tuple[Defence, ...], *, seed: int
) -> Float[Tensor, "n d"]:
    """Return clean answers turned as the client's secret rotation or permutation turns them.

    A copy can only learn the coordinates that its client is served, and is as faithful in those.
    """
    client = Client(seed=derive_seed(seed, "client"))
    for defence in defences:
        if defence.personal and defence.keeps_unit_norm and not defence.random:
            answers = defence.transform(answers, keys=torch.zeros(len(answers), dtype=torch.int64), client=client)
    return answers


def network_features(network: Network, data: EvaluationSet) -> Features:
    """Return a network's embeddings of an evaluation set."""
    return Features(embed(network, data.train), embed(network, data.test))


def probed(features: Features, data: EvaluationSet, probes: Probes, *, seed: int) -> dict[str, Any]:
    """Return the score of each probe, as JSON."""
    scores = probe(
        features.train,
        data.train.labels,
        features.test,
        data.test.labels,
        probes=probes,
        seed=seed,
        classes=len(data.train.classes),
    )
    return {name: interval.to_json() for name, interval in scores.items()}


def remembered(folder: Path, what: Mapping[str, Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what was made of `what` before, or make it and put it on file, for several runs to share."""
    key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]
    path = folder / f"scores-{key}.json"
    if not path.exists():
        write_json(path, {"of": dict(what), "scores": make()})
    found: dict[str, Any] = read_json(path)["scores"]
    return found


def leakage(scores: Mapping[str, Scores]) -> dict[str, dict[str, float]]:
    """Return the surrogate's score above the control without queries, for each set and probe."""
    surrogate, control = scores.get("surrogate", {}), scores.get("no_query", {})
    return {
        source: {
            name: value["value"] - control[source][name]["value"]
            for name, value in found.items()
            if name in control[source]
        }
        for source, found in surrogate.items()
        if source in control
    }


def fidelities(
    networks: Mapping[str, Network], answers: Float[Tensor, "n d"], data: ImageSet, *, pooled: bool
) -> dict[str, dict[str, Any] | None]:
    """Return each network's mean cosine with the target's clean answers; None where the widths differ."""
    found: dict[str, dict[str, Any] | None] = {}
    for name, network in networks.items():
        known = matched(answers, network.outputs) if pooled else answers
        same = network.outputs == known.shape[1]
        interval: Interval | None = fidelity(embed(network, data), known) if same else None
        found[name] = interval.to_json() if interval else None
    return found


def verdict(scores: Mapping[str, Scores], *, informative: bool) -> str:
    """Return one sentence on how good a copy the surrogate is, by the first probe of the first set."""
    if not informative:
        return "The target carries no information: it answers every image alike, so there is nothing to copy."
    source = next(iter(scores.get("surrogate", {})), None)
    if source is None:
        return "No labelled images were given, so nothing but the fidelity could be measured."
    name = next(iter(scores["surrogate"][source]), None)
    if name is None:
        return "No probe was asked for, so only the fidelity was measured."
    copy, target = (scores[key][source][name]["value"] for key in ("surrogate", "target"))
    word = name.replace("_", "-")
    said = f"On {source} a {word} probe of the copy is right on {copy:.1%}, of the target on {target:.1%}"
    if "no_query" not in scores:
        return said + "."
    control = scores["no_query"][source][name]["value"]
    gap = target - control
    said += f", and of a surrogate that never asked on {control:.1%}"
    if gap < 0.005:
        return said + ": the target is no better than that, so this probe says nothing about copying."
    return said + f": the queries won {max(copy - control, 0) / gap:.0%} of the gap."


def cached_client_scores(
    defences: tuple[Defence, ...],
    features: Features,
    data: EvaluationSet,
    probes: Probes,
    *,
    run: Run,
    folder: Path,
) -> dict[str, Any]:
    """Return the probe scores of a client behind these defences, from file if they are there."""
    what = {
        "data": data.digest(),
        "features": digest({"train": features.train, "test": features.test}),
        "defences": describe(defences),
        "probes": probes.model_dump(mode="json"),
        "seed": run.seed,
    }
    return remembered(
        folder, what, lambda: probed(defended(features, defences, seed=run.seed), data, probes, seed=run.seed)
    )
