"""A look into the bank: some synthesised samples of every class, each class as one PNG inside the page."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from understudy.errors import DataError, IntegrityError
from understudy.report._format import count

_PER_CLASS = 8
_CLASSES = 20
"""Most classes shown."""
_TILE_PX = 48
"""Least width to which a sample is enlarged."""
_GAP_PX = 4


@dataclass(frozen=True)
class Strip:
    """The samples of one class, side by side: a PNG data URI, its size in pixels and its description."""

    label: str
    uri: str
    width: int
    height: int
    alt: str


@dataclass(frozen=True)
class Gallery:
    """The strips of a bank, and a sentence on what is left out (or why there is nothing)."""

    strips: Sequence[Strip]
    note: str


def gallery(run_folder: Path, classes: Sequence[str]) -> Gallery:
    """Return samples from `run_folder/bank`, by the class that the teacher sees in them.

    Args:
        run_folder: the folder of a run.
        classes: names of the classes; a class without a name shows its number.
    """
    folder = run_folder / "bank"
    if not folder.is_dir():
        return Gallery([], "This run folder holds no bank, so there are no samples to show.")
    from understudy.bank import Bank

    try:
        # A look at a few rows is not worth hashing gigabytes; whoever fits on the bank has verified it.
        bank = Bank(folder, verify=False)
        if len(bank.manifest["shape"]) != 3:
            return Gallery([], "The samples of this bank are not images, so there is nothing to show.")
        previews = bank.preview(per_class=_PER_CLASS)
    except (DataError, IntegrityError) as error:
        # The results do not depend on the bank any more, so a damaged one must not take the page away.
        return Gallery([], f"The bank cannot be read, so no samples are shown: {str(error).splitlines()[0]}.")
    images = {at: rows for at, rows in sorted(previews.items()) if len(rows)}
    strips = [_strip(rows, _name(at, classes)) for at, rows in list(images.items())[:_CLASSES]]
    left = len(images) - len(strips)
    unseen = [_name(at, classes) for at in sorted(previews) if at not in images]
    notes = [f"{count(left)} more classes are not shown."] if left else []
    if unseen:
        notes.append(f"The teacher sees no sample of {_listed(unseen)} in this bank.")
    return Gallery(strips, " ".join(notes))


def png_uri(image: Image.Image) -> str:
    """Return an image as a PNG data URI."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _listed(names: Sequence[str]) -> str:
    kind = "class" if len(names) == 1 else "classes"
    more = f" and {count(len(names) - _CLASSES)} more" if len(names) > _CLASSES else ""
    return f"{kind} {', '.join(names[:_CLASSES])}{more}"


def _name(at: int, classes: Sequence[str]) -> str:
    return classes[at] if 0 <= at < len(classes) else str(at)


def _strip(rows: UInt8[Tensor, "n c h w"], label: str) -> Strip:
    tiles = [_tile(row) for row in rows]
    side, tall = tiles[0].width, tiles[0].height
    strip = Image.new("RGBA", (len(tiles) * (side + _GAP_PX) - _GAP_PX, tall))
    for at, tile in enumerate(tiles):
        strip.paste(tile, (at * (side + _GAP_PX), 0))
    alt = f"{len(tiles)} synthesised samples of class {label}"
    return Strip(label=label, uri=png_uri(strip), width=strip.width, height=strip.height, alt=alt)


def picture(row: UInt8[Tensor, "c h w"]) -> Image.Image:
    """Return an image in its own size; other than three channels become their mean, in grey."""
    if len(row) == 3:
        return Image.fromarray(row.permute(1, 2, 0).contiguous().cpu().numpy())  # h w c
    mean: Float[Tensor, "h w"] = row.float().mean(dim=0)
    return Image.fromarray(mean.round().byte().cpu().numpy())


def enlarged(image: Image.Image, least: int) -> tuple[int, int]:
    """Return width and height of an image enlarged by a whole factor to at least a width, in pixels."""
    factor = max(1, -(-least // image.width))
    return image.width * factor, image.height * factor


def _tile(row: UInt8[Tensor, "c h w"]) -> Image.Image:
    """Return an image enlarged without smoothing."""
    shown = picture(row)
    return shown.resize(enlarged(shown, _TILE_PX), Image.Resampling.NEAREST)
