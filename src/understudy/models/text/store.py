"""Text models on disk: one adapter, a mixture of adapters, or a whole classifier; a folder each.

An adapter lies there as PEFT saves it, a mixture with one such folder for each slot, a whole model as Transformers
saves it; `understudy.json` says the rest. The backbone of adapters is looked for in `backbone/` in the folder or beside
it, and then where it was when the model was saved; its SHA-256 is compared.
"""

from collections.abc import Mapping
from pathlib import Path

import torch

from understudy.errors import ConfigError
from understudy.models.text._export import export_adapter
from understudy.models.text._loading import check_backbone, find_backbone, find_folder, load_full, load_slots
from understudy.models.text._record import is_text_model, read_record
from understudy.models.text._saving import (
    check_place,
    jsonable,
    save_backbone,
    save_full,
    save_mixture,
    save_one_adapter,
)
from understudy.models.text.adapter import Adapter
from understudy.models.text.backbone import Backbone
from understudy.models.text.full import FullModel
from understudy.models.text.merge import merge
from understudy.models.text.mixture import MixedAdapters
from understudy.models.text.predictor import Predictor, TextClassifier
from understudy.models.text.slots import SlotModel
from understudy.runs.files import folder_aside

__all__ = ["export_adapter", "is_text_model", "load_text_model", "save_text_model"]


def save_text_model(
    model: TextClassifier, folder: str | Path, *, about: Mapping[str, object], include_backbone: bool = False
) -> None:
    """Write the folder of a text model, whole or not at all.

    Args:
        model: a `MixedAdapters`, or a `Predictor` of adapters (with fixed weights they become one) or a whole model.
        folder: is made, or takes the place of a text model that is there.
        about: facts for people, JSON-able: method, data, accuracy, command.
        include_backbone: put the frozen language model beside the adapters, so that the folder needs nothing else.

    Raises:
        ConfigError: another kind of model, or `about` is not JSON.
        StorageError: the disk refuses, or the folder holds something else. What was there stays.
    """
    folder, facts = Path(folder), jsonable(about)
    check_place(folder)
    with folder_aside(folder) as aside:
        if isinstance(model, MixedAdapters):
            save_mixture(model, aside, facts)
        elif isinstance(model, Predictor) and isinstance(model.network, FullModel):
            save_full(model.network, aside, facts)
        elif isinstance(model, Predictor) and isinstance(model.network, SlotModel):
            carried = model.backbone if include_backbone else None
            save_one_adapter(_merged(model), model.backbone, aside, facts, carried=carried)
        else:
            raise ConfigError(f"a {type(model).__name__} cannot be saved", expected="MixedAdapters or a Predictor")
        if include_backbone and isinstance(model, MixedAdapters):
            save_backbone(model.backbone, aside / "backbone")


def load_text_model(
    spec: str | Path, *, device: torch.device | str | None = None, backbone: Backbone | None = None
) -> TextClassifier:
    """Return the classifier in a folder of `save_text_model`.

    Args:
        spec: a model folder, or a run folder (its `model` is taken).
        device: where it goes; None is the backbone's device, or the CPU.
        backbone: of adapters, if it is in memory already; otherwise it is loaded.

    Raises:
        IntegrityError: there is no text model, or it is not what was saved: altered, cut short, a slot missing.
        ConfigError: the backbone is not found, or not the one that the adapters were trained over.
    """
    folder = find_folder(spec)
    record = read_record(folder)
    if backbone is not None:
        check_backbone(backbone, record, backbone.spec)
    if record.kind == "full":
        return load_full(folder, record, device or (backbone.device if backbone else None))
    base = backbone if backbone is not None else find_backbone(folder, record)
    if device is not None:
        base.to(device)
    adapters = load_slots(folder, record, base)
    mixture = record.mixture
    if mixture is None:
        return Predictor(SlotModel(base, adapters), base)
    return MixedAdapters(
        SlotModel(base, adapters, lora_mix=mixture.lora_mix),
        base,
        mixture.gate,
        torch.tensor(mixture.profiles, dtype=torch.float64),
        mixture.names,
        head_policy=mixture.head_policy,
    )


def _merged(model: Predictor) -> Adapter:
    assert isinstance(model.network, SlotModel)
    network = model.network
    adapters = [network.adapter(slot) for slot in range(network.slots)]
    return adapters[0] if model.weights is None else merge(adapters, model.weights, lora_mix=network.lora_mix)
