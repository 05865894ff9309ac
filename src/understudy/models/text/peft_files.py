"""Adapters on disk, in the two files of PEFT: `adapter_config.json` and `adapter_model.safetensors`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from understudy.errors import ConfigError, IntegrityError
from understudy.models.text._card_lines import base_model
from understudy.models.text._peft_config import config_of, read_config, to_peft
from understudy.models.text.adapter import Adapter
from understudy.models.text.backbone import Backbone
from understudy.models.text.compatible import check_compatible
from understudy.runs.files import read_json, write_json, write_text
from understudy.runs.tensors import load_tensors, save_tensors

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
RECORD = "understudy.json"
CARRIED = "./backbone"
"""What the files of an adapter call a backbone that lies in their own folder."""
_PREFIX = "base_model.model."
_ADAPTED = (".lora_A.", ".lora_B.", ".down.", ".up.")

_CARD = """\
---
library_name: {library}
pipeline_tag: text-classification
{base}tags:
- understudy
---

# {kind} adapter

{size:,} weights and a head for the classes {labels}, over `{backbone}`{from_here} (SHA-256 of the encoder
`{sha256}`).

{how}
"""
_WITH_PEFT = """\
```python
from peft import PeftModel
from transformers import AutoModelForSequenceClassification

base = AutoModelForSequenceClassification.from_pretrained("{backbone}", num_labels={classes})
model = PeftModel.from_pretrained(base, "path/to/this/folder").eval()
```"""
_WITH_PEFT_AND_BACKBONE = """\
```python
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer

folder = "path/to/this/folder"
base = AutoModelForSequenceClassification.from_pretrained(f"{{folder}}/backbone", num_labels={classes})
model = PeftModel.from_pretrained(base, folder).eval()
tokenizer = AutoTokenizer.from_pretrained(folder)
```"""
_WITHOUT_PEFT = """\
PEFT has no bottleneck adapters of this kind and cannot load this folder;
`understudy.models.text.peft_files.load_adapter` does."""


def save_adapter(adapter: Adapter, folder: Path, *, origin: str | None = None) -> None:
    """Write an adapter as PEFT does, with a record of what it was made for; other files in the folder stay.

    Args:
        adapter: what is saved.
        folder: made if missing. The configuration is written last, so that a folder with one is whole.
        origin: where the backbone came from, if the adapter names `CARRIED`: a name on the hub goes into the card.
    """
    values = {f"{_PREFIX}{name}": value for name, value in {**adapter.tensors, **adapter.head}.items()}
    save_tensors(folder / WEIGHTS, values, {})
    write_text(folder / "README.md", _card(adapter, origin or adapter.backbone))
    write_json(
        folder / RECORD,
        {
            "format": 1,
            "kind": "adapter",
            "backbone": {"spec": adapter.backbone, "sha256": adapter.backbone_sha256},
            "labels": list(adapter.labels),
            "adapter": {"config": adapter.config.model_dump(mode="json"), "sha256": adapter.sha256},
        },
    )
    write_json(folder / CONFIG, to_peft(adapter))


def load_adapter(folder: Path, *, backbone: Backbone | None = None) -> Adapter:
    """Read an adapter of `save_adapter`, or a LoRA that PEFT saved for sequence classification.

    Args:
        folder: with the two files of PEFT.
        backbone: what it must fit; a folder that PEFT wrote does not say what it was made for and needs one.

    Raises:
        ConfigError: no adapter folder, a variant of LoRA that is not known here, or another backbone, head or labels.
        IntegrityError: the weights are damaged, not finite, or not those of its configuration.
    """
    if not (folder / CONFIG).is_file():
        raise ConfigError("this is no adapter folder", where=folder, expected=f"{CONFIG} and {WEIGHTS}")
    settings = read_config(folder / CONFIG)
    tensors, head = _read_weights(folder / WEIGHTS)
    record = _record(folder)
    config = config_of(settings, record, folder / CONFIG)
    _check_weights(tensors, config.kind == "lora", config.rank, folder / WEIGHTS)
    about = record.get("backbone", {})
    if backbone is None and not about:
        raise ConfigError("this folder does not say which backbone it was made for", where=folder, fix="give one")
    adapter = Adapter(
        config=config,
        tensors=tensors,
        head=head,
        backbone=str(about["spec"]) if about else backbone.spec if backbone else "",
        backbone_sha256=str(about["sha256"]) if about else backbone.sha256 if backbone else "",
        labels=tuple(record["labels"]) if about else backbone.labels if backbone else (),
    )
    if "adapter" in record and adapter.sha256 != record["adapter"].get("sha256"):
        raise IntegrityError("the files of this adapter are not of one writing", where=folder, fix="make it again")
    if backbone is not None:
        _check_head(adapter, backbone, folder)
        check_compatible([adapter], backbone)
    return adapter


def _read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the tensors of the adapter and those of its head, in an order that does not depend on the writer."""
    if not path.is_file():
        raise IntegrityError("file not found", where=path, expected="the adapter's weights (pickles are never loaded)")
    try:
        with safe_open(path, framework="pt") as file:
            ours = "understudy" in (file.metadata() or {})
            values = {name: file.get_tensor(name) for name in sorted(file.keys())}
    except (SafetensorError, OSError, ValueError) as error:
        raise IntegrityError(f"not a whole safetensors file: {error}", where=path, fix="restore the file") from error
    if ours:
        load_tensors(path)  # compares the digest
    for name, value in values.items():
        if not value.is_floating_point() or not bool(value.isfinite().all()):
            raise IntegrityError(f"{name} holds values that are not finite numbers", where=path, fix="make it again")
    plain = {name.removeprefix(_PREFIX): value.clone() for name, value in values.items()}
    adapted = {name: value for name, value in plain.items() if any(part in name for part in _ADAPTED)}
    return adapted, {name: value for name, value in plain.items() if name not in adapted}


