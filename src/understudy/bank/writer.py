"""Writing a bank, shard by shard; a shard that is on disk is whole, and is never made again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from understudy.bank._manifest import FORMAT
from understudy.bank.storage import StorageType, encode
from understudy.errors import DivergenceError
from understudy.runs.files import sha256_file, write_json
from understudy.runs.tensors import load_tensors, save_tensors


class BankWriter:
    """Writes shards of inputs and answers, in any order and from several processes, then the manifest.

    Args:
        folder: the bank's folder; shards that are there already are kept.
        storage: how inputs are stored.
        about: facts for the manifest, such as shape, classes, coordinates and the teacher's hash.
    """

    def __init__(self, folder: Path, *, storage: StorageType, about: Mapping[str, Any]) -> None:
        self.folder = folder
        self.storage = storage
        self._about = dict(about)

    def path(self, shard: int) -> Path:
        """Return where a shard is, or will be."""
        return self.folder / f"shard-{shard:05d}.safetensors"

    def has(self, shard: int) -> bool:
        """Return whether a shard is on disk."""
        return self.path(shard).exists()

    def record(self, shard: int) -> dict[str, Any]:
        """Return the facts that a shard on disk was written with."""
        record: dict[str, Any] = load_tensors(self.path(shard), verify=False)[1]["record"]
        return record

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
        tensors = {**encode(inputs, self.storage), **answers}
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not tensor.isfinite().all():
                raise DivergenceError(
                    f"{name} that are not finite were about to enter the bank",
                    where=f"{self.folder}, shard {shard}",
                    fix="store as float32 if values leave the range of float16, or lower the step size",
                )
        save_tensors(self.path(shard), tensors, {"record": dict(record)})

    def finish(self, shards: int) -> None:
        """Write the manifest over shards 0 to `shards` - 1; from then on the bank is whole.

        Raises:
            IntegrityError: a shard is missing, or is no longer what was written.
        """
        entries = []
        for shard in range(shards):
            path = self.path(shard)
            tensors, meta = load_tensors(path)  # a shard that has changed since it was written is not made official
            entries.append(
                {
                    "file": path.name,
                    "rows": len(tensors["inputs"]),
                    "bytes": path.stat().st_size,
                    "sha256": sha256_file(path),
                    "record": meta["record"],
                }
            )
        manifest = {"format": FORMAT, "storage": self.storage, **self._about, "shards": entries}
        write_json(self.folder / "manifest.json", manifest)
