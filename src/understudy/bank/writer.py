"""Writing a bank of inputs and answers, shard by shard."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from understudy.bank._shards import ShardWriter
from understudy.bank.storage import StorageType, encode


class BankWriter(ShardWriter):
    """Writes shards of inputs and answers, in any order and from several processes, then the manifest.

    Args:
        folder: the bank's folder; shards that are there already are kept.
        storage: how inputs are stored.
        about: facts for the manifest, such as shape, classes, coordinates and the teacher's hash.
    """

    column = "inputs"
    advice = "store as float32 if values leave the range of float16, or lower the step size"

    def __init__(self, folder: Path, *, storage: StorageType, about: Mapping[str, Any]) -> None:
        super().__init__(folder, {"storage": storage, **about})
        self.storage = storage

    def write(self, shard: int, inputs: Tensor, *, answers: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
        """Store one shard.

        Args:
            shard: its number, from 0.
            inputs: float32. Shape (rows, ...).
            answers: further tensors of as many rows, such as logits.
            record: JSON-able facts about the shard, such as metrics of its making.

        Raises:
            DivergenceError: an input or an answer is not finite; nothing is written.
            StorageError: the disk refused; earlier shards are whole.
        """
        self._put(shard, {**encode(inputs, self.storage), **answers}, record)
