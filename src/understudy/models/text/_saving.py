"""Write the parts of text models: adapters, mixtures, whole classifiers, backbones, tokenizers."""

import copy
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from understudy.errors import ConfigError, StorageError
from understudy.models.text._record import FORMAT, RECORD, BackboneRecord, MixtureRecord, TextRecord, write_record
from understudy.models.text._text_card import text_card
from understudy.models.text.adapter import Adapter
from understudy.models.text.backbone import Backbone
from understudy.models.text.extras import quiet
from understudy.models.text.full import FullModel
from understudy.models.text.mixture import MixedAdapters
from understudy.models.text.peft_files import CARRIED, save_adapter
from understudy.runs.files import folder_aside, read_json, sha256_file, write_json, write_text

MODEL_TYPE = "understudy_mixed_adapters"
ARCHITECTURE = "MixedAdapterClassifier"
WEIGHTS = "model.safetensors"


def save_one_adapter(
    adapter: Adapter,
    backbone: Backbone | TextRecord,
    folder: Path,
    about: Mapping[str, Any],
    *,
    carried: Backbone | None = None,
) -> None:
    """Write an adapter into an empty folder: the files of PEFT, and a record that makes it a text model.

    Args:
        adapter: what is saved.
        backbone: under it, or the record of a model over the same one.
        folder: an empty folder.
        about: facts for people, JSON-able.
        carried: the backbone itself, if it goes into the folder, with its tokenizer.
    """
    origin = adapter.backbone
    if carried is not None:
        adapter = replace(adapter, backbone=CARRIED)
        save_backbone(carried, folder / "backbone")
        save_tokenizer(carried, folder)
    save_adapter(adapter, folder, origin=origin)
    if isinstance(backbone, TextRecord):
        facts = backbone.model_dump(include={"backbone", "labels", "max_length"})
    else:
        facts = _backbone_facts(backbone)
    if carried is not None:
        facts["backbone"] = {**dict(facts["backbone"]), "spec": CARRIED}
    own = read_json(folder / RECORD)["adapter"]
    record = TextRecord.model_validate({**facts, "format": FORMAT, "kind": "adapter", "adapter": own, "about": about})
    write_record(folder, record)
    card = (folder / "README.md").read_text(encoding="utf-8")
    write_text(folder / "README.md", text_card(record, adapter_card=card))


def save_mixture(model: MixedAdapters, folder: Path, about: Mapping[str, Any]) -> None:
    """Write a mixture into an empty folder: its slots, `config.json`, tokenizer, record and card."""
    adapters = [model.slots.adapter(slot) for slot in range(model.slots.slots)]
    folders = _folder_names(model.names)
    for adapter, own in zip(adapters, folders, strict=True):
        save_adapter(adapter, folder / "slots" / own)
    mixture = MixtureRecord(
        gate=model.gate,
        head_policy=model.head_policy,
        lora_mix=model.slots.lora_mix,
        names=model.names,
        folders=folders,
        sha256=tuple(adapter.sha256 for adapter in adapters),
        profiles=tuple((float(lo), float(hi)) for lo, hi in model.profiles.tolist()),
    )
    facts = _backbone_facts(model.backbone)
    record = TextRecord.model_validate(
        {**facts, "format": FORMAT, "kind": "mixture", "mixture": mixture, "about": about}
    )
    write_json(
        folder / "config.json",
        {
            "architectures": [ARCHITECTURE],
            "model_type": MODEL_TYPE,
            "id2label": {str(index): label for index, label in enumerate(model.labels)},
            "label2id": {label: index for index, label in enumerate(model.labels)},
            "problem_type": "single_label_classification",
        },
    )
    save_tokenizer(model.backbone, folder)
    write_record(folder, record)
    write_text(folder / "README.md", text_card(record))


def save_full(network: FullModel, folder: Path, about: Mapping[str, Any]) -> None:
    """Write a whole classifier into an empty folder: a Transformers folder, with record and card."""
    with quiet():
        network.model.save_pretrained(folder)
    save_tokenizer(network.backbone, folder)
    facts = _backbone_facts(network.backbone)
    own = {"kind": "full", "weights_sha256": sha256_file(folder / WEIGHTS)}
    record = TextRecord.model_validate({**facts, "format": FORMAT, **own, "about": about})
    write_record(folder, record)
    write_text(folder / "README.md", text_card(record))


def save_backbone(backbone: Backbone, folder: Path) -> None:
    """Write the frozen encoder with its tokenizer as a Transformers folder; heads belong to adapters and stay out.

    Raises:
        ConfigError: the weights are not float32, so that their SHA-256 would be another.
    """
    if backbone.dtype != torch.float32:
        raise ConfigError(f"the backbone is in {backbone.dtype}", expected="torch.float32, as it was loaded")
    head = set(backbone.head_names)
    encoder = {name: value for name, value in backbone.model.state_dict().items() if name not in head}
    with quiet(), folder_aside(folder) as aside:
        backbone.model.save_pretrained(aside, state_dict=encoder)
        save_tokenizer(backbone, aside)


def save_tokenizer(backbone: Backbone, folder: Path) -> None:
    """Write the tokenizer's files; they do not depend on what it was last asked."""
    tokenizer = copy.deepcopy(backbone.tokenizer)
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.model_max_length = backbone.max_length
    with quiet():
        tokenizer.save_pretrained(folder)


def check_place(folder: Path) -> None:
    """Refuse to replace a folder that holds anything but a text model.

    Raises:
        StorageError: with what is in the way.
    """
    if folder.exists() and not folder.is_dir():
        raise StorageError("a file is in the way", where=folder, fix="choose another folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / RECORD).is_file():
        raise StorageError(
            "the folder is not empty and holds no text model, and saving would replace it",
            where=folder,
            fix="choose another folder",
        )


def jsonable(about: Mapping[str, object]) -> dict[str, Any]:
    """Return facts as JSON gives them back.

    Raises:
        ConfigError: they are not JSON.
    """
    try:
        result: dict[str, Any] = json.loads(json.dumps(dict(about), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the facts about the model are not JSON: {error}", where="about") from error
    return result


def _backbone_facts(backbone: Backbone) -> dict[str, Any]:
    about = BackboneRecord(spec=backbone.spec, sha256=backbone.sha256, architecture=backbone.architecture)
    return {"backbone": about, "labels": backbone.labels, "max_length": backbone.max_length}


def _folder_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return a plain folder name for each slot, different ones for different slots."""
    plain = [re.sub(r"[^\w.=-]+", "_", name).lstrip(".") or "slot" for name in names]
    return tuple(own if plain.count(own) == 1 else f"{own}_{slot}" for slot, own in enumerate(plain))
