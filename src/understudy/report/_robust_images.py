"""Attacked images beside what they were: clean, changed, and the change itself, made visible."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.errors import IntegrityError, StorageError
from understudy.report._format import NBSP, count, decimal
from understudy.report._robust_read import EXAMPLES, Example, RobustRecord
from understudy.report._robust_words import attack_name, class_name, epsilon_text, model_name
from understudy.report._samples import enlarged, picture, png_uri
from understudy.runs.tensors import load_tensors

_TILE_PX = 112
"""Least width at which an image is shown."""
_MOST = 24
"""Most images shown."""
_PIXELS = 2_000_000
"""Most numbers in all pictures together, so that large images do not make a page of many megabytes."""


@dataclass(frozen=True)
class Picture:
    """One picture: a PNG data URI, the size at which it is shown, its description and the words under it."""

    uri: str
    width: int
    height: int
    alt: str
    caption: str


@dataclass(frozen=True)
class Triple:
    """One image, what an attack made of it, and the difference; with a line on who was misled."""

    pictures: Sequence[Picture]
    title: str
    note: str


@dataclass(frozen=True)
class Exhibits:
    """All images shown, how often the difference is amplified, and a note on what is left out."""

    triples: Sequence[Triple]
    factor: str
    note: str


def exhibits(record: RobustRecord, folder: Path) -> Exhibits:
    """Return the images of an evaluation; none, with the reason, where they cannot be shown."""
    path = folder / EXAMPLES
    if not record.examples or not path.is_file():
        return Exhibits([], "", "")
    try:
        tensors, _ = load_tensors(path)
    except (IntegrityError, StorageError) as error:
        # The numbers do not depend on these images, so a damaged file must not take the page away.
        return Exhibits([], "", f"The images cannot be read: {str(error).splitlines()[0]}.")
    clean, changed = tensors.get("clean"), tensors.get("adversarial")
    fit = clean is not None and changed is not None and clean.shape == changed.shape
    if not fit or clean is None or changed is None or len(clean) != len(record.examples):
        return Exhibits([], "", f"{EXAMPLES} does not fit the rest, so no images are shown.")
    if clean.ndim != 4:
        return Exhibits([], "", "The inputs are not images, so there is nothing to show.")
    most = max(1, min(_MOST, _PIXELS // (3 * clean[0].numel())))
    return _shown(record, clean[:most].float(), changed[:most].float(), left=len(clean) - min(most, len(clean)))


def _shown(
    record: RobustRecord, clean: Float[Tensor, "n c h w"], changed: Float[Tensor, "n c h w"], *, left: int
) -> Exhibits:
    factor = amplification(changed - clean)
    triples = [
        Triple(_pictures(record, example, one, other, factor), *_about(record, example))
        for example, one, other in zip(record.examples, clean, changed, strict=False)
    ]
    note = f"{count(left)} more attacked images are on file and not shown." if left else ""
    return Exhibits(triples, amount(factor), note)


def amplification(change: Float[Tensor, "*shape"]) -> float:
    """Return by how much changes are multiplied so that the largest just fills the half of the grey scale."""
    largest = change.abs().max().item() if change.numel() else 0.0
    if largest == 0:
        return 1.0
    factor = 0.5 / largest
    # A whole number is easier to say; a hair above one is the rounding of float32.
    return float(int(factor + 1e-3)) if factor >= 1 else factor


def amount(factor: float) -> str:
    """Return a factor as one says it: a whole number from one up."""
    return decimal(factor, 0 if factor >= 1 else 2)


def _pictures(
    record: RobustRecord, example: Example, clean: Tensor, changed: Tensor, factor: float
) -> Sequence[Picture]:
    difference = 0.5 + factor * (changed - clean)
    size = epsilon_text(record.threat)
    before, after = class_name(record, example.clean), class_name(record, example.adversarial)
    return (
        _drawn(clean, f"image {example.row}, as it is", f"as it is: {before}"),
        _drawn(changed, f"image {example.row}, changed by at most {size}", f"attacked: {after}"),
        _drawn(
            difference,
            f"what the attack changed in image {example.row}, amplified",
            f"change \N{MULTIPLICATION SIGN}{NBSP}{amount(factor)}",
        ),
    )


def _drawn(image: Float[Tensor, "c h w"], alt: str, caption: str) -> Picture:
    shown = picture(image.clamp(0, 1).mul(255).round().to(torch.uint8))
    width, height = enlarged(shown, _TILE_PX)
    return Picture(uri=png_uri(shown), width=width, height=height, alt=alt, caption=caption)


def _about(record: RobustRecord, example: Example) -> tuple[str, str]:
    """Return the title of an example, and what attacked it and how the teacher sees it."""
    several = len({one.model for one in record.examples}) > 1
    notes = [
        attack_name(record, example.attack) if example.attack else "",
        model_name(record, example.model) if several else "",
    ]
    seen = [class_name(record, one) for one in (example.teacher_clean, example.teacher_adversarial)]
    if all(seen):
        notes.append(f"teacher: {seen[0]}, then {seen[1]}" if seen[0] != seen[1] else f"teacher: {seen[0]} both times")
    return f"Image {count(example.row)}, class {class_name(record, example.label)}", "; ".join(filter(None, notes))
