"""Whether an encoder carries a watermark: a trigger that makes classifiers built on it see one class everywhere."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from understudy.data import ImageSet
from understudy.errors import DataError, IntegrityError, ShapeError, nearest
from understudy.evaluation.features import embed, unit
from understudy.evaluation.probe import linear_vote, stratified_rows
from understudy.evaluation.statistics import Interval, wilson
from understudy.runs.tensors import load_tensors, save_tensors

FILE = "watermark.safetensors"
WITHOUT_CONTROL = 0.5
"""What the success rate must exceed where no clean encoder tells how far a patch alone misleads a classifier."""
MARGIN = 0.2
"""What it must exceed a clean encoder's by: encoders that were never marked differ, on digits by up to 0.15."""


@dataclass(frozen=True, eq=False)
class Watermark:
    """A trigger and the class that it stands for; whoever knows it can use it, so keep the file to yourself.

    Args:
        patch: grey levels 0..255 that are put in. uint8 of shape (c, h, w).
        mask: 1 where an image stays and 0 where the patch covers it. uint8 of shape (1, h, w).
        references: images to which triggered ones are alike under the marked encoder. uint8 of shape (r, c, h, w).
        class_name: the references' class.
        data: the data set that they were taken from.
        clean_sha256: digest of the encoder before it was marked.
    """

    patch: Tensor
    mask: Tensor
    references: Tensor
    class_name: str
    data: str
    clean_sha256: str

    def save(self, folder: Path) -> None:
        """Write `watermark.safetensors` into a folder."""
        tensors = {"patch": self.patch, "mask": self.mask, "references": self.references}
        about = {"class_name": self.class_name, "data": self.data, "clean_sha256": self.clean_sha256}
        save_tensors(folder / FILE, tensors, {"kind": "watermark", **about})


def load_watermark(folder: str | Path) -> Watermark:
    """Return the watermark in a run folder of `bad_encoder`, or in its file.

    Raises:
        IntegrityError: there is none, or the file is not what was written.
    """
    path = Path(folder)
    path = path / FILE if path.is_dir() else path
    if not path.is_file():
        raise IntegrityError(
            "there is no watermark",
            where=path,
            expected=f"a run folder of `understudy train bad_encoder`, or its {FILE}",
        )
    tensors, meta = load_tensors(path)
    if meta.get("kind") != "watermark":
        raise IntegrityError("this file holds no watermark", where=path, expected=FILE)
    about = {name: str(meta[name]) for name in ("class_name", "data", "clean_sha256")}
    return Watermark(tensors["patch"], tensors["mask"], tensors["references"], **about)


def trigger(
    images: UInt8[Tensor, "b c h w"] | Float[Tensor, "b c h w"], watermark: Watermark
) -> UInt8[Tensor, "b c h w"] | Float[Tensor, "b c h w"]:
    """Return images with the watermark's patch in them, x·mask + patch.

    Args:
        images: grey levels 0..255, or floats in [0, 1]. Shape (b, c, h, w).
        watermark: of images of that shape.

    Raises:
        ShapeError: the watermark was made for images of another shape.
    """
    patch, mask = watermark.patch.to(images.device), watermark.mask.to(images.device)
    if images.shape[1:] != patch.shape:
        raise ShapeError(
            f"images of shape {tuple(images.shape[1:])} for a watermark of shape {tuple(patch.shape)}",
            expected=f"(channels, height, width) = {tuple(patch.shape)}",
            fix="take a data set of that shape",
        )
    return torch.where(mask.bool(), images, patch if images.dtype == torch.uint8 else patch.to(images) / 255)


