"""What became of images under one attack: on file batch by batch, and put together."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from understudy.errors import ConfigError
from understudy.runs.tensors import load_tensors

KEPT = 4
"""Fallen images of each batch that are kept, to be shown."""


@dataclass(frozen=True, eq=False)
class Attacked:
    """What became of a set of images.

    Args:
        robust: whether each image is still classified rightly. Shape (n,), on the CPU.
        seconds: that it took, over all the starts.
        rows: positions of some images that fell. Shape (m,).
        images: those images, perturbed. Shape (m, c, h, w).
        predicted: the class that each image was given; -1 for one that was not asked again. Shape (n,).
        outside: perturbed images that were beyond the bound; they count for nothing.
        notes: remarks on how the attack was carried out.
        square: images that fell to Square Attack alone; None for another attack than AutoAttack.
        after: share that stood after each of AutoAttack's parts; empty for another attack.
    """

    robust: Tensor
    seconds: float
    rows: Tensor
    images: Tensor
    predicted: Tensor
    outside: int = 0
    notes: tuple[str, ...] = ()
    square: int | None = None
    after: Mapping[str, float] = field(default_factory=dict)


def there(file: Path | None) -> bool:
    return file is not None and file.exists()


def read(file: Path, key: str) -> dict[str, Tensor]:
    """Return a batch on file.

    Raises:
        IntegrityError: it is not what was written.
        ConfigError: it is the outcome of something else.
    """
    tensors, meta = load_tensors(file)
    if meta.get("identity") != key:
        raise ConfigError(
            "the folder holds the outcome of another attack, radius, seed or batch size",
            where=file,
            fix="choose another folder with --run, or start over with --fresh",
        )
    return {name: tensor.clone() for name, tensor in tensors.items()}  # not a view of the file


def together(parts: list[dict[str, Tensor]]) -> Attacked:
    return Attacked(
        robust=torch.cat([part["robust"] for part in parts]),
        seconds=float(sum(part["seconds"] for part in parts)),
        rows=torch.cat([part["rows"] for part in parts]),
        images=torch.cat([part["images"] for part in parts]),
        predicted=torch.cat([part["predicted"] for part in parts]),
        outside=int(sum(part["outside"] for part in parts)),
    )


def first_of_each(labels: Int64[Tensor, " b"], fallen: Bool[Tensor, " b"], *, most: int = KEPT) -> Int64[Tensor, " m"]:
    """Return positions of some fallen images, of different classes as far as there are."""
    seen: dict[int, list[int]] = {}
    for position in fallen.nonzero().flatten().tolist():
        seen.setdefault(int(labels[position]), []).append(position)
    rounds = [part for turn in range(most) for part in (of[turn : turn + 1] for of in seen.values())]
    chosen = [position for part in rounds for position in part][:most]
    return torch.tensor(sorted(chosen), dtype=torch.int64)
