"""What a bank of synthesised samples says of itself, and whether it fits a teacher and the settings at hand."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from understudy.bank import Bank
from understudy.errors import ConfigError
from understudy.models import Classifier, Frozen, model_digest
from understudy.synthesis.start import as_network_input


def about(teacher: Classifier, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts for a bank's manifest: shape, classes, coordinates, the teacher's hash and the settings."""
    return {
        "shape": list(teacher.input_shape),
        "classes": teacher.classes,
        "coordinates": "the teacher's normalised coordinates",
        "mean": [round(value, 6) for value in teacher.normalise.mean.flatten().tolist()],
        "std": [round(value, 6) for value in teacher.normalise.std.flatten().tolist()],
        "teacher_sha256": model_digest(teacher),
        "synthesis": dict(settings),
    }


def check_bank(bank: Bank, teacher: Classifier, settings: Mapping[str, Any]) -> None:
    """Raise unless a bank was drawn from this teacher with these settings.

    Raises:
        ConfigError: it was drawn from another teacher, or with other settings, which are named.
    """
    if bank.manifest.get("teacher_sha256") != model_digest(teacher):
        raise ConfigError("the bank was drawn from another teacher", where=bank.folder, fix="leave out --bank")
    there = bank.manifest["synthesis"]
    now = about(teacher, settings)["synthesis"]
    changed = [
        f"{name} (there {there.get(name)!r}, now {value!r})"
        for name, value in now.items()
        if there.get(name) != (list(value) if isinstance(value, tuple) else value)
    ]
    if changed:
        raise ConfigError(
            "the bank was drawn with other settings: " + "; ".join(changed[:5]),
            where=bank.folder,
            fix="give the settings of the bank, or leave out --bank to draw a new one",
        )


@torch.inference_mode()
def answers(network: Frozen, x: Tensor, *, batch: int) -> Tensor:
    """Return a teacher's logits for samples in its normalised coordinates, in float32, some rows at a time."""
    with torch.backends.cudnn.flags(allow_tf32=False):  # what is kept on file is exact on every device
        return torch.cat([network.forward_normalised(as_network_input(part)).float() for part in torch.split(x, batch)])


def set_metrics(
    sets: Sequence[int], sizes: Sequence[float], terms: Mapping[str, Tensor], logits: Tensor, targets: Tensor
) -> list[dict[str, float | int]]:
    """Return for each set its last energy and how its samples look to the teacher; one read of the device for all.

    Args:
        sets: their numbers.
        sizes: their step sizes.
        terms: the weighted terms at the last step, one value a set each; none if nothing was updated.
        logits: the teacher's answers to the stored samples, set after set.
        targets: the class that each sample was pulled towards.
    """
    probs = logits.softmax(dim=1).view(len(sets), -1, logits.shape[1])
    columns = dict(terms)
    if terms:
        columns["loss"] = torch.stack(list(terms.values())).sum(dim=0)
    columns["target_accuracy"] = (probs.argmax(dim=2) == targets.view(len(sets), -1)).float().mean(dim=1)
    columns["confidence"] = probs.amax(dim=2).mean(dim=1)
    table = torch.stack([column.float() for column in columns.values()], dim=1).tolist()
    return [
        {"set": t, "step_size": size, **dict(zip(columns, row, strict=True))}
        for t, size, row in zip(sets, sizes, table, strict=True)
    ]
