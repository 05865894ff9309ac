"""The record of a text study, as its JSON file holds it and its page shows it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from understudy.attacks.text import Record, TextAttack
from understudy.evaluation.statistics import wilson
from understudy.evaluation.text_intervals import mean_over_seeds
from understudy.evaluation.text_profile import bin_edges, confusion, histogram, roc_area
from understudy.models.text.backbone import Backbone
from understudy.runs.files import read_json
from understudy.runs.provenance import command
from understudy.runs.run import Run
from understudy.study.text_bench import Bench, static_folder
from understudy.study.text_measure import profile_path, read_records
from understudy.study.text_methods import CLEAN
from understudy.study.text_scores import Found, gains, read_found, scores
from understudy.study.text_told import Model, gather_told, mean, slots_told, warnings_told
from understudy.study.withstand_verdict import subject, verdict

FORMAT = 1
EXAMPLES = 24
"""Attacked sentences on the page, at most."""


def text_record(
    bench: Bench,
    run: Run,
    backbone: Mapping[str, Any],
    models: Sequence[Model],
    seeds: Sequence[int],
    failures: Sequence[Mapping[str, str]],
    *,
    settings: Mapping[str, Any],
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the record of what is on file.

    Args:
        bench: data and attacks.
        run: the study's; its folder holds everything.
        backbone: what `describe_backbone` says.
        models: slot 0 first.
        seeds: of the study. A model counts at the seeds at which it is finished.
        failures: what could not be done: "folder", "what" and "error" each.
        settings: the study's configuration.
        notes: what else a reader has to know.
    """
    found = {
        one.key: {seed: each for seed in seeds if (each := read_found(bench, run.folder, one.key, seed)) is not None}
        for one in models
    }
    shown = [one for one in models if found[one.key]]
    record: dict[str, Any] = {
        "format": FORMAT,
        "kind": "adapters",
        "family": "adapters",
        "name": run.folder.name,
        "date": datetime.now(UTC).date().isoformat(),
        "command": command(),
        "backbone": dict(backbone),
        "data": _data(bench),
        "seeds": list(seeds),
        "attacks": [_attack(one, known=one in bench.known) for one in bench.attacks],
        "methods": [_method(one, list(found[one.key].values())) for one in shown],
        "scores": {one.key: scores(bench, list(found[one.key].values())) for one in shown},
        "per_seed": {str(seed): {one.key: _seed(found[one.key].get(seed)) for one in shown} for seed in seeds},
        "rows": {"clean": len(bench.test), "static": bench.static_rows, "adaptive": bench.adaptive_rows},
        "slots": slots_told(models),
        "gather": gather_told(models)[0],
        "profile": _profile(bench, run.folder, seeds),
        "examples": _examples(bench, run.folder, seeds, shown, found),
        "failures": [dict(one) for one in failures],
        "settings": dict(settings),
        "machine": _machine(run),
        "timing_s": run.timing(),
    }
    record["gains"] = _gains(bench, record, found)
    record["notes"] = [*_notes(bench, models, backbone), *notes]
    record["warnings"] = warnings_told(models, record["slots"])
    record["verdict"] = verdict(record)
    return record


def describe_backbone(backbone: Backbone, *, spec: str) -> dict[str, Any]:
    """Return what a record says of the backbone, under the spec that was given: `tiny`, not where it was put."""
    return {
        "spec": spec,
        "sha256": backbone.sha256,
        "architecture": backbone.architecture,
        "layers": backbone.layers,
        "hidden": backbone.hidden_size,
        "parameters": sum(tensor.numel() for tensor in backbone.model.base_model.parameters()),
        "max_length": backbone.max_length,
        "synthetic": backbone.synthetic,
    }


def _data(bench: Bench) -> dict[str, Any]:
    return {
        "source": bench.settings.data,
        "train_rows": len(bench.train),
        "test_rows": len(bench.test),
        "classes": list(bench.train.classes),
        "removed_duplicates": bench.removed,
    }


