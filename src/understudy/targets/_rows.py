"""Rows as bytes: hashes of inputs, keys of queries, answers as they lie on file."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

HASH_BYTES = 16
_CHUNK = 64  # rows that are copied at a time: few enough to be in the cache when they are hashed
_FETCHED = 2048  # rows that come from an accelerator at a time
_OFF_GRID = 1e-3  # grey levels; dividing by 255 and multiplying again is off by less than 1e-4


def hash_rows(images: Float[Tensor, "b ..."]) -> list[bytes]:
    """Return the 16-byte BLAKE2b of each row's float32 numbers; the memory layout makes no difference, nor -0."""
    return [_hash(row) for some in _pieces(images) for row in some]


def hash_pictures(images: Float[Tensor, "b ..."]) -> list[bytes]:
    """Return a 16-byte hash of each row's grey levels, or of its numbers if these are no whole levels of 255.

    So images of 8 bits have the same hash wherever and however they were divided by 255, whose result may differ in
    the last bit.
    """
    hashes = []
    for numbers in _pieces(images):
        levels = numbers * np.float32(255)
        whole = np.round(levels)
        on_grid = np.abs(levels - whole).max(axis=1, initial=0) <= _OFF_GRID
        bytes_of = whole.clip(0, 255).astype(np.uint8)
        hashes += [_hash(bytes_of[i] if on_grid[i] else row) for i, row in enumerate(numbers)]
    return hashes


def query_keys(inputs: Sequence[bytes], *, occasion: int, replay: bool) -> list[bytes]:
    """Return the 16-byte key of each query of a request.

    Args:
        inputs: the hashes of its rows.
        occasion: which of several times the same images are asked about.
        replay: equal inputs are one query, on whatever occasion; else the n-th equal row of a request on an occasion
            is a query of its own.
    """
    seen: Counter[bytes] = Counter()
    keys = []
    for row in inputs:
        # The first time on the first occasion is the same query either way, so that nothing is paid for again.
        first = replay or (occasion == 0 and seen[row] == 0)
        place = b"" if first else f"|{occasion}|{seen[row]}".encode()
        seen[row] += 1
        keys.append(hashlib.blake2b(row + place, digest_size=HASH_BYTES).digest())
    return keys


def draw_keys(keys: Sequence[bytes]) -> Int64[Tensor, " b"]:
    """Return the keys as numbers from 0 to 2^63 - 1, from which defences draw."""
    return torch.tensor([int.from_bytes(key[:8], "big") >> 1 for key in keys], dtype=torch.int64)


def encode_answers(answers: Float[Tensor, "b e"]) -> list[bytes]:
    """Return each row as little-endian float32."""
    rows = np.ascontiguousarray(answers.detach().cpu().numpy(), dtype="<f4")
    return [row.tobytes() for row in rows]


def decode_answers(blobs: Sequence[bytes], width: int) -> Float[Tensor, "b e"]:
    """Return rows that `encode_answers` wrote; each has 4 * width bytes."""
    numbers = np.frombuffer(b"".join(blobs), dtype="<f4").reshape(len(blobs), width)
    return torch.from_numpy(numbers.astype(np.float32))


def _pieces(images: Float[Tensor, "b ..."]) -> "Iterator[np.ndarray[tuple[int, int], np.dtype[np.float32]]]":
    """Yield the rows as flat little-endian float32, some at a time and all in the same memory."""
    memory = torch.empty(min(len(images), _CHUNK), *images.shape[1:])
    for many in torch.split(images.detach(), _FETCHED):
        for some in torch.split(many.to("cpu", torch.float32), _CHUNK):
            place = memory[: len(some)]
            torch.add(some, 0.0, out=place)  # -0 + 0 is 0
            yield np.ascontiguousarray(place.flatten(1).numpy(), dtype="<f4")


def _hash(row: "np.ndarray[tuple[int], np.dtype[np.generic]]") -> bytes:
    return hashlib.blake2b(row.data, digest_size=HASH_BYTES).digest()
