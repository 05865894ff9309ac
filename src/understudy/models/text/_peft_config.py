"""The settings file of PEFT: written for our adapters, read and judged for anybody's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from understudy.errors import ConfigError, IntegrityError
from understudy.models.text.adapter import Adapter, AdapterConfig, target_ends
from understudy.runs.files import read_json

# What changes the meaning of the factors, with the value under which it does not.
_PLAIN: dict[str, tuple[object, ...]] = {
    "use_rslora": (False, None),
    "use_dora": (False, None),
    "use_qalora": (False, None),
    "use_bdlora": (False, None),
    "lora_bias": (False, None),
    "fan_in_fan_out": (False, None),
    "bias": ("none", None),
    "rank_pattern": ({}, None),
    "alpha_pattern": ({}, None),
    "layer_replication": (None, []),
    "target_parameters": (None, []),
    "trainable_token_indices": (None, []),
}


def to_peft(adapter: Adapter) -> dict[str, Any]:
    """Return the settings that PEFT writes for this LoRA, or a like record of a bottleneck adapter."""
    config = adapter.config
    heads = sorted({name.split(".")[0] for name in adapter.head if ".pooler." not in name})
    poolers = ["pooler"] if any(".pooler." in name for name in adapter.head) else []
    common: dict[str, Any] = {
        "base_model_name_or_path": adapter.backbone,
        "inference_mode": True,
        "modules_to_save": heads + poolers,
        "revision": None,
        "target_modules": list(target_ends(dict.fromkeys(adapter.modules), config)),
        "task_type": "SEQ_CLS",
    }
    if config.kind != "lora":
        own = {name: getattr(config, name) for name in ("kind", "reduction", "activation", "dropout")}
        return {"peft_type": "BOTTLENECK", **own, **common}
    return {
        "peft_type": "LORA",
        "r": config.rank,
        "lora_alpha": int(config.alpha) if config.alpha == int(config.alpha) else config.alpha,
        "lora_dropout": config.dropout,
        "init_lora_weights": True,
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "use_dora": False,
        "rank_pattern": {},
        "alpha_pattern": {},
        "layers_to_transform": None,
        "layers_pattern": None,
        **common,
    }


def read_config(path: Path) -> dict[str, Any]:
    """Return the settings of an adapter folder.

    Raises:
        IntegrityError: the file is not JSON, or no record.
        ConfigError: a kind or variant of adapter that is not known here.
    """
    settings = read_json(path)
    if not isinstance(settings, dict):
        raise IntegrityError("the settings are no record", where=path, fix="restore the file")
    kind = settings.get("peft_type")
    if kind not in ("LORA", "BOTTLENECK"):
        raise ConfigError(
            f"an adapter of type {kind}", where=path, expected="LORA (or BOTTLENECK, saved by understudy)"
        )
    if settings.get("task_type") != "SEQ_CLS":
        raise ConfigError(f"an adapter for the task {settings.get('task_type')}", where=path, expected="SEQ_CLS")
    for name, plain in _PLAIN.items():
        if name in settings and settings[name] not in plain:
            raise ConfigError(
                f"a variant of LoRA that is not known here: {name} = {settings[name]!r}",
                where=path,
                expected=f"{name} = {plain[0]!r}",
            )
    return settings


def config_of(settings: Mapping[str, Any], record: Mapping[str, Any], path: Path) -> AdapterConfig:
    """Return what kind of adapter the settings, and our own record if there is one, describe.

    Raises:
        IntegrityError: a value is missing or out of range, or the two contradict each other.
    """
    ends = settings.get("target_modules") or ()
    try:
        if settings["peft_type"] == "BOTTLENECK":
            names = ("kind", "reduction", "activation", "dropout")
            plain = AdapterConfig.model_validate({name: settings[name] for name in names})
        else:
            plain = AdapterConfig(
                rank=settings["r"],
                alpha=settings["lora_alpha"],
                dropout=settings.get("lora_dropout") or 0.0,
                target_modules=() if isinstance(ends, str) else tuple(sorted(ends)),
            )
        own = AdapterConfig.model_validate(record["adapter"]["config"]) if "adapter" in record else plain
    except (ValidationError, KeyError, TypeError) as error:
        raise IntegrityError(f"the settings are not those of an adapter: {error}", where=path) from error
    if (own.kind, own.rank, own.scale) != (plain.kind, plain.rank, plain.scale):
        raise IntegrityError("the settings contradict the record beside them", where=path, fix="restore both files")
    return own
