"""How a bank stores inputs: exactly, in half precision, or as bytes with a range for each sample."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

StorageType = Literal["float32", "float16", "uint8"]


def encode(x: Float[Tensor, "n ..."], storage: StorageType) -> dict[str, Tensor]:
    """Return the tensors that stand for `x` on disk.

    Args:
        x: inputs in float32, in any range that the storage type can hold.
        storage: "uint8" keeps 256 levels between each sample's own minimum and maximum.
    """
    if storage != "uint8":
        return {"inputs": x.to(getattr(torch, storage)).contiguous()}
    rows = x.flatten(1)
    low = rows.amin(dim=1)
    scale = ((rows.amax(dim=1) - low) / 255).clamp_min(torch.finfo(torch.float32).tiny)
    codes = ((rows - low[:, None]) / scale[:, None]).round().clamp(0, 255).to(torch.uint8)
    return {"inputs": codes.view(x.shape).contiguous(), "low": low, "scale": scale}


def decode(stored: dict[str, Tensor]) -> Float[Tensor, "n ..."]:
    """Return float32 inputs from what `encode` made."""
    inputs = stored["inputs"]
    if inputs.dtype != torch.uint8:
        return inputs.float()
    shape = (-1, *[1] * (inputs.ndim - 1))
    return inputs.float() * stored["scale"].view(shape) + stored["low"].view(shape)


def rounded(x: Float[Tensor, "n ..."], storage: StorageType) -> Float[Tensor, "n ..."]:
    """Return `x` as it will be read back, so that answers can be taken of what is stored."""
    return decode(encode(x, storage))
