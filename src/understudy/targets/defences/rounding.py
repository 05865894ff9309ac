"""Answers rounded to few decimals."""

from typing import Annotated, ClassVar

import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor

from understudy.targets.defences.base import Client, Defence


class Rounding(Defence):
    """Round every number to q decimals, halves to the even neighbour, as NumPy and PyTorch round.

    In wide unit rows a typical number is near 1/√d: 0.044 for d = 512, so that with q = 1 most of them become 0.

    Wu et al.: Refine, Discriminate and Align (RDA). ECCV 2024, arXiv 2312.00855, whose released code has q = 1.
    """

    name: ClassVar[str] = "rounding"
    main: ClassVar[str | None] = "decimals"
    summary: ClassVar[str] = "rounds every number to a few decimals"
    random: ClassVar[bool] = False
    personal: ClassVar[bool] = False
    keeps_unit_norm: ClassVar[bool] = False

    decimals: Annotated[int, Field(ge=0, le=16)]
    """Decimals that are kept [q]; 8 and more leave unit rows in float32 as they are."""

    def transform(
        self,
        z: Float[Tensor, "b d"],
        *,
        keys: Int64[Tensor, " b"],  # noqa: ARG002
        client: Client,  # noqa: ARG002
    ) -> Float[Tensor, "b d"]:
        """Return `z` rounded; see `Defence.transform`."""
        return torch.round(z, decimals=self.decimals)
