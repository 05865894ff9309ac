"""Targets whose every answer is known beforehand, and which fail when they are told to."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from understudy.targets import Access, Ledger, Target

SHAPE = (1, 2, 2)
Fault = Callable[[Tensor], object]


class Known(Target):
    """Answers with a fixed linear map of the pixels; `script` holds what happens instead, one entry a call."""

    name = "known"
    input_shape = SHAPE

    def __init__(self, width: int = 3, access: Access = Access.EMBEDDINGS) -> None:
        self.access = access
        self.width = width
        self.identity = f"known-{width}"
        self.script: list[Fault | None] = []
        self.calls: list[Tensor] = []
        self.map = torch.arange(1, 4 * width + 1).reshape(4, width).float().sin()  # of both signs

    def answer(self, images: Tensor) -> Tensor:
        self.calls.append(images.clone())
        fault = self.script.pop(0) if self.script else None
        return self.plain(images) if fault is None else fault(images)  # type: ignore[return-value]

    def plain(self, images: Tensor) -> Tensor:
        # Written as a sum, whose result for a row cannot depend on the other rows.
        return (images.reshape(len(images), 4, 1) * self.map).sum(dim=1)

    def unit(self, images: Tensor) -> Tensor:
        """What an undefended endpoint gives, by an independent float64 computation."""
        pixels = images.reshape(len(images), 4).double().numpy()
        rows = np.stack([sum(p * m for p, m in zip(row, self.map.double().numpy(), strict=True)) for row in pixels])
        return torch.from_numpy(rows / np.linalg.norm(rows, axis=1, keepdims=True)).float()

    @property
    def rows(self) -> int:
        """Rows that the target evaluated."""
        return sum(len(call) for call in self.calls)


@pytest.fixture
def known() -> Known:
    return Known()


@pytest.fixture
def pictures() -> Callable[..., Tensor]:
    """Return a function that makes different images in (0, 1), the same ones for the same numbers."""

    def pictures(count: int, *, first: int = 0) -> Tensor:
        numbers = torch.arange(first, first + count).float()
        return torch.stack([(numbers * step + 1) / 10_007 % 1 for step in (1, 7, 31, 101)], dim=1).reshape(-1, *SHAPE)

    return pictures


@pytest.fixture
def open_ledger(tmp_path: Path) -> Iterator[Callable[..., Ledger]]:
    """Return a function that opens the test's ledger, of the known target unless another is named."""
    opened: list[Ledger] = []

    def open_ledger(
        budget: int | None = None,
        *,
        name: str = "ledger",
        target: str = "known-3",
        width: int = 3,
        **more: int | None,
    ) -> Ledger:
        budgets = {"extraction": budget, **more}
        ledger = Ledger(tmp_path / f"{name}.sqlite", target=target, width=width, budgets=budgets)  # type: ignore[arg-type]
        opened.append(ledger)
        return ledger

    yield open_ledger
    for ledger in opened:
        ledger.close()
