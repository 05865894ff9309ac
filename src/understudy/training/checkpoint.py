"""Exact checkpoints: weights, buffers and optimiser state of a phase, in one safetensors file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from understudy.errors import IntegrityError
from understudy.runs.tensors import load_tensors, save_tensors


def save_checkpoint(
    path: Path, module: nn.Module, optimiser: torch.optim.Optimizer, *, step: int, extra: Mapping[str, Tensor]
) -> None:
    """Put the state after `step` steps on file, whole or not at all."""
    tensors = {f"model.{name}": value for name, value in _apart(module.state_dict()).items()}
    tensors |= {f"extra.{name}": value for name, value in extra.items()}
    plain: dict[str, Any] = {}
    for index, state in optimiser.state_dict()["state"].items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"optimiser.{index}.{name}"] = value
            else:
                plain[f"{index}.{name}"] = value
    save_tensors(path, tensors, {"step": step, "optimiser": plain})


def _apart(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state in which weights of two names, tied to each other, are two tensors, as the file wants them."""
    seen: set[int] = set()
    found = {}
    for name, value in state.items():
        found[name] = value.clone() if value.data_ptr() in seen else value
        seen.add(value.data_ptr())
    return found


def load_checkpoint(path: Path, module: nn.Module, optimiser: torch.optim.Optimizer) -> tuple[int, dict[str, Tensor]]:
    """Restore a state put on file by `save_checkpoint`; return its step and the extra tensors.

    Raises:
        IntegrityError: the file is damaged, or belongs to another network.
    """
    tensors, meta = load_tensors(path)
    weights = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise IntegrityError(f"the checkpoint belongs to another network: {error}", where=path) from None
    states: dict[int, dict[str, Any]] = {}
    for name, value in tensors.items():
        if name.startswith("optimiser."):
            _, index, key = name.split(".", 2)
            states.setdefault(int(index), {})[key] = value
    for name, plain in meta["optimiser"].items():
        index, key = name.split(".", 1)
        states.setdefault(int(index), {})[key] = plain
    optimiser.load_state_dict({"state": states, "param_groups": optimiser.state_dict()["param_groups"]})
    extra = {name.removeprefix("extra."): value for name, value in tensors.items() if name.startswith("extra.")}
    return int(meta["step"]), extra
