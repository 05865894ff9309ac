"""Asking a teacher ahead of training: what is not on file is asked, the rest is served; a defence may stand before it.

The raw logits are filed once, in a bank that all defences of the same weights share; what a defence makes of them is
filed beside it, so that it is computed once as well.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor

from understudy.bank import AnswerArchive
from understudy.data import Augment, ImageSet
from understudy.data.batches import seen_as
from understudy.errors import IntegrityError
from understudy.models import Classifier, Frozen, freeze, model_digest
from understudy.runs.files import read_json, write_json
from understudy.runs.interrupts import asked_to_stop
from understudy.runs.locks import lock_folder, remove_leftovers
from understudy.runs.run import Run
from understudy.runs.tensors import digest
from understudy.targets.class_defences import ClassDefence
from understudy.training._defended import defend, read_defended
from understudy.training.answers import Answers, Kind, Served

__all__ = ["Answers", "Kind", "Served", "gather"]

_ASKED_AT_ONCE = 512


def gather(
    teacher: Frozen | Classifier,
    data: ImageSet,
    keys: Int64[Tensor, " m"],
    *,
    augment: Augment,
    run: Run,
    folder: Path,
    defence: Sequence[ClassDefence],
    base: Path | None,
    phase: str,
) -> Served:
    """Return a teacher's answers to all queries, asking only for those that are not on file.

    Killed at any moment and called again, it goes on from what is on file. Several runs may share the folder: one at
    a time adds to it, the others wait. Of several processes of a run the first asks, the others read.

    Args:
        teacher: the network; not called at all where every answer is on file.
        data: all images, by whose rows answers are filed.
        keys: row * views + view of each query, each once, on the CPU. Shape (m,).
        augment: what the views are.
        run: its device, seed, precision and progress; what was asked is noted down in its folder.
        folder: of the bank; extended in place.
        defence: what the answers pass through, in order; none hands out logits.
        base: a finished bank that is taken over where the folder is empty.
        phase: under which the progress is shown, and the count is kept.

    Raises:
        ConfigError: the answers on file are of another teacher, other images or other views.
        IntegrityError: a file is missing, altered or cut short.
        DivergenceError: an answer is not a number that float16 holds.
        Interrupted: the user asked to stop; what was asked is on file.
    """
    keys, data = keys.sort().values, data.to(run.device)
    archive = None
    if run.rank == 0 and len(keys):
        with _held(folder):
            archive = _open(teacher, data, augment, run, folder, base=base)
            missing = archive.missing(keys)
            _note(run, phase, asked=len(missing))
            _ask(teacher, data, missing, archive, augment=augment, run=run, phase=phase)
            if defence:
                defend(archive.logits(keys), keys, data, augment=augment, run=run, folder=folder, defence=defence)
    run.wait()
    archive = archive or _open(teacher, data, augment, run, folder, adding=False)
    return Served(
        keys,
        read_defended(folder, keys, defence, run, teacher.classes) if defence else archive.logits(keys),
        kind="probabilities" if defence else "logits",
        views=augment.views,
        device=run.device,
        asked=_asked(run, phase),
    )


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a bank's folder for this process, cleared of what a killed one left half-written."""
    descriptor = lock_folder(folder, wait=True)
    try:
        remove_leftovers(folder)
        yield
    finally:
        os.close(descriptor)


def _open(
    teacher: Frozen | Classifier,
    data: ImageSet,
    augment: Augment,
    run: Run,
    folder: Path,
    *,
    base: Path | None = None,
    adding: bool = True,
) -> AnswerArchive:
    return AnswerArchive(
        folder,
        teacher=model_digest(teacher),
        data=digest({"images": data.images}),
        rows=len(data),
        views=augment.views,
        classes=teacher.classes,
        base=base,
        adding=adding,
        precision=run.options.precision,
    )


def _ask(
    teacher: Frozen | Classifier,
    data: ImageSet,
    missing: Int64[Tensor, " m"],
    archive: AnswerArchive,
    *,
    augment: Augment,
    run: Run,
    phase: str,
) -> None:
    """Ask for what is missing, in order of key, and close the bank."""
    if len(missing):
        network = teacher if isinstance(teacher, Frozen) else _frozen(teacher, run)
        saved, done = time.monotonic(), 0
        with torch.no_grad(), run.phase(phase, total=len(missing), unit="answers") as track:
            for some in torch.split(missing, _ASKED_AT_ONCE):
                x = seen_as(data, some // augment.views, some % augment.views, augment)
                archive.add(some, network(x))
                done += len(some)
                track.update(done)
                if asked_to_stop() or time.monotonic() - saved > run.options.checkpoint_seconds:
                    archive.save()
                    saved = time.monotonic()
                    run.check_interrupt()
    archive.finish()


def _frozen(teacher: Classifier, run: Run) -> Frozen:
    options = run.options
    return freeze(
        teacher.to(run.device),
        precision=options.precision,
        channels_last=options.channels_last,
        compiled=options.compile,
    )


def _note(run: Run, phase: str, *, asked: int) -> None:
    """Note down how many answers were not on file when the run first looked, so that a kill changes no count."""
    path = run.folder / "asked.json"
    counts = read_json(path) if path.exists() else {}
    if phase not in counts:
        write_json(path, {**counts, phase: asked})


def _asked(run: Run, phase: str) -> int:
    path = run.folder / "asked.json"
    counts = read_json(path) if path.exists() else {}
    if not isinstance(counts, dict) or not isinstance(counts.get(phase, 0), int):
        raise IntegrityError("the count of what was asked is not as it was written", where=path, fix="use --fresh")
    return int(counts.get(phase, 0))
