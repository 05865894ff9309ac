"""One adapter in place of a mixture, for a fixed coefficient: it loads in plain PEFT and costs one pass."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from understudy.errors import ConfigError, IntegrityError, StorageError
from understudy.models.text._loading import find_backbone, find_folder, load_slots
from understudy.models.text._record import RECORD, TextRecord, read_record
from understudy.models.text._saving import check_place, save_one_adapter
from understudy.models.text.adapter import Adapter
from understudy.models.text.gate import mix_weights
from understudy.models.text.merge import check_weights, merge
from understudy.runs.files import folder_aside


def export_adapter(
    model: str | Path,
    coefficient: int | float | Sequence[int | float],
    out: str | Path,
    *,
    include_backbone: bool = False,
) -> Path:
    """Write the adapter that a mixture amounts to when every sentence gets the same weights.

    Args:
        model: the folder of a mixture, or its run.
        coefficient: share of the clean slot in each pair [beta], in [0, 1]: 1 is the clean adapter, 0 the average of
            the others. Or the weights of all slots, which sum to 1.
        out: the folder to write; an adapter as PEFT saves it, and a text model of one pass.
        include_backbone: put the frozen language model into `backbone/` of that folder.

    Returns:
        The folder.

    Raises:
        ConfigError: a coefficient outside [0, 1], weights that do not fit, or a model without adapters to mix.
        IntegrityError: the model is not what was saved.
        StorageError: the disk refuses, or the folder holds something else, an export of other weights included.
    """
    source, out = find_folder(model), Path(out)
    record = read_record(source)
    merged, shares = _merged(source, record, coefficient)
    _check_free(out, merged, record, include_backbone=include_backbone)
    about = {**record.about, "merged": shares}
    backbone = find_backbone(source, record) if include_backbone else None
    with folder_aside(out) as aside:
        save_one_adapter(merged, record, aside, about, carried=backbone)
    return out


def _merged(
    source: Path, record: TextRecord, coefficient: int | float | Sequence[int | float]
) -> tuple[Adapter, dict[str, float]]:
    """Return one adapter for all, with the shares of those in it; that of a model of one adapter is all of it."""
    if record.kind == "full":
        raise ConfigError("this is a whole classifier, without an adapter", where=source, expected="a mixture")
    if record.mixture is None:
        if coefficient != 1 and (isinstance(coefficient, int | float) or list(coefficient) != [1]):
            raise ConfigError(
                "this model has one adapter, and nothing to mix it with",
                where=source,
                expected="--coefficient 1: the adapter as it is",
            )
        return load_slots(source, record)[0], {"clean": 1.0}
    weights = _weights(coefficient, len(record.mixture.names))
    adapters = load_slots(source, record)
    if record.mixture.head_policy == "clean":
        adapters = [replace(adapter, head=adapters[0].head) for adapter in adapters]
    merged = merge(adapters, weights, lora_mix=record.mixture.lora_mix)
    return merged, dict(zip(record.mixture.names, weights, strict=True))


def _check_free(out: Path, adapter: Adapter, record: TextRecord, *, include_backbone: bool) -> None:
    """Refuse a folder that holds anything but this adapter, or a backbone that would be lost.

    Raises:
        StorageError: with what is in the way.
    """
    check_place(out)
    if not (out / RECORD).exists():
        return
    try:
        there = read_record(out)
    except IntegrityError:
        there = None
    facts = ("labels", "max_length")
    same = there is not None and (there.adapter or {}).get("sha256") == adapter.sha256
    same = same and all(getattr(there, name) == getattr(record, name) for name in facts)
    if not same or ((out / "backbone").exists() and not include_backbone):
        raise StorageError(
            "another model is there, and writing would replace it" if not same else "its backbone would be lost",
            where=out,
            expected="a new folder, or the same adapter again",
            fix="choose another folder, or remove this one" if not same else "give --with-backbone again",
        )


def _weights(coefficient: int | float | Sequence[int | float], slots: int) -> tuple[float, ...]:
    """Return the weights of slots that a coefficient, or weights, stand for."""
    if not isinstance(coefficient, int | float):
        return check_weights([float(weight) for weight in coefficient], slots)
    if not 0 <= coefficient <= 1:
        raise ConfigError(f"a coefficient of {coefficient}", where="coefficient", expected="a number from 0 to 1")
    betas = torch.full((1, slots - 1), float(coefficient), dtype=torch.float64)
    return tuple(mix_weights(betas)[0].tolist())
