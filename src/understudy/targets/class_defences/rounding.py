"""Answers rounded to few decimals."""

from typing import Annotated, ClassVar

import torch
from jaxtyping import Float, Float64, Int64
from pydantic import Field
from torch import Tensor

from understudy.targets.class_defences.base import ClassDefence


class Rounding(ClassDefence):
    """Round every probability to q decimals and renormalise: ỹ = round(y, q) / Σ round(y, q).

    The rows are renormalised, so that what is served are probabilities; rows whose rounded numbers sum to 1 are served
    as they were rounded. A row that rounds to zeros (possible for many classes: of 100 equal ones none survives one
    decimal) tells nothing, and is served as the uniform row. Two classes may become equal, so that the top-1 may
    change.

    Tramèr et al.: Stealing Machine Learning Models via Prediction APIs. USENIX Security 2016, arXiv 1609.02943.
    """

    name: ClassVar[str] = "rounding"
    main: ClassVar[str | None] = "decimals"
    summary: ClassVar[str] = "rounds every probability to a few decimals and renormalises"
    random: ClassVar[bool] = False
    personal: ClassVar[bool] = False
    reference: ClassVar[str] = "Tramèr et al. 2016"

    decimals: Annotated[int, Field(ge=0, le=16)]
    """Decimals that are kept [q]."""

    @property
    def keeps_top1(self) -> bool:
        """Never for sure: rounding makes near classes equal; see `ClassDefence.keeps_top1`."""
        return False

    def serve(
        self,
        y: Float64[Tensor, "b k"],
        *,
        images: Float[Tensor, " b *input"] | None,  # noqa: ARG002
        keys: Int64[Tensor, " b"],  # noqa: ARG002
        seed: int,  # noqa: ARG002
        memory: dict[str, Tensor],  # noqa: ARG002
    ) -> Float64[Tensor, "b k"]:
        """Return `y` rounded and renormalised; see `ClassDefence.serve`."""
        rounded = torch.round(y, decimals=self.decimals)
        total = rounded.sum(dim=1, keepdim=True)
        empty = total == 0
        uniform = torch.full_like(y, 1 / y.shape[1])
        return uniform.where(empty, rounded / total.masked_fill(empty, 1.0))
