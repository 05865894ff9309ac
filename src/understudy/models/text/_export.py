"""One adapter in place of a mixture, for a fixed coefficient: it loads in plain PEFT and costs one pass."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from understudy.errors import ConfigError
from understudy.models.text._loading import find_backbone, find_folder, load_slots
from understudy.models.text._record import read_record
from understudy.models.text._saving import check_place, save_backbone, save_one_adapter
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
        ConfigError: a coefficient outside [0, 1], weights that do not fit, or a model that is no mixture.
        IntegrityError: the model is not what was saved.
        StorageError: the disk refuses, or the folder holds something else.
    """
    source, out = find_folder(model), Path(out)
    record = read_record(source)
    if record.mixture is None:
        raise ConfigError(f"this model is no mixture, but of kind {record.kind!r}", where=source, expected="a mixture")
    weights = _weights(coefficient, len(record.mixture.names))
    check_place(out)
    adapters = load_slots(source, record)
    if record.mixture.head_policy == "clean":
        adapters = [replace(adapter, head=adapters[0].head) for adapter in adapters]
    merged = merge(adapters, weights, lora_mix=record.mixture.lora_mix)
    shares = dict(zip(record.mixture.names, weights, strict=True))
    about = {**record.about, "merged": ", ".join(f"{share:.4g} {name}" for name, share in shares.items())}
    backbone = find_backbone(source, record) if include_backbone else None
    with folder_aside(out) as aside:
        save_one_adapter(merged, record, aside, about)
        if backbone is not None:
            save_backbone(backbone, aside / "backbone")
    return out


def _weights(coefficient: int | float | Sequence[int | float], slots: int) -> tuple[float, ...]:
    """Return the weights of slots that a coefficient, or weights, stand for."""
    if not isinstance(coefficient, int | float):
        return check_weights([float(weight) for weight in coefficient], slots)
    if not 0 <= coefficient <= 1:
        raise ConfigError(f"a coefficient of {coefficient}", where="coefficient", expected="a number from 0 to 1")
    betas = torch.full((1, slots - 1), float(coefficient), dtype=torch.float64)
    return tuple(mix_weights(betas)[0].tolist())
