"""Answers in memory, by key: an index on the CPU, so that a lookup waits for no device, and rows beside the network."""

from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float, Float16, Int64
from torch import Tensor

from understudy.bank._finite import FiniteWatch
from understudy.data.batches import uploaded
from understudy.errors import DivergenceError, IntegrityError, ShapeError

_ON_DEVICE_BYTES = 4 << 30  # a full store above this stays in the CPU's memory
_FIRST_ANSWERS = 1 << 12


class AnswerStore:
    """Float16 answers under keys 0 to `keys` - 1, each put in once.

    Args:
        keys: number of keys, below 2^31; each takes 4 bytes on the CPU.
        classes: width of an answer.
        device: where answers are wanted. They are kept there, too, unless a full store would take over 4 GiB.
        where: the bank's folder, for messages.
    """

    def __init__(self, keys: int, classes: int, *, device: torch.device, where: Path) -> None:
        self._wanted_on, self._classes, self._where = device, classes, where
        self.device = device if keys * classes * 2 <= _ON_DEVICE_BYTES else torch.device("cpu")
        """Where the answers are kept."""
        self._index = torch.full((keys,), -1, dtype=torch.int32)  # a key's place in the rows
        self._rows = torch.empty((0, classes), dtype=torch.float16, device=self.device)
        self._watch = FiniteWatch(self.device)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def missing(self, keys: Int64[Tensor, " b"]) -> Int64[Tensor, " m"]:
        """Return the positions of keys without an answer, ascending; of equal keys the first."""
        absent = (self._index[keys] < 0).nonzero().flatten()
        ordered, order = keys[absent].sort(stable=True)
        again = torch.zeros(len(order), dtype=torch.bool)
        again[1:] = ordered[1:] == ordered[:-1]
        return absent[order[~again].sort().values]

    def add(self, keys: Int64[Tensor, " m"], answers: Tensor) -> None:
        """Put in answers under new keys, all different.

        Raises:
            ShapeError: not one answer of the right width a key.
            DivergenceError: one is not a number that float16 holds; on an accelerator maybe some calls later.
        """
        if answers.shape != (len(keys), self._classes):
            raise ShapeError(
                f"{len(keys)} questions got answers of shape {tuple(answers.shape)}",
                where=self._where,
                expected=f"({len(keys)}, {self._classes})",
            )
        start, end = self._count, self._count + len(keys)
        self._reserve(end)
        self._rows[start:end] = answers
        _refuse(self._watch.seems_broken(self._rows[start:end]), self._where)
        self._index[keys] = torch.arange(start, end, dtype=torch.int32)
        self._count = end

    def gather(self, keys: Int64[Tensor, " b"]) -> Float[Tensor, "b c"]:
        """Return answers in float32, as they are kept, on the device where they are wanted."""
        places = uploaded(self._index[keys].long(), self.device)
        return uploaded(self._rows[places], self._wanted_on).float()

    def load(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        """Put in what `tensors` once returned.

        Raises:
            IntegrityError: it cannot be that.
        """
        keys, logits = tensors.get("keys"), tensors.get("logits")
        if keys is None or logits is None or keys.dtype != torch.int64 or logits.dtype != torch.float16:
            raise IntegrityError("the file does not hold filed answers", where=path, fix="make the bank again")
        fit = keys.ndim == 1 and len(keys) > 0 and logits.shape == (len(keys), self._classes)
        if not fit or not self._new(keys):
            raise IntegrityError("the filed answers do not fit the bank", where=path, fix="make the bank again")
        self.add(keys, logits)

    def tensors(self, keys: Int64[Tensor, " n"]) -> dict[str, Tensor]:
        """Return keys and answers for a file, on the CPU."""
        logits: Float16[Tensor, "n c"] = self._rows[self._index[keys].long().to(self.device)].cpu()
        return {"keys": keys, "logits": logits}

    def since(self, count: int) -> Int64[Tensor, " n"]:
        """Return the keys of the answers that came after the first `count`, ascending."""
        return (self._index >= count).nonzero().flatten()

    def forget(self, count: int) -> None:
        """Drop the answers that came after the first `count`."""
        self._index[self._index >= count] = -1
        self._count = count
        self._watch = FiniteWatch(self.device)

    def check_finite(self) -> None:
        """Raise `DivergenceError` if any answer is not a number that float16 holds; waits for the device."""
        _refuse(self._watch.broken(), self._where)

    def _new(self, keys: Int64[Tensor, " n"]) -> bool:
        """Return whether keys are in range, ascending without repetition, and none of them is there yet."""
        inside = int(keys[0]) >= 0 and int(keys[-1]) < len(self._index)
        return inside and bool((keys.diff() > 0).all()) and bool((self._index[keys] < 0).all())

    def _reserve(self, answers: int) -> None:
        """Make room for so many answers in all; the room doubles, so that each is moved about once."""
        if answers > len(self._rows):
            room = min(max(answers, 2 * len(self._rows), _FIRST_ANSWERS), len(self._index))
            larger = self._rows.new_empty((room, self._classes))
            larger[: self._count] = self._rows[: self._count]
            self._rows = larger


def _refuse(broken: bool, where: Path) -> None:
    if broken:
        raise DivergenceError(
            "an answer of the teacher is NaN, infinite or beyond what float16 holds (±65504)",
            where=where,
            fix="set file_answers to false, if the teacher's logits are meant to be that large",
        )
