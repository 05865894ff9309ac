"""A teacher's answers that are asked ahead of training: a bank that is extended in place, and shared by many runs."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from jaxtyping import Float, Float16, Int64
from torch import Tensor

from understudy.bank._answer_files import AnswerFiles
from understudy.errors import DivergenceError, IntegrityError

_SHARD_BYTES = 256 << 20


class AnswerArchive:
    """One teacher's logits by (row, view) in the files of an `AnswerBank`, to which a later run adds what it misses.

    Logits are kept as float16. Nothing that is on file is ever changed: an addition is a further shard, and the
    manifest that names it takes the place of the old one whole. What was asked before a kill lies in segments, which
    the next start goes on from. Whoever adds must hold the folder (`runs.locks`); to read, nothing need be held.

    Args:
        folder: the bank's own folder; made when there is something to write.
        teacher: the teacher's hash.
        data: the hash of the images.
        rows: number of images.
        views: views of an image, as `Augment.views` counts them; the key of an answer is row * views + view.
        classes: width of an answer.
        base: a finished bank, or the folder of a run that has one, taken over where this one has just been begun.
        adding: whether this process holds the folder to add to it; who only reads sees what the manifest names.
        precision: in which the teacher computes.

    Raises:
        ConfigError: the answers here, or the base's, are of another teacher, other images or other views.
        IntegrityError: a file is missing, altered or cut short.
    """

    def __init__(
        self,
        folder: Path,
        *,
        teacher: str,
        data: str,
        rows: int,
        views: int,
        classes: int,
        base: Path | None = None,
        adding: bool = True,
        precision: str = "float32",
    ) -> None:
        about = {"teacher": teacher, "precision": precision, "data": data, "rows": rows, "views": views}
        self.folder, self._count, self._classes = folder, rows * views, classes
        self._files = AnswerFiles(folder, {**about, "classes": classes})
        own = self._files.present()
        self.finished = own is not None
        """Whether everything that was asked is in shards that the manifest names."""
        self._shards = self._files.take_over(base) if own is None else own
        self._keys = torch.zeros(0, dtype=torch.int64)
        self._logits = torch.zeros((0, classes), dtype=torch.float16)
        for entry in self._shards:
            self._put(*self._checked(self._files.open(entry), folder / entry["file"]))
        if own is None:
            self._files.settle(self._shards)
        self._sealed, self._segments = self._keys, 0
        if adding:
            self._load_segments()
        self._fresh: list[tuple[Tensor, Tensor]] = []

    def __len__(self) -> int:
        """Return the number of answers that are filed."""
        return len(self._keys)

    def missing(self, keys: Int64[Tensor, " n"]) -> Int64[Tensor, " m"]:
        """Return those of different keys, on the CPU, that have no answer, ascending."""
        keys = keys.sort().values
        return keys[~_among(keys, self._keys)]

    def add(self, keys: Int64[Tensor, " m"], logits: Float[Tensor, "m c"]) -> None:
        """Take in answers to keys that were missing; `save` puts them on file.

        Raises:
            DivergenceError: an answer is NaN, infinite or beyond float16's range of ±65504.
        """
        rounded = logits.detach().to("cpu", torch.float16)
        if not bool(rounded.isfinite().all()):
            raise DivergenceError(
                "an answer of the teacher is NaN, infinite or beyond what float16 holds (±65504)",
                where=self.folder,
                fix="train the teacher again with a smaller learning rate, or take an earlier checkpoint",
            )
        self._fresh.append((keys, rounded))

    def save(self) -> None:
        """Put on file what was added since the last call, whole or not at all."""
        if self._fresh:
            keys, logits = (torch.cat(parts) for parts in zip(*self._fresh, strict=True))
            order = keys.argsort()
            self._files.write_segment(self._segments, {"keys": keys[order], "logits": logits[order]})
            self._segments += 1
            self._put(keys, logits)
            self._fresh = []
            self.finished = False

    def finish(self) -> None:
        """Turn what is new into shards in order of key, and write the manifest; does nothing where all is done."""
        self.save()
        if not self.finished:
            self._files.seal(self._shards, self._new_shards(), answers=len(self))
            self._shards = self._files.present() or []
            self._sealed, self._segments, self.finished = self._keys, 0, True

    def logits(self, keys: Int64[Tensor, " n"]) -> Float16[Tensor, "n c"]:
        """Return answers on the CPU, in the order asked for; every key must have one."""
        return self._logits[torch.searchsorted(self._keys, keys)]

    def _new_shards(self) -> Iterator[Mapping[str, Tensor]]:
        new = ~_among(self._keys, self._sealed)
        keys, logits, rows = self._keys[new], self._logits[new], max(_SHARD_BYTES // (self._classes * 2), 1)
        for first in range(0, len(keys), rows):
            yield {"keys": keys[first : first + rows], "logits": logits[first : first + rows]}

    def _load_segments(self) -> None:
        for path, tensors in self._files.segments():
            keys, logits = self._checked(tensors, path)
            if not _among(keys, self._sealed).all():  # or its answers are in a shard, and a kill has left it behind
                self._put(keys, logits)
            self._segments = int(path.stem.partition("-")[2]) + 1
            self.finished = False

    def _put(self, keys: Tensor, logits: Tensor) -> None:
        keys, order = torch.cat([self._keys, keys]).sort()
        if bool((keys.diff() == 0).any()):
            raise IntegrityError("an answer is filed twice", where=self.folder, fix="make the bank again")
        self._keys, self._logits = keys, torch.cat([self._logits, logits])[order]

    def _checked(self, tensors: Mapping[str, Tensor], path: Path) -> tuple[Tensor, Tensor]:
        """Return keys and logits of a file, refusing what cannot be that."""
        keys, logits = tensors.get("keys"), tensors.get("logits")
        if keys is None or logits is None or keys.dtype != torch.int64 or logits.dtype != torch.float16:
            raise IntegrityError("the file does not hold filed answers", where=path, fix="make the bank again")
        fit = keys.ndim == 1 and len(keys) > 0 and logits.shape == (len(keys), self._classes)
        if not fit or bool((keys.diff() <= 0).any()) or int(keys[0]) < 0 or int(keys[-1]) >= self._count:
            raise IntegrityError("the filed answers do not fit the bank", where=path, fix="make the bank again")
        return keys, logits


def _among(keys: Tensor, others: Tensor) -> Tensor:
    """Return which keys are among others, which ascend."""
    if not len(others):
        return torch.zeros(len(keys), dtype=torch.bool)
    places = torch.searchsorted(others, keys).clamp_max(len(others) - 1)
    return others[places] == keys
