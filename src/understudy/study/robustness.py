"""An evaluation under attack from start to end: attacks, checks, verdict, page. The same call again goes on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from understudy.data import ImageSet, as_float, check_fits, load_images
from understudy.errors import ConfigError
from understudy.evaluation._outcomes import Attacked
from understudy.evaluation.masking import Sweep, everything, rescaled, sweep, transfer
from understudy.evaluation.red_flags import chance, compare, examine, normalised_outside
from understudy.evaluation.robustness import Suite, check_installed, make_bench, run_suite, some_rows
from understudy.models import Classifier, model_digest, resolve_model
from understudy.report import write_robustness_report
from understudy.runs.files import read_json, write_json
from understudy.runs.progress import ProgressSink
from understudy.runs.run import Run
from understudy.runs.tensors import digest
from understudy.study.robustness_examples import EXAMPLES, Tried, save_examples
from understudy.study.robustness_job import Robustness, check_acknowledged, make_robustness
from understudy.study.robustness_record import robustness_record

__all__ = ["Robustness", "check_acknowledged", "make_robustness", "run_robustness"]

RECORD = "robustness.json"
PAGE = "robustness.html"
_EXAMINED = 250
"""Images whose answers and gradients are looked at."""


@dataclass(frozen=True)
class Ready:
    """An evaluation with everything loaded and checked, before its first attack."""

    data: ImageSet
    of: int
    """Images of the whole split."""
    positions: torch.Tensor
    """Where the images stand in the split. Shape (n,)."""
    networks: Mapping[str, Classifier]
    """By role: last, best, against, teacher."""
    specs: Mapping[str, str]
    """What the user called each of them."""
    facts: Mapping[str, object] = field(default_factory=dict)


def run_robustness(
    job: Robustness,
    folder: Path | None = None,
    *,
    acknowledged: Sequence[str] = (),
    progress: ProgressSink | None = None,
    announce: Callable[[str], object] = lambda line: None,  # noqa: ARG005
) -> dict[str, Any]:
    """Carry an evaluation out in its folder, or go on with it, or return what it found if it is finished.

    Args:
        job: what to do.
        folder: for all of it; by default `runs/` and a name made from the settings.
        acknowledged: red flags that do not stop the verdict. They may change from call to call.
        progress: where the progress of each attack is shown.
        announce: called with a line before each network.

    Returns:
        The content of `robustness.json`, with the folder under "folder".

    Raises:
        UnderstudyError: anything that a user can mend; what is on file stays there.
        Interrupted: the user asked to stop; the same call goes on.
    """
    ready = prepare(job)
    run = Run(folder or job.default_folder(), job.config(), job.run, progress=progress, facts=ready.facts)
    path = run.folder / RECORD
    if not path.exists() or read_json(path)["acknowledged"] != sorted(acknowledged):
        tried = {key: _try(job, ready, key, run, progress, announce) for key in ready.networks}
        record = robustness_record(job, ready.data, ready.of, tried, acknowledged=acknowledged)
        record["examples"] = save_examples(run.folder / EXAMPLES, job, ready.data, ready.positions, tried)
        write_json(path, record)
        (run.folder / PAGE).unlink(missing_ok=True)
    if not (run.folder / PAGE).exists():
        write_robustness_report(run.folder)
    return {"folder": str(run.folder), **read_json(path)}


def prepare(job: Robustness) -> Ready:
    """Load networks and images, and check that they fit together.

    Raises:
        UnderstudyError: something is missing, damaged, or does not fit.
    """
    check_installed(job.attacks)
    whole = load_images(job.data, job.split)
    positions = some_rows(len(whole), job.rows)
    data = whole.take(positions)
    device = job.run.torch_device()
    specs = _checkpoints(job.model)
    specs.update({key: spec for key, spec in (("against", job.against), ("teacher", job.teacher)) if spec is not None})
    networks = {key: resolve_model(spec).to(device).eval() for key, spec in specs.items()}
    for key, network in networks.items():
        if network.classes != networks["last"].classes:
            raise ConfigError(
                f"the {_WORDS[key]} tells {network.classes} classes apart, the model {networks['last'].classes}",
                where=specs[key],
                fix="compare networks of the same classes",
            )
        check_fits(data, input_shape=network.input_shape, classes=network.classes, what=f"the {_WORDS[key]}")
    facts = {f"{key}_sha256": model_digest(network) for key, network in networks.items()}
    facts["test_sha256"] = digest({"images": data.images, "labels": data.labels})
    return Ready(data.to(device), len(whole), positions, networks, specs, facts)


_WORDS = {"last": "model", "best": "best checkpoint", "against": "network to compare with", "teacher": "teacher"}


def _checkpoints(spec: str) -> dict[str, str]:
    """Return the last checkpoint and, of a training run that kept both, the best one, on held-out training images."""
    kept = Path(spec) / "control"
    if (kept / "last" / "model").is_dir():  # the run's own model is its best
        return {"last": str(kept / "last"), "best": spec}
    return {"last": spec, "best": str(kept / "best")} if (kept / "best" / "model").is_dir() else {"last": spec}


def _try(
    job: Robustness,
    ready: Ready,
    key: str,
    run: Run,
    progress: ProgressSink | None,
    announce: Callable[[str], object],
) -> Tried:
    """Attack one network and look for red flags; a teacher is spared AutoAttack and most of the checks."""
    announce(f"{_WORDS[key]}: {ready.specs[key]}")
    network = ready.networks[key]
    bench = make_bench(
        network,
        ready.data,
        epsilon=job.epsilon,
        norm=job.norm,
        seed=job.run.seed,
        folder=run.folder / "outcomes" / key,
        batch_size=job.batch_size,
        progress=progress,
        name=key,
    )
    seen = ready.data.take(some_rows(len(ready.data), _EXAMINED))
    x = as_float(seen.images)
    if key == "teacher":
        suite = run_suite(bench, job.own_attacks)
        fits = [normalised_outside(network, x, seen.labels), chance(suite, ready.data.labels)]
        return Tried(key, ready.specs[key], network, suite, fits)
    checks = examine(network, x, seen.labels)
    suite = run_suite(bench, job.attacks)
    moved = transfer(bench, suite, ready.networks["teacher"]) if key == "last" and "teacher" in ready.networks else None
    curve = sweep(bench, suite, [*job.sweep, everything(bench)])
    smaller = rescaled(bench, suite)
    checks += compare(suite, ready.data.labels, rescaled=smaller, sweep=curve, transferred=moved)
    suite = replace(suite, checked=_stands_checks(suite, job.epsilon, curve, (smaller, moved)))
    return Tried(key, ready.specs[key], network, suite, checks, curve, moved)


def _stands_checks(suite: Suite, epsilon: float, curve: Sweep, further: Sequence[Attacked | None]) -> torch.Tensor:
    """Return which images stand what was tried on the way: smaller radii, rescaled logits, the teacher's attack."""
    stands = suite.clean.clone()
    for radius, robust in zip(curve.epsilons, curve.robust, strict=True):
        if radius <= epsilon:
            stands &= robust
    for attacked in further:
        if attacked is not None:
            stands &= attacked.robust
    return stands
