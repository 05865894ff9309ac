"""What an evaluation under attack found, as `robustness.json` holds it."""

import json
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from itertools import combinations
from pathlib import Path
from typing import Any

import torch

from understudy import catalogue
from understudy.attacks import AUTOATTACK, named, parse_radius, radius_text
from understudy.data import ImageSet
from understudy.evaluation._flag_words import FLAGS
from understudy.evaluation.masking import REFERENCE, parting
from understudy.evaluation.paired import mcnemar
from understudy.evaluation.red_flags import Check
from understudy.evaluation.robustness import CLEAN, per_class, share
from understudy.models import count_macs, count_parameters, model_digest
from understudy.runs.provenance import versions
from understudy.study.robustness_examples import Tried
from understudy.study.robustness_job import Robustness, short_name
from understudy.study.robustness_verdict import verdict

FORMAT = 1
_OBJECTIVES = {
    "CrossEntropy": "cross-entropy of the true class",
    "Margin": "margin between the best wrong class and the true one",
    "DLR": "difference of logits ratio",
}


def robustness_record(
    job: Robustness, data: ImageSet, of: int, tried: Mapping[str, Tried], *, acknowledged: Sequence[str]
) -> dict[str, Any]:
    """Return the content of `robustness.json`, but for its examples.

    Args:
        job: what was asked.
        data: the images that were tried.
        of: images of the whole split.
        tried: networks by role.
        acknowledged: red flags that do not stop the verdict.
    """
    flags = [
        check.to_flag(model=key, acknowledged=check.name in acknowledged)
        for key, one in tried.items()
        for check in one.checks
        if check.flagged
    ]
    record = {
        "format": FORMAT,
        "kind": "robustness",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "threat": {"norm": job.norm, "epsilon": job.epsilon, "text": radius_text(job.epsilon)},
        "data": {
            "source": job.data,
            "split": job.split,
            "rows": len(data),
            "of": of,
            "classes": list(data.classes),
        },
        "models": {key: _about(job, one, tried) for key, one in tried.items()},
        "attacks": [_attack(name, job) for name in job.attacks],
        "scores": {key: _scores(one, data) for key, one in tried.items()},
        "sweep": {key: one.sweep.to_json() for key, one in tried.items() if one.sweep is not None},
        "paired": _paired(job, tried),
        "transfer": _transfer(tried["last"]),
        "parting": _parting(job, data, tried),
        "flags": flags,
        "checks": [
            {"name": check.name, "model": key, "passed": check.passed, "measured": check.measured, "what": _what(check)}
            for key, one in tried.items()
            for check in one.checks
        ],
        "acknowledged": sorted(acknowledged),
        "notes": _notes(job, len(data), of, tried),
        "examples": [],
        "settings": {
            "seed": job.run.seed,
            "batch_size": job.batch_size,
            "precision": "float32",
            "command": _command(job, acknowledged),
            "versions": {"understudy": metadata.version("understudy"), **versions(), **_of_autoattack(job)},
        },
    }
    return {**record, "verdict": verdict(record)}


def _about(job: Robustness, one: Tried, tried: Mapping[str, Tried]) -> dict[str, Any]:
    name = short_name(job.model if one.key in ("last", "best") else one.spec)
    if "best" in tried and one.key in ("last", "best"):
        name += f", {one.key} checkpoint"
    method = _trained_by(Path(one.spec))
    entry = catalogue.METHODS.get(method or "")
    return {
        "name": name,
        "role": one.key,
        "source": one.spec,
        "spec": one.network.spec,
        "parameters": count_parameters(one.network),
        "macs": count_macs(one.network),
        "sha256": model_digest(one.network),
        "trained_by": method,
        "fidelity": entry.fidelity if entry else None,
        "summary": entry.summary if entry else None,
    }


def _trained_by(folder: Path) -> str | None:
    """Return the method that a model folder names, if it is one."""
    for path in (folder / "model.json", folder / "model" / "model.json"):
        if path.is_file():
            about = json.loads(path.read_text(encoding="utf-8")).get("about", {})
            return about.get("method") if isinstance(about.get("method"), str) else None
    return None


def _attack(name: str, job: Robustness) -> dict[str, Any]:
    if name == AUTOATTACK:
        return {
            "name": name,
            "label": "AutoAttack (standard)",
            "objective": "four attacks, the last without gradients",
            "steps": None,
            "step": None,
            "start": None,
            "restarts": None,
            "what": "APGD-CE, APGD-T and FAB-T (100 steps each, nine targets) and Square (5,000 queries)",
        }
    one = named(name, epsilon=job.epsilon, norm=job.norm)
    objective = _OBJECTIVES[type(one.objective(torch.zeros(1, dtype=torch.int64))).__name__]
    steps = "one step" if one.attack.steps == 1 else f"{one.attack.steps} steps"
    starts = {"none": "the image itself", "uniform": "a random point of the ball"}
    return {
        "name": name,
        "label": one.label,
        "objective": objective,
        "steps": one.attack.steps,
        "step": one.attack.step,
        "start": one.attack.start,
        "restarts": one.attack.restarts,
        "what": f"{steps} of {radius_text(one.attack.step)} up the {objective}, from {starts[one.attack.start]}",
    }


