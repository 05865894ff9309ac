"""One float32 column over many shards, mapped into memory, with a bound on how much of it stays there."""

import bisect
import itertools
import json
import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from understudy.errors import IntegrityError

Rows = NDArray[np.float32]
Indices = NDArray[np.int64]

_MAPPED_BYTES = 256 << 20
_PIECE_BYTES = 32 << 20
_OPEN_FILES = 128  # a map holds its file open, and a process may often open no more than 1,024


class _Piece(NamedTuple):
    """A stretch of a shard that is mapped as one."""

    file: Path
    offset: int
    rows: int


class MappedRows:
    """Rows of one tensor of many shards, counted through; none is read before it is asked for.

    Mapped pages count as the process's memory once they are touched, and the kernel brings in up to 2 MiB around a
    row, so random reads would soon hold the whole bank. So no more than 256 MiB are mapped at a time: a small bank
    is mapped once, and pieces of a larger one come and go. Their pages stay in the system's cache while it has room.

    Args:
        files: safetensors files, each with the tensor in little-endian float32. Shape (rows, width).
        name: the tensor's name.
        rows: rows in each file.
        width: numbers in a row.
    """

    def __init__(self, files: Sequence[Path], name: str, *, rows: Sequence[int], width: int) -> None:
        self._width = width
        at_once = max(_PIECE_BYTES // (width * 4), 1)
        self._pieces = [
            _Piece(file, begin + first * width * 4, min(at_once, count - first))
            for file, count in zip(files, rows, strict=True)
            for begin in [_begin(file, name)]
            for first in range(0, count, at_once)
        ]
        self._starts = [0, *itertools.accumulate(piece.rows for piece in self._pieces)]
        self._maps: dict[int, Rows] = {}
        self._mapped_bytes = 0

    def gather(self, indices: Indices) -> Rows:
        """Return rows in the order asked for.

        Args:
            indices: row numbers, from 0 to the number of rows less one. Shape (n,).

        Raises:
            IntegrityError: a file has been removed or cut short since it was opened.
        """
        out = np.empty((len(indices), self._width), dtype=np.float32)
        order = np.argsort(indices, kind="stable")
        ascending = indices[order]
        begin = 0
        while begin < len(order):
            number = bisect.bisect_right(self._starts, int(ascending[begin])) - 1
            end = int(np.searchsorted(ascending, self._starts[number + 1]))
            out[order[begin:end]] = self._map(number)[ascending[begin:end] - self._starts[number]]
            begin = end
        return out

    def _map(self, number: int) -> Rows:
        """Return a piece's rows, mapped; the oldest maps make room for it."""
        if number not in self._maps:
            size = self._bytes(number)
            while self._maps and (self._mapped_bytes + size > _MAPPED_BYTES or len(self._maps) >= _OPEN_FILES):
                oldest = next(iter(self._maps))
                del self._maps[oldest]
                self._mapped_bytes -= self._bytes(oldest)
            self._maps[number] = self._open(self._pieces[number])
            self._mapped_bytes += size
        return self._maps[number]

    def _bytes(self, number: int) -> int:
        return self._pieces[number].rows * self._width * 4

    def _open(self, piece: _Piece) -> Rows:
        start = piece.offset - piece.offset % mmap.ALLOCATIONGRANULARITY
        numbers = piece.rows * self._width
        try:
            with piece.file.open("rb", buffering=0) as file:
                length = piece.offset - start + numbers * 4
                mapped = mmap.mmap(file.fileno(), length, access=mmap.ACCESS_READ, offset=start)
        except (OSError, ValueError) as error:  # ValueError: the file is shorter than the map
            raise IntegrityError(
                f"a shard is no longer as it was opened: {error}", where=piece.file, fix="make the bank again"
            ) from None
        return np.frombuffer(mapped, "<f4", numbers, piece.offset - start).reshape(piece.rows, self._width)


def _begin(file: Path, name: str) -> int:
    """Return where a tensor begins in a safetensors file: 8 bytes of length, a JSON header, then the tensors."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        begin: int = json.loads(opened.read(length))[name]["data_offsets"][0]
    return 8 + length + begin
