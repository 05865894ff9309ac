"""AutoAttack, version "standard", as its authors wrote it: four attacks, each on what the ones before left standing.

Croce, Hein: Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks.
ICML 2020, arXiv 2003.01690; the attacks come from the package `pyautoattack` (extra `attacks`). What is ours is the
driver: the same order, batches and seeds as the authors' own (and so the same verdicts), but every batch of every
attack is put on file as it ends, so that an evaluation of many hours goes on where it was killed, and the verdict is
taken from the images on file, each measured again against the ball and the box.

Cost for an image that no attack breaks, with 10 classes: at most 103 forward passes for APGD-CE, 920 for APGD-T, 1,829
for FAB-T and 5,004 for Square; 101, 909 and 900 of the first three with a gradient, which doubles their price. That is
9,800 forward passes in all. A broken image costs nothing from the attack on that broke it, so a model that is right on
85 % of images and robust on 50 % needs about 5,000 per image, half of them for Square.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from understudy.attacks._checks import check_images
from understudy.attacks._components import STANDARD, Effort, library, passes_of, plan
from understudy.attacks._evidence import Evidence
from understudy.attacks._oracle import lent
from understudy.attacks._outcome import AutoAttackProgress, AutoAttackResult, Tally
from understudy.attacks._trial import Trial
from understudy.attacks.radius import Norm, check_radius
from understudy.errors import ConfigError, ShapeError, nearest
from understudy.runs.locks import lock_folder, remove_leftovers
from understudy.runs.tensors import digest

__all__ = ["STANDARD", "AutoAttackProgress", "AutoAttackResult", "Effort", "auto_attack"]

Listener = Callable[[AutoAttackProgress], object]


def auto_attack(
    model: nn.Module,
    x: Float[Tensor, "n ..."],
    labels: Int64[Tensor, " labels"],
    *,
    epsilon: float,
    norm: Norm = "linf",
    folder: Path,
    seed: int,
    batch_rows: int = 250,
    version: str = "standard",
    effort: Effort = STANDARD,
    on_progress: Listener | None = None,
) -> AutoAttackResult:
    """Attack a classifier with AutoAttack; the same call on the same folder goes on where it stopped.

    Interrupted at any moment and called again, it ends in the same verdict for every image as without. Ctrl-C (within
    `graceful_interrupts`) stops it at the next forward pass; the batch at work is then attacked again from its start.

    Args:
        model: takes float32 images in [0, 1] and gives logits; left as it is found, on its own device.
        x: images in [0, 1], NCHW, or vectors.
        labels: their classes.
        epsilon: the radius, in pixel units of [0, 1].
        norm: of the radius.
        folder: for what is found; made if it is not there. About one float32 copy of the images that fall.
        seed: of the attacks' random starts. The global random state is not touched.
        batch_rows: images in one batch; part of the result, for a batch draws its random numbers together.
        version: "standard" is the only one.
        effort: less than the default is for trying out, and a note says so.
        on_progress: called after every forward pass, and at the end of every batch.

    Raises:
        DependencyError: pyautoattack is not installed.
        ConfigError: a radius, version or batch size that cannot be used, or a network without gradient.
        ShapeError: images, labels and the network's answers do not fit each other.
        DataError: images outside [0, 1], or labels outside the network's classes.
        DivergenceError: the network answers clean images with NaN or infinity.
        IntegrityError: the folder holds damaged files, or the state of another evaluation.
        StorageError: the folder cannot be written.
        Interrupted: the user asked to stop; what was found is on file.
    """
    check_radius(epsilon, norm)
    if version != "standard":
        raise ConfigError(f"unknown version {version!r} of AutoAttack", fix=nearest(version, ["standard"]))
    if batch_rows < 1:
        raise ConfigError(f"batch_rows is {batch_rows}", expected="1 or more")
    _check_inputs(x, labels)
    release = library()[3]
    x, labels = x.detach().float(), labels.detach().cpu()
    state = model.state_dict()
    fingerprint = {
        "library": f"pyautoattack {release}",
        "model": digest({name: state[name] for name in state if isinstance(state[name], Tensor)}),
        "data": digest({"x": x, "labels": labels}),
        "rows": len(x),
        "epsilon": epsilon,
        "norm": norm,
        "seed": seed,
        "batch_rows": batch_rows,
        "version": version,
        "effort": asdict(effort),
    }
    with _claimed(folder), lent(model) as device:
        evidence = Evidence(folder, fingerprint)
        trial = Trial(model, x, labels, epsilon, norm, seed, batch_rows, effort, device, evidence)
        return _run(trial, on_progress or (lambda _: None))


def _run(trial: Trial, on_progress: Listener) -> AutoAttackResult:
    correct, classes = trial.clean()
    names, notes = plan(tuple(trial.x.shape[1:]), classes, trial.epsilon, trial.norm, trial.effort)
    tally = Tally(trial, correct)
    for name in names:
        most = passes_of(name, classes, trial.effort)
        batches = torch.split(tally.survivors(), trial.batch_rows) if tally.standing else ()
        for number, rows in enumerate(batches):
            begun = AutoAttackProgress(name, number + 1, len(batches), 0, most, tally.standing, len(trial.x))
            heard = partial(_tell, on_progress, begun)
            unit = trial.unit(name, number, rows, classes=classes, heard=heard)
            tally.count(name, unit)
            _tell(on_progress, replace(begun, survivors=tally.standing), unit.passes)
        tally.close(name)
    return tally.result(notes)


def _tell(on_progress: Listener, begun: AutoAttackProgress, passes: int) -> None:
    on_progress(replace(begun, passes=passes))


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Hold the folder against other processes, and clear away what a killed one left half-written."""
    descriptor = lock_folder(folder)
    try:
        remove_leftovers(folder)
        yield
    finally:
        os.close(descriptor)


def _check_inputs(x: Tensor, labels: Tensor) -> None:
    check_images(x, values=True)
    if len(x) == 0 or labels.shape != x.shape[:1]:
        raise ShapeError(
            f"images of shape {tuple(x.shape)} and labels of shape {tuple(labels.shape)}",
            expected="at least one image, and one label for each",
        )
