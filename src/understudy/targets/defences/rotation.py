"""Answers turned by a rotation that each client has of its own."""

from functools import lru_cache
from typing import ClassVar

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from understudy.targets.defences._draws import secret_draws
from understudy.targets.defences.base import Client, Defence


class Rotation(Defence):
    """Turn the answers by a random orthogonal matrix, another for each client: z' = zQ.

    Lengths and angles among one client's answers stay as they are, so that an honest client loses nothing; accounts
    that pool their answers find that these do not fit together.

    Q is uniform over all orthogonal matrices: the QR decomposition of a Gaussian matrix with the signs of R's diagonal
    moved into Q. Mezzadri: How to Generate Random Matrices from the Classical Compact Groups. Notices of the AMS 54,
    2007.
    """

    name: ClassVar[str] = "rotation"
    summary: ClassVar[str] = "turns the answers by a secret rotation, another for each client"
    random: ClassVar[bool] = False
    personal: ClassVar[bool] = True
    keeps_unit_norm: ClassVar[bool] = True

    def transform(
        self,
        z: Float[Tensor, "b d"],
        *,
        keys: Int64[Tensor, " b"],  # noqa: ARG002
        client: Client,
    ) -> Float[Tensor, "b d"]:
        """Return `z` turned; see `Defence.transform`."""
        return (z.double() @ _orthogonal(client.seed, z.shape[1])).to(z)


@lru_cache(maxsize=8)
def _orthogonal(seed: int, d: int) -> Float64[Tensor, "{d} {d}"]:
    gaussian = torch.from_numpy(secret_draws(seed, "rotation").standard_normal((d, d)))
    q, r = torch.linalg.qr(gaussian)
    turned: Tensor = q * r.diagonal().sign()
    return turned
