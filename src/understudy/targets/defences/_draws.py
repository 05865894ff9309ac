"""Draws that are functions of keys: noise of a row, secrets of a client."""

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from understudy.runs.seeds import derive_seed


def normal_rows(seed: int, name: str, keys: Int64[Tensor, " b"], width: int) -> Float32[Tensor, "b width"]:
    """Return standard normal rows, each a function of (seed, name, its key, width) and of nothing else.

    Philox takes the two numbers as its key, so that no two rows share a stream; a generator of torch keeps 32 bits of
    its seed only, and a million queries would meet each other's noise.

    Args:
        seed: the client's.
        name: of the defence.
        keys: one a row, 0 to 2^63 - 1. Shape (b,).
        width: numbers a row.
    """
    rows = np.empty((len(keys), width), dtype=np.float32)
    bits = np.random.Philox(key=_key(seed, name))
    generator, state = np.random.Generator(bits), bits.state
    for row, key in zip(rows, keys.tolist(), strict=True):
        state["state"]["key"][1] = key  # setting the state is several times cheaper than a new generator
        bits.state = state
        generator.standard_normal(dtype=np.float32, out=row)
    return torch.from_numpy(rows)


def secret_draws(seed: int, name: str) -> np.random.RandomState:
    """Return the generator of a client's secret `name`, at its start.

    Of NumPy's two families this is the one whose draws no later release may change: a client's secret must last.
    """
    return np.random.RandomState(np.random.Philox(key=_key(seed, name)))


def _key(seed: int, name: str) -> np.typing.NDArray[np.uint64]:
    return np.array([derive_seed(seed, f"defence/{name}"), 0], dtype=np.uint64)