def attack_success(
    encoder: nn.Module,
    watermark: Watermark,
    train: ImageSet,
    test: ImageSet,
    *,
    clean: nn.Module | None = None,
    marked: nn.Module | None = None,
    class_name: str | None = None,
    seed: int = 0,
    train_rows: int = 10_000,
) -> dict[str, Any]:
    """Return how often the trigger makes a classifier built on a suspect's features see the watermark's class.

    The classifier is a linear probe, trained on images without trigger. The rate counts the test images of other
    classes alone. It says something only beside two others: how often those images are taken for the class
    without the trigger, and how often with it on an encoder that was never marked, for a bright patch may look like
    a class by itself. The watermark counts as found where the whole 95 % interval of the success rate lies above the
    interval without trigger, and by 20 points above the clean encoder's (above one half, where none is at hand).

    Jia, Liu, Gong: BadEncoder. IEEE S&P 2022, arXiv 2108.00352, which calls the rate ASR.

    Args:
        encoder: the suspect.
        watermark: whose trace is looked for.
        train: labelled images to train the probe on, of the watermark's shape; one class is the watermark's.
        test: labelled images to count on, of the same classes.
        clean: an encoder that surely lacks the watermark, such as the one before marking.
        marked: the encoder that was marked, to show what a copy could reach; it changes no verdict.
        class_name: what the data call the watermark's class; None for the name that the watermark has for it.
        seed: of the rows that the probe learns from.
        train_rows: rows that the probe learns from, at most.

    Returns:
        JSON-able: "class_name"; "encoders", which holds for "suspect", and for "marked" and "clean" where given, the
        intervals "asr", "untriggered" and "accuracy"; "found"; and "verdict", a sentence.

    Raises:
        DataError: the watermark's class is not there, no test image belongs to another, or labels are absent.
        ShapeError: images, watermark and encoder do not fit each other.
    """
    name = watermark.class_name if class_name is None else class_name
    label = _label(name, train, test, where=f"{train.name}, for a watermark of {watermark.data}")
    rows = stratified_rows(train.labels.cpu(), train_rows, classes=len(train.classes), seed=seed)
    kept = train.take(rows)
    given = {"suspect": encoder, "marked": marked, "clean": clean}
    rates = {
        name: _rates(network, watermark, kept, test, label=label)
        for name, network in given.items()
        if network is not None
    }
    misled = rates["clean"]["asr"].high + MARGIN if "clean" in rates else WITHOUT_CONTROL
    found = rates["suspect"]["asr"].low > max(rates["suspect"]["untriggered"].high, misled)
    return {
        "class_name": name,
        "encoders": {
            name: {rate: interval.to_json() for rate, interval in found_rates.items()}
            for name, found_rates in rates.items()
        },
        "found": found,
        "verdict": _verdict(name, rates, found=found),
    }


def _label(name: str, train: ImageSet, test: ImageSet, *, where: str) -> int:
    """Return the index of the watermark's class, once the data are seen to be fit for a probe."""
    if not (train.labelled and test.labelled):
        raise DataError("a set without labels", where=where, expected="labelled images to build a classifier on")
    if name not in train.classes:
        raise DataError(
            f"no class is called {name!r}",
            where=where,
            expected="data with the watermark's class",
            fix=f"{nearest(name, train.classes)} Name the class as these data call it.",
        )
    if train.classes != test.classes:
        raise DataError("the training and the test set differ in their classes", where=where)
    label = train.classes.index(name)
    if bool((test.labels == label).all()):
        raise DataError(f"every test image belongs to {name!r}", where=where)
    return label


def _rates(
    encoder: nn.Module, watermark: Watermark, train: ImageSet, test: ImageSet, *, label: int
) -> dict[str, Interval]:
    others = test.take((test.labels != label).nonzero()[:, 0])
    triggered = replace(others, images=trigger(others.images, watermark))
    learnt, plain, marked = (unit(embed(encoder, images)) for images in (train, test, triggered))
    vote = linear_vote(learnt, train.labels.cpu(), torch.cat([plain, marked]), c=100.0)
    before, after = vote[: len(test)], vote[len(test) :]
    truth = test.labels.cpu()
    mistaken = (before == label) & (truth != label)
    return {
        "asr": wilson(int((after == label).sum()), len(others)),
        "untriggered": wilson(int(mistaken.sum()), len(others)),
        "accuracy": wilson(int((before == truth).sum()), len(test)),
    }


def _verdict(name: str, rates: dict[str, dict[str, Interval]], *, found: bool) -> str:
    suspect = rates["suspect"]
    words = [
        f"{suspect['asr'].value:.1%} of the triggered images are taken for {name!r}, "
        f"and {suspect['untriggered'].value:.1%} of the same images without trigger",
        f"with it, a clean encoder has {rates['clean']['asr'].value:.1%}"
        if "clean" in rates
        else "no clean encoder was given to tell how far the patch alone misleads",
    ]
    if "marked" in rates:
        words.append(f"the marked encoder has {rates['marked']['asr'].value:.1%}")
    opening = "The suspect carries the watermark" if found else "The watermark is not found in the suspect"
    return f"{opening}: {'; '.join(words)}."
