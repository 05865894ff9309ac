"""Batches of sentences: turned into tokens once, put together by length, a function of (seed, step) alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int64
from torch import Tensor

from understudy.data import Shuffle, TextSet
from understudy.errors import DataError
from understudy.runs.seeds import stream


@runtime_checkable
class Encodes(Protocol):
    """What turns sentences into a model's tokens; a `Backbone` does."""

    def encode(self, texts: Sequence[str], contexts: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Return tensors of shape (n, s), among them `attention_mask`, all rows filled up to the longest."""
        ...


@dataclass(frozen=True, eq=False)
class TextBatch:
    """One batch.

    Args:
        encoded: what the model's forward takes, by name. Each of shape (b, s), s the longest sentence of the batch.
        labels: class indices. Shape (b,).
        rows: where the sentences stand in the set, on the same device. Shape (b,).
    """

    encoded: Mapping[str, Int64[Tensor, "b s"]]
    labels: Int64[Tensor, " b"]
    rows: Int64[Tensor, " b"]


class TextBatches:
    """Endless batches of a set; every sentence once an epoch, less a last batch that is not full.

    Each epoch is shuffled as `understudy.data.Shuffle` does it, then sorted by length within pools of many batches,
    so that little is filled up, and the batches are shuffled.

    Args:
        data: the sentences; those that are too long for the model are cut by its `encode`.
        backbone: what turns them into tokens, once, on the device that it is on.
        batch_size: sentences of one global batch, over all processes. Fewer sentences are one batch as they are.
        seed: the run's seed.
        name: the stream's name; batches of one name and seed take the same rows.
        pool: batches that are sorted by length together; 1 sorts nothing out.

    Raises:
        ConfigError: the batch size is below 1.
        DataError: a label is outside the classes that the backbone names.
    """

    def __init__(
        self,
        data: TextSet,
        backbone: Encodes,
        *,
        batch_size: int,
        seed: int,
        name: str = "texts",
        pool: int = 50,
    ) -> None:
        self.data = data
        classes = getattr(backbone, "classes", len(data.classes))
        if len(data.classes) > classes:
            raise DataError(
                f"{len(data.classes)} classes, and the model has {classes}",
                where=f"{data.name}, split {data.split}",
                expected=f"at most {classes} classes",
                fix="use the data set that the model was made for",
            )
        self._shuffle = Shuffle(len(data), batch_size=batch_size, seed=seed, name=name)
        self._seed, self._name, self._pool = seed, name, pool
        self._encoded = backbone.encode(data.texts, data.contexts)
        mask = self._encoded["attention_mask"]
        self._labels = data.labels.to(mask.device)
        self._lengths: Int64[Tensor, " n"] = mask.sum(dim=1).cpu()
        self._fills_left = bool(mask[:, -1].all()) and not bool(mask[:, 0].all())
        self._epoch = -1
        self._rows, self._longest = torch.empty(0, 0, dtype=torch.int64), [0]

    @property
    def batch_size(self) -> int:
        """Sentences of one global batch."""
        return self._shuffle.batch_size

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass."""
        return self._shuffle.steps_per_epoch

    def at(self, step: int, *, rank: int = 0, world: int = 1) -> TextBatch:
        """Return the batch of a step, or one process's share of it; the same whatever was asked before.

        Args:
            step: step of the run, from 0; epochs follow one another.
            rank: this process, 0 to world - 1.
            world: number of processes.

        Raises:
            ConfigError: the global batch does not divide among the processes.
        """
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:  # kept for speed only: the order is a function of (seed, epoch)
            self._plan(epoch)
        rows = self._rows[position][self._shuffle.share(rank, world)]
        longest = self._longest[position]
        kept = slice(-longest, None) if self._fills_left else slice(longest)
        encoded = {name: values[rows, kept] for name, values in self._encoded.items()}
        return TextBatch(encoded, self._labels[rows], rows)

    def _plan(self, epoch: int) -> None:
        """Set the rows of an epoch's batches, on the device, and the longest sentence in each."""
        steps, size = self.steps_per_epoch, self.batch_size
        order = torch.cat([self._shuffle.at(epoch * steps + step) for step in range(steps)])
        pools = [pool[self._lengths[pool].argsort(stable=True)] for pool in torch.split(order, self._pool * size)]
        batches = torch.cat(pools).view(steps, size)
        generator = stream(self._seed, f"{self._name} order", step=epoch)
        batches = batches[torch.randperm(steps, generator=generator)]
        self._longest = self._lengths[batches].amax(dim=1).tolist()
        self._rows, self._epoch = batches.to(self._labels.device), epoch
