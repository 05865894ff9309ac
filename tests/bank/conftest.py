"""Small banks of two shards."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from understudy.bank import BankWriter, StorageType, rounded

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
