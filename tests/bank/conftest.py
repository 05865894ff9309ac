"""Small banks of two shards, and small banks of answers with a teacher that counts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from understudy.bank import AnswerBank, BankWriter, StorageType, rounded

MakeBank = Callable[..., Path]

SHAPE = (2, 3, 4)


@pytest.fixture
def make_bank(tmp_path: Path) -> MakeBank:
    """Return a function that writes a bank of shards with 5 and 3 rows, whose logits say which row is which."""

    def make_bank(storage: StorageType = "float32", *, finish: bool = True, shape: tuple[int, ...] = SHAPE) -> Path:
        folder = tmp_path / f"bank_{storage}"
        about = {"shape": list(shape), "classes": 3, "mean": [0.5] * shape[0], "std": [0.25] * shape[0]}
        writer = BankWriter(folder, storage=storage, about=about)
        start = 0
        for shard, rows in enumerate((5, 3)):
            generator = torch.Generator().manual_seed(shard)
            inputs = rounded(torch.randn(rows, *shape, generator=generator) * 3, storage)
            number = torch.arange(start, start + rows)
            logits = torch.nn.functional.one_hot(number % 3, 3).float() * (1 + number[:, None])
            writer.write(shard, inputs, answers={"logits": logits, "row": number}, record={"shard": shard})
            start += rows
        if finish:
            writer.finish(2)
        return folder

    return make_bank


class Teacher:
    """Answers for keys with numbers that float16 does not hold as they are, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def logits(self, keys: Tensor) -> Tensor:
        return torch.stack([(keys + 1) / 3, -(keys + 1) / 7, (keys + 1).sqrt()], dim=1).float()

    def serve(self, bank: AnswerBank, keys: list[int]) -> Tensor:
        """Return what the bank gives for keys, asking this teacher for what it does not have."""
        wanted = torch.tensor(keys, dtype=torch.int64)

        def ask(positions: Tensor) -> Tensor:
            self.asked.append(wanted[positions].tolist())
            return self.logits(wanted[positions])

        return bank.get(wanted, ask)


@pytest.fixture
def teacher() -> Teacher:
    return Teacher()


class AnswerBanks:
    """Banks of 6 rows with 18 views each, keys 0 to 107, answers 3 wide."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def open(self, folder: str = "bank", **changes: Any) -> AnswerBank:
        """Return a bank as it is before its first step, or goes on."""
        given = {"teacher": "t" * 64, "data": "d" * 64, "rows": 6, "views": 18, "classes": 3}
        return AnswerBank(self.place / folder, **{**given, **changes})

    def begun(self, folder: str = "bank", **changes: Any) -> AnswerBank:
        """Return a bank at a fresh start."""
        bank = self.open(folder, **changes)
        bank.restore(0, {})
        return bank

    def finished(self, folder: str, keys: list[int], **changes: Any) -> Path:
        """Return the folder of a finished bank that was asked for these keys."""
        bank = self.begun(folder, **changes)
        Teacher().serve(bank, keys)
        bank.state(1)
        bank.finish()
        return bank.folder

    def files(self, folder: str = "bank") -> dict[str, bytes]:
        """Return the bytes of every file of a bank."""
        return {path.name: path.read_bytes() for path in sorted((self.place / folder).iterdir())}


@pytest.fixture
def banks(tmp_path: Path) -> AnswerBanks:
    return AnswerBanks(tmp_path)