def _attack(attack: TextAttack, *, known: bool) -> dict[str, Any]:
    return {
        "name": attack.spec,
        "label": attack.label,
        "known": known,
        "level": attack.level,
        "summary": attack.summary,
        "paper": attack.paper,
        "fidelity": attack.fidelity,
        "constraints": list(attack.constraints()),
        "queries": attack.queries,
    }


def _method(model: Model, found: Sequence[Found]) -> dict[str, Any]:
    facts, chosen = list(model.facts.values()), model.chosen
    return {
        "key": model.key,
        "label": "Clean adapter" if model.key == CLEAN else chosen.label,
        "method": "clean_adapter" if model.key == CLEAN else chosen.name,
        "options": chosen.method.model_dump(mode="json"),
        "fidelity": "paper" if model.key == CLEAN else chosen.fidelity,
        **{name: facts[0].get(name) for name in ("trained_parameters", "optimiser_steps", "adapter_bytes")},
        "passes": found[0].answers["passes"],
        "train_s": mean(one["train_s"] for one in facts if one.get("train_s") is not None),
        "sentences_per_s": mean(one.answers["sentences_per_s"] for one in found),
    }


def _seed(found: Found | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "clean": _share(found.clean),
        "static": {spec: _share(right) for spec, right in found.static.items()},
        "adaptive": {spec: _share(found.adaptive_right(spec)) for spec in found.adaptive},
    }


def _gains(bench: Bench, record: Mapping[str, Any], found: Mapping[str, Mapping[int, Found]]) -> dict[str, Any]:
    """Return how far the study's subject is ahead of each other model, at the seeds that both have."""
    key = subject(record)
    if key is None:
        return {}
    result = {}
    for other in record["scores"]:
        both = [seed for seed in found[key] if seed in found[other]]
        if other != key and both:
            result[other] = gains(bench, [found[key][seed] for seed in both], [found[other][seed] for seed in both])
    return result


def _profiles(folder: Path, seeds: Iterable[int]) -> dict[int, dict[str, Any]]:
    paths = {seed: profile_path(folder, seed) for seed in seeds}
    return {seed: read_json(path) for seed, path in paths.items() if path.exists()}


def _profile(bench: Bench, folder: Path, seeds: Sequence[int]) -> dict[str, Any] | None:
    """Return entropies, weights, ROC areas and the confusion of attacks, over all seeds together."""
    found = list(_profiles(folder, seeds).values())
    if not found:
        return None
    top = math.log(len(bench.train.classes))
    kinds = [CLEAN, *(one.spec for one in bench.attacks)]
    pooled = {kind: [value for one in found for value in one["kinds"][kind]["entropy"]] for kind in kinds}
    areas = {
        kind: [
            roc_area(one["kinds"][CLEAN]["entropy"], one["kinds"][kind]["entropy"])
            for one in found
            if one["kinds"][kind]["entropy"]
        ]
        for kind in kinds[1:]
    }
    return {
        "entropy": {kind: histogram(values, top=top) for kind, values in pooled.items()},
        "bins": bin_edges(top=top),
        "roc": {kind: mean_over_seeds(listed).to_json() for kind, listed in areas.items() if listed},
        "weights": _weights(found, kinds),
        "confusion": _confusion(found, kinds),
    }


def _weights(found: Sequence[Mapping[str, Any]], kinds: Sequence[str]) -> dict[str, Any] | None:
    mixed = [one for one in found if one["slots"]]
    if not mixed:
        return None
    listed = {kind: [row for one in mixed for row in one["kinds"][kind]["weights"] or ()] for kind in kinds}
    means = {
        kind: [math.fsum(column) / len(rows) for column in zip(*rows, strict=True)]
        for kind, rows in listed.items()
        if rows
    }
    return {"slots": mixed[0]["slots"], **means}