def _record(folder: Path) -> dict[str, Any]:
    if not (folder / RECORD).is_file():
        return {}
    record = read_json(folder / RECORD)
    try:
        well_formed = isinstance(record["backbone"]["sha256"], str) and len(record["labels"]) > 1
        well_formed = well_formed and isinstance(record["backbone"]["spec"], str)
    except (TypeError, KeyError):
        well_formed = False
    if not well_formed:
        raise IntegrityError("the record lacks its backbone or labels", where=folder / RECORD, fix="restore the file")
    return dict(record)


def _check_weights(tensors: Mapping[str, Tensor], lora: bool, rank: int, path: Path) -> None:
    endings = ("lora_A.weight", "lora_B.weight") if lora else ("down.weight", "down.bias", "up.weight", "up.bias")
    modules = {name.rsplit(".", 2)[0] for name in tensors}
    if not tensors or set(tensors) != {f"{module}.{ending}" for module in modules for ending in endings}:
        raise IntegrityError("the file lacks tensors of the adapter, or has others", where=path, expected=str(endings))
    for name, value in tensors.items():
        if lora and value.shape[0 if name.endswith("lora_A.weight") else 1] != rank:
            raise IntegrityError(f"{name} has shape {tuple(value.shape)}", where=path, expected=f"rank {rank}")


def _check_head(adapter: Adapter, backbone: Backbone, folder: Path) -> None:
    absent = sorted(set(backbone.head_names) - set(adapter.head))
    if absent:
        raise ConfigError(
            f"the adapter's head lacks {', '.join(absent)}",
            where=folder,
            expected="all weights outside the encoder, and the pooler if the backbone's folder has none",
            fix="with PEFT, name them in modules_to_save when training",
        )


def _card(adapter: Adapter, origin: str) -> str:
    lora, carried = adapter.config.kind == "lora", adapter.backbone == CARRIED
    how = (_WITH_PEFT_AND_BACKBONE if carried else _WITH_PEFT) if lora else _WITHOUT_PEFT
    return _CARD.format(
        library="peft" if lora else "understudy",
        base=base_model(origin),
        from_here=" in this folder" if carried else "",
        kind={"lora": "LoRA", "pfeiffer": "Pfeiffer", "houlsby": "Houlsby"}[adapter.config.kind],
        size=adapter.parameters,
        labels=", ".join(adapter.labels),
        backbone=adapter.backbone,
        sha256=adapter.backbone_sha256,
        how=how.format(backbone=adapter.backbone, classes=adapter.classes),
    )
