"""Which rows make a batch: a function of (seed, step), and the same for any number of processes."""

import torch
from jaxtyping import Int64
from torch import Tensor

from understudy.errors import ConfigError
from understudy.runs.seeds import stream


class Shuffle:
    """Endless shuffled batches of row numbers; every row once an epoch, less a last batch that is not full.

    Args:
        rows: number of rows, at least 1.
        batch_size: rows of one global batch, over all processes. Fewer rows are one batch as they are.
        seed: the run's seed.
        name: the stream's name; two shuffles of one name and seed are the same.
        device: where the row numbers are wanted; it changes no draw.

    Raises:
        ConfigError: the batch size is below 1.
    """

    def __init__(self, rows: int, *, batch_size: int, seed: int, name: str, device: torch.device | str = "cpu") -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}", expected="1 or more rows")
        self.rows = rows
        self.batch_size = min(batch_size, rows)
        self.steps_per_epoch = rows // self.batch_size
        self._seed, self._name, self._device = seed, name, device
        self._order = (-1, torch.empty(0, dtype=torch.int64))

    def at(self, step: int, *, rank: int = 0, world: int = 1) -> Int64[Tensor, " b"]:
        """Return the rows of a step's batch, or one process's contiguous share of them.

        The shares of all ranks, one after the other, are the batch that a single process gets.

        Args:
            step: step of the run, from 0; epochs follow one another.
            rank: this process, 0 to world - 1.
            world: number of processes.

        Raises:
            ConfigError: the global batch does not divide among the processes.
        """
        epoch, position = divmod(step, self.steps_per_epoch)
        mine = self.share(rank, world)
        start = position * self.batch_size
        return self._epoch_order(epoch)[start + mine.start : start + mine.stop]

    def share(self, rank: int, world: int) -> slice:
        """Return the part of each global batch that a process takes."""
        if self.batch_size % world:
            raise ConfigError(
                f"a batch of {self.batch_size} rows does not divide among {world} processes",
                expected=f"a batch size that is a multiple of {world}",
            )
        size = self.batch_size // world
        return slice(rank * size, (rank + 1) * size)

    def _epoch_order(self, epoch: int) -> Int64[Tensor, " n"]:
        if self._order[0] != epoch:  # kept for speed only: the order is a function of (seed, epoch)
            generator = stream(self._seed, self._name, step=epoch)
            self._order = (epoch, torch.randperm(self.rows, generator=generator).to(self._device))
        return self._order[1]
