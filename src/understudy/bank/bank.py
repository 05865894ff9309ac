"""Reading a bank: memory-mapped shards, or all of it on the device where it is small."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from understudy.bank._manifest import SAMPLES, read_manifest
from understudy.bank._shards import open_shard
from understudy.bank.storage import decode

_RESIDENT_BYTES = {"cpu": 256 << 20}
_RESIDENT_BYTES_ELSEWHERE = 2 << 30
_COLUMNS = ("inputs", "low", "scale", "logits")


@dataclass(frozen=True)
class BankRows:
    """Some rows of a bank on the device."""

    inputs: Float[Tensor, "n ..."]
    """In the coordinates that the manifest names; channels-last where they are images."""
    logits: Float[Tensor, "n classes"]
    """The teacher's answers, float32."""


class Bank:
    """A finished bank.

    Args:
        folder: the bank's folder.
        verify: compare each shard with the manifest's SHA-256.
        kind: what the bank must hold.
        device: where rows are wanted; a bank under 256 MiB (2 GiB on an accelerator) is kept there whole, a larger
            one stays memory-mapped.

    Raises:
        IntegrityError: the bank is missing, unfinished, altered or cut short.
    """

    def __init__(
        self, folder: Path | str, *, verify: bool = True, kind: str = SAMPLES, device: torch.device | str = "cpu"
    ) -> None:
        self.folder = Path(folder)
        self.device = torch.device(device)
        self.manifest: dict[str, Any] = read_manifest(self.folder, kind=kind)
        self._shards: list[dict[str, Tensor]] = [
            open_shard(self.folder, entry, verify=verify) for entry in self.manifest["shards"]
        ]
        ends = torch.tensor([len(shard["inputs"]) for shard in self._shards]).cumsum(0)
        self._starts = torch.cat([ends.new_zeros(1), ends])
        self._resident: dict[str, Tensor] = {}
        if self.bytes <= _RESIDENT_BYTES.get(self.device.type, _RESIDENT_BYTES_ELSEWHERE):
            kept = [name for name in _COLUMNS if name in self._shards[0]]
            self._resident = {name: torch.cat([shard[name] for shard in self._shards]).to(self.device) for name in kept}

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def bytes(self) -> int:
        """Size of the shards on disk."""
        return sum(entry["bytes"] for entry in self.manifest["shards"])

    def column(self, name: str) -> Tensor:
        """Return one column whole, such as "logits", "targets" or "step_size", on the CPU."""
        return torch.cat([shard[name].cpu() for shard in self._shards])

    def rows(self, indices: Int[Tensor, " n"]) -> BankRows:
        """Return rows in the order asked for.

        Args:
            indices: row numbers on the CPU, from 0 to the bank's length less one.
        """
        if self._resident:
            place = indices.to(self.device)
            gathered = {name: column[place] for name, column in self._resident.items()}
        else:
            gathered = self._from_file(indices)
        inputs = decode(gathered)
        if inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        return BankRows(inputs, gathered["logits"].float())

    def _from_file(self, indices: Int[Tensor, " n"]) -> dict[str, Tensor]:
        """Return the columns of some rows, read shard by shard and put in the order asked for."""
        owner = torch.bucketize(indices, self._starts[1:], right=True)
        parts: dict[str, list[Tensor]] = {}
        for shard in sorted(set(owner.tolist())):
            local = indices[owner == shard] - self._starts[shard]
            for name in _COLUMNS:
                if name in self._shards[shard]:
                    parts.setdefault(name, []).append(self._shards[shard][name][local])
        back = torch.argsort(torch.argsort(owner, stable=True))
        return {name: torch.cat(pieces)[back].to(self.device) for name, pieces in parts.items()}

    def preview(self, per_class: int = 8) -> dict[int, UInt8[Tensor, "n c h w"]]:
        """Return up to `per_class` samples of each class that the teacher sees, spread over the bank.

        Images are taken back to [0, 1] pixels, clamped and given as bytes.
        """
        seen = self.column("logits").argmax(dim=1)
        mean, std = (torch.tensor(self.manifest[name]).view(1, -1, 1, 1) for name in ("mean", "std"))
        pictures = {}
        for label in range(self.manifest["classes"]):
            found = (seen == label).nonzero().flatten()
            spread = torch.linspace(0, len(found) - 1, min(per_class, len(found))).round().long()
            inputs = self.rows(found[spread]).inputs.cpu() if len(found) else torch.zeros(0, *self.manifest["shape"])
            pictures[label] = ((inputs * std + mean).clamp(0, 1) * 255).round().to(torch.uint8)
        return pictures
