"""What defences have learnt of a client, as bytes, and how two such memories become one."""

from collections.abc import Mapping

import torch
from safetensors.torch import load, save
from torch import Tensor


def encode_memory(memory: Mapping[str, Tensor]) -> bytes:
    """Return the tensors as one safetensors blob."""
    return save({name: tensor.detach().cpu().contiguous() for name, tensor in memory.items()})


def decode_memory(blob: bytes | None) -> dict[str, Tensor]:
    """Return what `encode_memory` wrote; nothing of nothing."""
    return {} if blob is None else load(blob)


def merged(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the element-wise maximum of two memories; what only one of them has is taken as it is."""
    both = {name: torch.maximum(tensor, other[name].to(tensor)) for name, tensor in one.items() if name in other}
    return {**other, **one, **both}