def _scores(one: Tried, data: ImageSet) -> dict[str, Any]:
    attacks = {}
    for name, attacked in one.suite.attacks.items():
        attacks[name] = {"robust": share(one.suite.robust(name)).to_json(), "seconds": round(attacked.seconds, 3)}
        if attacked.after:
            attacks[name]["after"] = dict(attacked.after)
    return {
        "clean": share(one.suite.clean).to_json(),
        "attacks": attacks,
        "worst": share(one.suite.worst).to_json(),
        "per_class": per_class(one.suite, data.labels, data.classes),
    }


def _paired(job: Robustness, tried: Mapping[str, Tried]) -> list[dict[str, Any]]:
    """Return the comparison of each two networks that met the same attacks, without one, under each, and under all."""
    rows = []
    for a, b in combinations([key for key in tried if key != "teacher"], 2):
        for name in (CLEAN, *job.attacks):
            found = mcnemar(tried[a].suite.robust(name), tried[b].suite.robust(name))
            rows.append({"a": a, "b": b, "attack": name, **found.to_json()})
        rows.append(
            {"a": a, "b": b, "attack": "worst", **mcnemar(tried[a].suite.worst, tried[b].suite.worst).to_json()}
        )
    return rows


def _transfer(one: Tried) -> dict[str, Any] | None:
    if one.transferred is None:
        return None
    return {
        "from": "teacher",
        "to": one.key,
        "attack": REFERENCE,
        "transferred": share(one.suite.clean & one.transferred.robust).to_json(),
        "white_box": share(one.suite.robust(REFERENCE)).to_json(),
    }


def _parting(job: Robustness, data: ImageSet, tried: Mapping[str, Tried]) -> dict[str, Any] | None:
    if "teacher" not in tried:
        return None
    found = parting(tried["last"].suite, tried["teacher"].suite, data.labels, data.classes, attacks=job.own_attacks)
    text = "the worst of " + ", ".join(job.own_attacks) if len(job.own_attacks) > 1 else job.own_attacks[0]
    return {"teacher": "teacher", "student": "last", "attack": text, **found}


def _what(check: Check) -> str:
    """Return what a passed check means, in words."""
    about = FLAGS.get(check.name)
    return about.expected if about else "more steps and restarts lower the number by at most 1 point"


def _notes(job: Robustness, rows: int, of: int, tried: Mapping[str, Tried]) -> list[str]:
    notes = []
    if rows < of:
        notes.append(f"{rows:,} of the {of:,} images of the split were tried: the same ones in every evaluation.")
    for key, one in tried.items():
        if alone := one.suite.fell_to_checks:
            notes.append(
                f"{key}: {alone} images fell to attacks of the checks alone; in the worst case they are broken."
            )
        notes += [f"{key}, {name}: {text}" for name, found in one.suite.attacks.items() for text in found.notes]
    if "teacher" in tried and AUTOATTACK in job.attacks:
        notes.append("The teacher was attacked without AutoAttack; evaluate it by itself for that number.")
    if any(check.name == "more_steps" and not check.passed for one in tried.values() for check in one.checks):
        notes.append("More steps still lower the number of PGD-20 by over 1 point: trust the harder attack.")
    return notes


def _command(job: Robustness, acknowledged: Sequence[str]) -> str:
    words = ["understudy", "evaluate", job.model, "--data", job.data, "--attack", ",".join(job.attacks)]
    words += ["--epsilon", _in_full(job.epsilon), "--norm", job.norm, "--seed", str(job.run.seed)]
    words += ["--sweep", ",".join(map(_in_full, job.sweep)), "--batch-size", str(job.batch_size)]
    optional: dict[str, object] = {"split": job.split if job.split != "test" else None, "rows": job.rows}
    optional |= {"against": job.against, "teacher": job.teacher, "acknowledge": ",".join(acknowledged) or None}
    for name, value in optional.items():
        words += [f"--{name}", str(value)] if value is not None else []
    return shlex.join(words)


def _in_full(radius: float) -> str:
    """Return a radius as people write it where that is the same number, and with all its digits where not."""
    text = radius_text(radius)
    return text if parse_radius(text) == radius else repr(radius)


def _of_autoattack(job: Robustness) -> dict[str, str]:
    return {"pyautoattack": metadata.version("pyautoattack")} if AUTOATTACK in job.attacks else {}
