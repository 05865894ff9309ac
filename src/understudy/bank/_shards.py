"""Shards: what every bank is made of. One that is on disk is whole, and is never made again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from understudy.bank._manifest import FORMAT
from understudy.errors import DivergenceError, IntegrityError
from understudy.runs.files import sha256_file, write_json
from understudy.runs.tensors import load_tensors, save_tensors


class ShardWriter:
    """Writes shards, in any order and from several processes, then the manifest.

    Args:
        folder: the bank's folder; shards that are there already are kept.
        about: facts for the manifest.
    """

    column: ClassVar[str]
    """The tensor whose length is the number of rows of a shard."""
    advice: ClassVar[str]
    """What to do when a number is not finite."""

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        self.folder = folder
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

    def finish(self, shards: int) -> None:
        """Write the manifest over shards 0 to `shards` - 1; from then on the bank is whole.

        Raises:
            IntegrityError: a shard is missing, or is no longer what was written.
        """
        self._seal([self._entry(shard) for shard in range(shards)])

    def _put(self, shard: int, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
        """Store one shard, unless a number in it is not finite."""
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not tensor.isfinite().all():
                raise DivergenceError(
                    f"{name} that are not finite were about to enter the bank",
                    where=f"{self.folder}, shard {shard}",
                    fix=self.advice,
                )
        save_tensors(self.path(shard), tensors, {"record": dict(record)})

    def _entry(self, shard: int) -> dict[str, Any]:
        """Return a shard's line of the manifest; no more than this one shard is in memory."""
        path = self.path(shard)
        tensors, meta = load_tensors(path)  # a shard that has changed since it was written is not made official
        return {
            "file": path.name,
            "rows": len(tensors[self.column]),
            "bytes": path.stat().st_size,
            "sha256": sha256_file(path),
            "record": meta["record"],
        }

    def _seal(self, entries: list[dict[str, Any]], **facts: object) -> None:
        """Write the manifest."""
        write_json(self.folder / "manifest.json", {"format": FORMAT, **self._about, **facts, "shards": entries})


def open_shard(folder: Path, entry: Mapping[str, Any], *, verify: bool) -> dict[str, Tensor]:
    """Return the tensors of a shard, mapped and not yet read.

    Args:
        folder: the bank's folder.
        entry: the shard's line of the manifest.
        verify: compare the file with the manifest's SHA-256, piece by piece.

    Raises:
        IntegrityError: the shard is missing, altered or cut short.
    """
    path = folder / entry["file"]
    if verify and path.exists() and sha256_file(path) != entry["sha256"]:
        raise IntegrityError(
            "a shard is not what was written (SHA-256 mismatch)",
            where=path,
            fix="make the bank again",
        )
    return load_tensors(path, verify=False)[0]
