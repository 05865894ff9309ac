"""Read the parts of text models: adapters, whole classifiers, and the backbone under them."""

from pathlib import Path

import torch

from understudy.errors import ConfigError, IntegrityError
from understudy.models.text._record import TextRecord, find_text_model
from understudy.models.text._saving import WEIGHTS
from understudy.models.text.adapter import Adapter
from understudy.models.text.backbone import Backbone, load_backbone
from understudy.models.text.full import FullModel
from understudy.models.text.peft_files import load_adapter
from understudy.models.text.predictor import Predictor
from understudy.runs.files import sha256_file

_RESTORE = "restore the folder from a copy, or make the model again"


def find_folder(spec: str | Path) -> Path:
    """Return the folder of a text model, given it or its run.

    Raises:
        IntegrityError: there is none.
    """
    folder = find_text_model(spec)
    if folder is None:
        inner = sorted(str(path.parent.parent) for path in Path(spec).expanduser().glob("*/*/model/understudy.json"))
        raise IntegrityError(
            "the folder holds no text model: understudy.json is missing or of another kind",
            where=spec,
            expected="a folder that `understudy adapt` or save_text_model wrote, or a run with one",
            fix=f"give one of the models in it: {', '.join(inner[:8])}" if inner else "check the path",
        )
    return folder


def load_slots(folder: Path, record: TextRecord, backbone: Backbone | None = None) -> list[Adapter]:
    """Return the adapters in a text model's folder, slot 0 first, each as it was saved.

    Raises:
        IntegrityError: one is missing, or is not the one that was saved there.
    """
    if record.mixture is None:
        return [load_adapter(folder, backbone=backbone)]
    adapters = []
    for name, own, sha256 in zip(record.mixture.names, record.mixture.folders, record.mixture.sha256, strict=True):
        place = folder / "slots" / own
        if not place.is_dir():
            raise IntegrityError(f"the slot {name!r} is missing", where=place, fix=_RESTORE)
        adapter = load_adapter(place, backbone=backbone)
        if adapter.sha256 != sha256:
            raise IntegrityError(f"the slot {name!r} holds another adapter than was saved", where=place, fix=_RESTORE)
        adapters.append(adapter)
    return adapters


def load_full(folder: Path, record: TextRecord, device: torch.device | str | None) -> Predictor:
    """Return the whole classifier in a folder, on the CPU if no device is given.

    Raises:
        IntegrityError: its weights are missing, altered or cut short.
    """
    weights = folder / WEIGHTS
    if not weights.is_file() or sha256_file(weights) != record.weights_sha256:
        raise IntegrityError(
            "the weights are not those that understudy.json records: missing, altered or cut short",
            where=weights,
            fix=_RESTORE,
        )
    own = load_backbone(folder, labels=record.labels, max_length=record.max_length, seed=0, device=device)
    # What the classifier was trained from, as before it was saved: its digest must not change on the way.
    own.spec, own.sha256 = record.backbone.spec, record.backbone.sha256
    return Predictor(FullModel(own), own)


def find_backbone(folder: Path, record: TextRecord) -> Backbone:
    """Return the backbone of adapters: from beside them if it is there, else from where it was.

    Raises:
        ConfigError: it is not found, or another one is there.
    """
    stored = record.backbone.spec
    around = [folder, *folder.resolve().parents[:3]]  # of a model in a run, in a study, or by itself
    beside = [*(place / "backbone" for place in around), Path(stored).expanduser(), *(one / stored for one in around)]
    place = next((str(path) for path in beside if (path / "config.json").is_file()), stored)
    try:
        backbone = load_backbone(place, labels=record.labels, max_length=record.max_length, seed=0)
    except ConfigError as error:
        what = str(error).partition("\n")[0]  # its own place and advice are about a folder that nobody named here
        raise ConfigError(
            f"the backbone of this model cannot be loaded: {what}",
            where=f"{place}, for the model in {folder}",
            expected=f"{stored!r}, SHA-256 {record.backbone.sha256[:12]}..., there or in {folder / 'backbone'}",
            fix="put it there, or save the model with its backbone",
        ) from error
    check_backbone(backbone, record, place)
    return backbone


def check_backbone(backbone: Backbone, record: TextRecord, where: str) -> None:
    """Refuse a backbone that is not the one of a record, or was loaded otherwise.

    Raises:
        ConfigError: with what differs.
    """
    if backbone.sha256 != record.backbone.sha256:
        raise ConfigError(
            f"this is another backbone than the model's: SHA-256 {backbone.sha256[:12]}...",
            where=where,
            expected=f"{record.backbone.spec!r}, SHA-256 {record.backbone.sha256[:12]}...",
            fix="give the backbone that the adapters were trained over",
        )
    if (backbone.labels, backbone.max_length) != (record.labels, record.max_length):
        raise ConfigError(
            f"the backbone was loaded for the classes {list(backbone.labels)} and {backbone.max_length} tokens",
            where=where,
            expected=f"the classes {list(record.labels)} and {record.max_length} tokens, as the model was trained",
        )
