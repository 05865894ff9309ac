"""Prototypes on file: one embedding for each image, which a surrogate is trained on in place of the target.

Wu et al., ECCV 2024 (RDA): the prototype p of an image is the mean of the target's unit embeddings of random views of
it. Its length r = ‖p‖ says how well those views agree, so both are kept.
"""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from understudy.bank._manifest import read_manifest
from understudy.bank._mapped import MappedRows
from understudy.bank._shards import ShardWriter, open_shard
from understudy.errors import DataError, IntegrityError, ShapeError

KIND = "prototypes"


class PrototypeWriter(ShardWriter):
    """Writes shards of prototypes, in any order and from several processes, then the manifest.

    Shards follow one another in the bank, so that a row's number is that of its image. A shard that is on disk is
    whole and need not be made again; a new process, with the same folder, goes on after it.

    Args:
        folder: the bank's folder; shards that are there already are kept.
        about: facts for the manifest, such as hash of the images, seed and kind of views, defence and queries.
    """

    column = "prototypes"
    advice = "the target answered something that is not finite: look at what it was asked and what it returned"

    def write(self, shard: int, prototypes: Float[Tensor, "n d"], lengths: Float[Tensor, " n"]) -> None:
        """Store one shard, in float32.

        Args:
            shard: its number, from 0.
            prototypes: one a row, not necessarily of unit length.
            lengths: the Euclidean length of each, ≥ 0.

        Raises:
            DataError: there are no rows.
            ShapeError: there are not as many lengths as prototypes.
            DivergenceError: a number is not finite in float32; nothing is written.
            StorageError: the disk refused; earlier shards are whole.
        """
        where = f"{self.folder}, shard {shard}"
        if prototypes.numel() == 0:
            raise DataError("a shard without prototypes", where=where, expected="at least one row")
        if prototypes.ndim != 2 or lengths.shape != prototypes.shape[:1]:
            raise ShapeError(
                f"prototypes of shape {tuple(prototypes.shape)} with lengths of shape {tuple(lengths.shape)}",
                where=where,
                expected="(n, d) and (n,)",
            )
        tensors = {"prototypes": prototypes.to(torch.float32), "lengths": lengths.to(torch.float32)}
        self._put(shard, tensors, {"width": prototypes.shape[1]})

    def finish(self, shards: int) -> None:
        """Write the manifest over shards 0 to `shards` - 1; from then on the bank is whole.

        Raises:
            DataError: there are no shards.
            ShapeError: shards differ in width.
            IntegrityError: a shard is missing, or is no longer what was written.
        """
        entries = [self._entry(shard) for shard in range(shards)]
        widths = sorted({entry["record"]["width"] for entry in entries})
        if not widths:
            raise DataError("a bank without prototypes", where=self.folder, expected="at least one shard")
        if len(widths) > 1:
            raise ShapeError(f"shards differ in width: {widths}", where=self.folder, fix="make the bank again")
        self._seal(entries, kind=KIND, width=widths[0])


class Prototypes:
    """A finished bank of prototypes, memory-mapped: no more than 256 MiB of it are in memory at a time.

    Args:
        folder: the bank's folder.
        verify: compare each shard with the manifest's SHA-256.

    Raises:
        IntegrityError: the bank is missing, unfinished, altered, cut short, or no bank of prototypes.
    """

    def __init__(self, folder: Path | str, verify: bool = True) -> None:
        self.folder = Path(folder)
        self.manifest: dict[str, Any] = read_manifest(self.folder, kind=KIND)
        self.width: int = self.manifest.get("width", 0)
        """Numbers in a prototype."""
        shards = self.manifest["shards"]
        for entry in shards:
            self._check(entry, open_shard(self.folder, entry, verify=verify))
        rows: list[int] = [entry["rows"] for entry in shards]
        self._count = sum(rows)
        files = [self.folder / entry["file"] for entry in shards]
        self._mapped = MappedRows(files, "prototypes", rows=rows, width=self.width)

    def __len__(self) -> int:
        return self._count

    def rows(self, indices: Int64[Tensor, " b"]) -> Float[Tensor, "b d"]:
        """Return prototypes in the order asked for, in float32 on the CPU.

        Args:
            indices: row numbers, from 0 to the bank's length less one.

        Raises:
            IndexError: a number is outside that range.
            IntegrityError: a shard has been removed or cut short since the bank was opened.
        """
        wanted = indices.cpu().numpy()
        if len(wanted) and not 0 <= wanted.min() <= wanted.max() < len(self):
            raise IndexError(f"rows {wanted.min()} to {wanted.max()} of a bank of {len(self)} prototypes")
        return torch.from_numpy(self._mapped.gather(wanted))

    def lengths(self) -> Float[Tensor, " n"]:
        """Return the length r of every prototype."""
        return torch.cat([self._lengths(entry) for entry in self.manifest["shards"]])

    def _lengths(self, entry: dict[str, Any]) -> Float[Tensor, " n"]:
        return open_shard(self.folder, entry, verify=False)["lengths"].clone()

    def _check(self, entry: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Refuse a shard whose tensors are not those that the manifest promises."""
        expected = {"prototypes": (entry["rows"], self.width), "lengths": (entry["rows"],)}
        found = {name: tuple(tensor.shape) for name, tensor in tensors.items() if tensor.dtype == torch.float32}
        if found != expected:
            raise IntegrityError(
                "a shard does not hold what the manifest says",
                where=self.folder / entry["file"],
                expected=", ".join(f"{name} {shape}" for name, shape in expected.items()),
                fix="make the bank again",
            )
