"""Rows to defend, and the defending of rows."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from understudy.targets.defences import Client, parse_defences


@pytest.fixture(scope="session")
def unit_rows() -> Callable[..., Tensor]:
    """Return a function that makes unit rows of signed Gaussian, half-normal or exponential numbers."""

    def unit_rows(count: int, d: int, *, seed: int = 0, kind: str = "gaussian") -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randn(count, d, generator=generator)
        if kind == "half-normal":
            rows = rows.abs()
        if kind == "exponential":
            rows = torch.empty(count, d).exponential_(generator=generator)
        return rows / rows.norm(dim=1, keepdim=True)

    return unit_rows


@pytest.fixture(scope="session")
def defend() -> Callable[..., Tensor]:
    """Return a function that sends rows through a chain, for a new client unless one is given."""

    def defend(spec: str, z: Tensor, *, keys: Tensor | None = None, client: Client | None = None) -> Tensor:
        who = client if client is not None else Client(0)
        named = torch.arange(len(z)) if keys is None else keys
        for defence in parse_defences(spec):
            defence.check(z.shape[1])
            z = defence.transform(z, keys=named, client=who)
        return z

    return defend
