"""Answers cut to their first numbers."""

from typing import ClassVar

from jaxtyping import Float, Int64
from pydantic import PositiveInt
from torch import Tensor

from understudy.errors import ConfigError
from understudy.targets.defences.base import Client, Defence


class Truncate(Defence):
    """Keep the first d' numbers of an answer and leave the others away: rows become narrower.

    A restriction of the output, as by Dziedzic et al.: On the Difficulty of Defending Self-Supervised Learning against
    Model Extraction. ICML 2022, arXiv 2205.07890.
    """

    name: ClassVar[str] = "truncate"
    main: ClassVar[str | None] = "numbers"
    summary: ClassVar[str] = "gives the first numbers of every answer only"
    random: ClassVar[bool] = False
    personal: ClassVar[bool] = False
    keeps_unit_norm: ClassVar[bool] = False

    numbers: PositiveInt
    """Numbers that are kept [d']."""

    def width(self, d: int) -> int:  # noqa: ARG002
        """Return d'; see `Defence.width`."""
        return self.numbers

    def check(self, d: int) -> None:
        """Refuse to keep more numbers than a row has; see `Defence.check`."""
        if self.numbers > d:
            raise ConfigError(
                f"cannot keep the first {self.numbers} of {d} numbers",
                where=f"defence truncate:{self.numbers}",
                expected=f"1 to {d}, the width of the answers",
            )

    def transform(
        self,
        z: Float[Tensor, "b d"],
        *,
        keys: Int64[Tensor, " b"],  # noqa: ARG002
        client: Client,  # noqa: ARG002
    ) -> Float[Tensor, "b e"]:
        """Return the first columns of `z`; see `Defence.transform`."""
        return z[:, : self.numbers].clone()