def _confusion(found: Sequence[Mapping[str, Any]], kinds: Sequence[str]) -> dict[str, Any] | None:
    pairs = [(kind, name) for one in found for kind in kinds for name in one["kinds"][kind]["nearest"] or ()]
    if not pairs:
        return None
    slots = next(one["slots"] for one in found if one["slots"])
    columns = [*slots, *sorted({name for _, name in pairs} - set(slots))]
    counts = confusion([kind for kind, _ in pairs], [name for _, name in pairs], rows=list(kinds), columns=columns)
    return {"rows": list(kinds), "columns": columns, "counts": counts}


def _examples(
    bench: Bench,
    folder: Path,
    seeds: Sequence[int],
    models: Sequence[Model],
    found: Mapping[str, Mapping[int, Found]],
) -> list[dict[str, Any]]:
    """Return attacked sentences of the first seed that has them, with what every model says of each."""
    profiles = _profiles(folder, seeds)
    seed = next(iter(profiles), None)
    if seed is None:
        return []
    listed = []
    each = max(1, EXAMPLES // max(1, len(bench.attacks)))
    for attack in bench.attacks:
        records = read_records(static_folder(folder, seed, attack)) or []
        for place in _telling(records, each):
            row = _example(records[place], profiles[seed])
            given = {one.key: found[one.key][seed].answers for one in models if seed in found[one.key]}
            row["predictions"] = {key: answers["static"][attack.spec][place] for key, answers in given.items()}
            listed.append(row)
    return listed[:EXAMPLES]


def _telling(records: Sequence[Record], count: int) -> list[int]:
    """Return the places of some changed sentences: two thirds that fooled the clean adapter, the rest did not."""
    places: dict[str, list[int]] = {"success": [], "failed": []}
    for place, one in enumerate(records):
        if one.status in places and one.attacked != one.text:
            places[one.status].append(place)
    failed = places["failed"][: max(count // 3, count - len(places["success"]))]
    return sorted([*places["success"][: count - len(failed)], *failed])


def _example(record: Record, profile: Mapping[str, Any]) -> dict[str, Any]:
    part = profile["kinds"].get(record.attack, {"rows": []})
    at = part["rows"].index(record.row) if record.row in part["rows"] else None
    weights = part["weights"][at] if at is not None and part["weights"] else None
    return {
        "attack": record.attack,
        "original": record.text,
        "attacked": record.attacked,
        "label": record.label,
        "changed": list(record.changed),
        "status": record.status,
        "queries": record.queries,
        "weights": None if weights is None else dict(zip(profile["slots"], weights, strict=True)),
        "entropy": None if at is None else part["entropy"][at],
    }


def _notes(bench: Bench, models: Sequence[Model], backbone: Mapping[str, Any]) -> list[str]:
    """Return what a reader has to know of how the numbers came about."""
    notes = []
    if bench.settings.backbone == "tiny" or backbone.get("synthetic"):  # the folder of such a one says so itself
        notes.append(
            "The encoder was trained on the spot on a few embedded sentences: the numbers show the mechanics, "
            "and say nothing of what a pre-trained encoder would do."
        )
    if bench.settings.data.partition("[")[0] == "reviews":
        notes.append("The embedded reviews are synthetic: made from word lists and templates of our own.")
    if bench.removed:
        notes.append(f"{bench.removed} training sentences also stand in the test split and were left out.")
    notes += [f"{one.label}: {line}." for one in bench.attacks for line in one.constraints()]
    own = {facts.get("clean_sha256") for model in models for facts in model.facts.values()} - {None}
    seeds = {seed for model in models for seed in model.facts}
    if len(own) > len(seeds):
        notes.append("Some methods trained a clean adapter of their own; static attacks are on that of the first row.")
    if not gather_told(models)[1]:
        notes.append(
            "Some methods attacked other training sentences; what came of that is told of the first one in each seed."
        )
    return notes


def _machine(run: Run) -> dict[str, Any]:
    environment = read_json(run.folder / "environment.json")
    names = ("cpu", "cores", "device", "device_name", "python", "platform", "understudy", "packages")
    return {name: environment.get(name) for name in names}


def _share(right: Sequence[bool]) -> float:
    return wilson(sum(right), len(right)).value
