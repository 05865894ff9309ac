"""Answers shuffled in an order that each client has of its own."""

from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from understudy.targets.defences._draws import secret_draws
from understudy.targets.defences.base import Client, Defence


class Permutation(Defence):
    """Shuffle the numbers of the answers, in an order that is another for each client and the same in all its answers.

    The cheapest of the rotations: lengths and angles among one client's answers stay, pooled accounts do not fit.

    The shuffle of the transformations of Dubiński et al.: Bucks for Buckets (B4B). NeurIPS 2023, arXiv 2310.08571.
    """

    name: ClassVar[str] = "permutation"
    summary: ClassVar[str] = "shuffles the numbers in a secret order, another for each client"
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
        """Return `z` with its columns shuffled; see `Defence.transform`."""
        order = secret_draws(client.seed, "permutation").permutation(z.shape[1])
        return z[:, torch.from_numpy(order).long()]
