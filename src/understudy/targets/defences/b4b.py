"""Coverage pricing: who sees more of the space of embeddings gets more noise (B4B)."""

import math
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from pydantic import Field, NonNegativeInt, model_validator
from torch import Tensor

from understudy.errors import ConfigError
from understudy.targets.defences._buckets import bucket_of
from understudy.targets.defences._draws import normal_rows, secret_draws
from understudy.targets.defences.base import Client, Defence


def noise_level(coverage: Float64[Tensor, "*any"], *, lam: float, alpha: float, beta: float) -> Float64[Tensor, "*any"]:
    """Return the noise's standard deviation σ(C) = max(0, λ·(exp(ln(α/λ)·C/β) - 1)).

    Dubiński et al.: Bucks for Buckets (B4B). NeurIPS 2023, arXiv 2310.08571.

    Args:
        coverage: share of the buckets that a client has seen, in per cent [C].
        lam: curvature [λ], 0 < λ < α.
        alpha: level that is reached, but for λ, at the coverage β [α].
        beta: coverage at which the noise becomes large, in per cent [β].

    Example:
        >>> level = noise_level(torch.tensor(80.0, dtype=torch.float64), lam=1e-6, alpha=0.8, beta=80.0)
        >>> round(float(level), 6)
        0.799999
    """
    return (lam * torch.expm1(math.log(alpha / lam) * coverage / beta)).clamp_min(0)


class B4B(Defence):
    """Add noise that grows with the share of the embedding space that a client has seen, then transform in secret.

    Every answer falls into one of 2^planes buckets by a sign hash, under each of `draws` independent sets of secret
    hyperplanes. C is the share of the buckets that this client has occupied, in per cent, over all sets; an answer
    counts itself and what came before it. It gets fresh noise N(0, σ(C)²) on each number, see `noise_level`. Clients
    with one task stay in a corner of the space, who copies an encoder must roam through it.

    The secret transform keeps accounts from pooling their answers. affine: every number scaled and shifted, each by
    factors uniform in [-1, 1], `padding` constant numbers added, all of them shuffled. binary: the sides of 2d random
    hyperplanes, as 0 and 1. Each is fixed for a client.

    Dubiński et al.: Bucks for Buckets (B4B): Active Defenses against Stealing Encoders. NeurIPS 2023, arXiv
    2310.08571. The paper's own length of the padding is not known to us; 16 is our choice.
    """

    name: ClassVar[str] = "b4b"
    summary: ClassVar[str] = "adds noise that grows with the share of the embedding space that a client has seen"
    random: ClassVar[bool] = True
    personal: ClassVar[bool] = True
    keeps_unit_norm: ClassVar[bool] = False

    lam: Annotated[float, Field(gt=0, le=1)] = 1e-6
    """Curvature of the noise over coverage [λ]."""
    alpha: Annotated[float, Field(gt=0, le=1000)] = 0.8
    """Standard deviation of the noise at the coverage beta [α]."""
    beta: Annotated[float, Field(gt=0, le=100)] = 80.0
    """Coverage at which the noise becomes large, in per cent [β]."""
    planes: Annotated[int, Field(ge=1, le=16)] = 12
    """Hyperplanes of a set, for 2^planes buckets."""
    draws: Annotated[int, Field(ge=1, le=100)] = 20
    """Independent sets of hyperplanes, over which coverage is averaged."""
    secret: Literal["none", "affine", "binary"] = "none"
    """The transform that each client has of its own."""
    padding: Annotated[NonNegativeInt, Field(le=65536)] = 16
    """Constant numbers that affine adds to a row."""

    @model_validator(mode="after")
    def _noise_stays_a_number(self) -> "B4B":
        if self.lam >= self.alpha:
            raise ValueError(f"lam ({self.lam}) must be below alpha ({self.alpha})")
        highest = math.log(self.lam) + math.log(self.alpha / self.lam) * 100 / self.beta
        if highest > math.log(1e15):  # squares of float32 overflow beyond
            raise ValueError(f"beta ({self.beta}) is so small that the noise explodes at full coverage; raise it")
        return self

    def width(self, d: int) -> int:
        """Return the length of a transformed row; see `Defence.width`."""
        return {"none": d, "affine": d + self.padding, "binary": 2 * d}[self.secret]

    def coverage(self, client: Client) -> float:
        """Return the share of the buckets that a client has occupied so far, in per cent."""
        return 100 * float(self._memory(client).double().mean())

    def transform(self, z: Float[Tensor, "b d"], *, keys: Int64[Tensor, " b"], client: Client) -> Float[Tensor, "b e"]:
        """Return `z` with noise priced by coverage, and transformed; remembers its buckets; see `Defence.transform`."""
        buckets = bucket_of(z, seed=client.seed, name=self.name, planes=self.planes, sets=self.draws)
        level = noise_level(self._occupy(buckets, client), lam=self.lam, alpha=self.alpha, beta=self.beta)
        noisy = z.double() + level[:, None] * normal_rows(client.seed, self.name, keys, z.shape[1])
        return self._disguised(noisy, client.seed).to(z)

    def _memory(self, client: Client) -> Tensor:
        shape = (self.draws, 2**self.planes)
        memory = client.memory.get(self.name)
        if memory is None:
            return torch.zeros(shape, dtype=torch.uint8)
        if memory.shape != shape:
            raise ConfigError(
                f"this client's memory has the shape {tuple(memory.shape)}",
                where=f"defence {self.name}",
                expected=f"{shape}: draws and 2^planes buckets",
                fix="use the options that the client was served with, or a new ledger",
            )
        return memory

    def _occupy(self, buckets: Int64[Tensor, "b draws"], client: Client) -> Float64[Tensor, " b"]:
        """Remember the buckets of rows in their order; return the coverage in per cent after each row."""
        memory = self._memory(client)
        cells = buckets + torch.arange(self.draws) * 2**self.planes  # into the memory laid out flat
        seen = np.flatnonzero(memory.numpy())
        met, first = np.unique(cells.numpy(), return_index=True)  # of each cell, its first place in (row, draw)
        rows = first[~np.isin(met, seen, assume_unique=True)] // self.draws
        added = torch.from_numpy(np.bincount(rows, minlength=len(buckets))).cumsum(0)
        grown = memory.flatten().clone()
        grown[torch.from_numpy(met)] = 1
        client.memory[self.name] = grown.view_as(memory)
        return 100 * (len(seen) + added.double()) / memory.numel()

    def _disguised(self, z: Float64[Tensor, "b d"], seed: int) -> Float64[Tensor, "b e"]:
        d = z.shape[1]
        draws = secret_draws(seed, f"{self.name}/{self.secret}")
        if self.secret == "affine":
            scale, shift = torch.from_numpy(draws.uniform(-1, 1, (2, d)))
            constants = torch.from_numpy(draws.uniform(-1, 1, self.padding)).expand(len(z), -1)
            order = torch.from_numpy(draws.permutation(d + self.padding)).long()
            return torch.cat([z * scale + shift, constants], dim=1)[:, order]
        if self.secret == "binary":
            return (z @ torch.from_numpy(draws.standard_normal((d, 2 * d))) > 0).double()
        return z
