"""Answers with all but their largest numbers zeroed."""

from typing import ClassVar

from jaxtyping import Float, Int64
from pydantic import PositiveInt
from torch import Tensor

from understudy.errors import ConfigError
from understudy.targets.defences.base import Client, Defence


class TopK(Defence):
    """Keep the k largest numbers of an answer, and put 0 in the place of the others.

    Largest by value and not by magnitude: of signed embeddings large negative numbers are dropped. Of equal numbers
    the first ones are kept.

    Wu et al.: Refine, Discriminate and Align (RDA). ECCV 2024, arXiv 2312.00855, whose released code has k = 5.
    """

    name: ClassVar[str] = "topk"
    main: ClassVar[str | None] = "k"
    summary: ClassVar[str] = "keeps the largest numbers and zeroes the others"
    random: ClassVar[bool] = False
    personal: ClassVar[bool] = False
    keeps_unit_norm: ClassVar[bool] = False

    k: PositiveInt
    """Numbers that are kept."""

    def check(self, d: int) -> None:
        """Refuse to keep more numbers than a row has; see `Defence.check`."""
        if self.k > d:
            raise ConfigError(
                f"cannot keep the {self.k} largest of {d} numbers",
                where=f"defence topk:{self.k}",
                expected=f"1 to {d}, the width of the answers",
            )

    def transform(
        self,
        z: Float[Tensor, "b d"],
        *,
        keys: Int64[Tensor, " b"],  # noqa: ARG002
        client: Client,  # noqa: ARG002
    ) -> Float[Tensor, "b d"]:
        """Return `z` with its k largest numbers; see `Defence.transform`."""
        least = z.topk(self.k, dim=1).values[:, -1:]
        above, equal = z > least, z == least
        room = self.k - above.sum(dim=1, keepdim=True)  # for so many of the numbers that equal the least
        return z.where(above | (equal & (equal.cumsum(dim=1) <= room)), 0)
