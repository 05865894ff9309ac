"""What a defence makes of filed logits, filed beside them, so that it too is computed once."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Float16, Int64
from torch import Tensor

from understudy.data import Augment, ImageSet
from understudy.data.batches import seen_as
from understudy.errors import IntegrityError
from understudy.runs.run import Run
from understudy.runs.tensors import digest, load_tensors, save_tensors
from understudy.targets.class_defences import ClassDefence, identify_class_defences, serve

_AT_ONCE = 1024
_MOST_SHIFT = 2048  # pixels; leaves 38 bits for the row


def defend(
    logits: Float16[Tensor, "m k"],
    keys: Int64[Tensor, " m"],
    data: ImageSet,
    *,
    augment: Augment,
    run: Run,
    folder: Path,
    defence: Sequence[ClassDefence],
) -> None:
    """File what a defence makes of the logits, in order of key, unless it is there already."""
    seed = _seed(defence, run)
    path = _file(folder, keys, defence, seed)
    if not defence or path.exists():
        return
    memory: dict[str, Tensor] = {}
    parts: list[Float[Tensor, "b k"]] = []
    with run.phase("defend", total=len(keys), unit="answers") as track:
        for some, rows in _chunks(keys, logits):
            images = seen_as(data, some // augment.views, some % augment.views, augment)
            wide = rows.to(run.device).float()
            named = _input_keys(some, augment).to(run.device)
            served = serve(defence, wide, images=images, keys=named, seed=seed, memory=memory)
            parts.append(served.cpu())
            track.update(sum(map(len, parts)))
            run.check_interrupt()
    save_tensors(path, {"probabilities": torch.cat(parts)}, {"defence": identify_class_defences(defence)})


def read_defended(
    folder: Path, keys: Tensor, defence: Sequence[ClassDefence], run: Run, classes: int
) -> Float[Tensor, "m k"]:
    """Return what `defend` filed.

    Raises:
        IntegrityError: the file is missing, altered, cut short, or of something else.
    """
    if not len(keys):
        return torch.zeros(0, classes)
    path = _file(folder, keys, defence, _seed(defence, run))
    found = load_tensors(path)[0].get("probabilities")
    if found is None or found.dtype != torch.float32 or found.shape != (len(keys), classes):
        raise IntegrityError(
            "the file does not hold a defence's answers", where=path, fix="delete it; it is made again"
        )
    return found.clone()  # into memory, whatever becomes of the file


def _chunks(keys: Tensor, logits: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(torch.split(keys, _AT_ONCE), torch.split(logits, _AT_ONCE), strict=True)


def _input_keys(keys: Int64[Tensor, " b"], augment: Augment) -> Int64[Tensor, " b"]:
    """Return numbers of the inputs themselves: a view has the same one whatever the padding that numbered it."""
    rows, (top, left, mirrored) = keys // augment.views, augment.place(keys % augment.views)
    middle = _MOST_SHIFT - augment.crop_padding
    return ((rows * 2 * _MOST_SHIFT + top + middle) * 2 * _MOST_SHIFT + left + middle) * 2 + mirrored


def _seed(defence: Sequence[ClassDefence], run: Run) -> int:
    """Return the run's seed where a defence depends on it; else 0, so that all seeds share what it makes."""
    return run.seed if any(link.random or link.personal for link in defence) else 0


def _file(folder: Path, keys: Tensor, defence: Sequence[ClassDefence], seed: int) -> Path:
    about = {"defence": identify_class_defences(defence), "keys": digest({"keys": keys}), "seed": seed}
    name = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    return folder / f"served-{name}.safetensors"
