"""Answers quantised to few bits a number."""

from typing import Annotated, ClassVar

from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor

from understudy.targets.defences.base import Client, Defence


class Quantise(Defence):
    """Quantise every number to b bits: the middle of its cell, of 2^b equal cells over [-limit, limit].

    code = ⌊(z + limit) / step⌋, clipped to 0 … 2^b - 1, and z' = -limit + (code + ½)·step, with step = 2·limit / 2^b.
    The range is fixed, so that a code means the same in every answer; numbers outside it take its end cells. There is
    no level at 0: with one bit every number becomes ±limit/2, its sign (of 0: plus).

    The levels are those of the mid-rise quantiser: Gersho, Gray: Vector Quantization and Signal Compression, 1992.
    """

    name: ClassVar[str] = "quantise"
    main: ClassVar[str | None] = "bits"
    summary: ClassVar[str] = "quantises every number to a few bits"
    random: ClassVar[bool] = False
    personal: ClassVar[bool] = False
    keeps_unit_norm: ClassVar[bool] = False

    bits: Annotated[int, Field(ge=1, le=16)]
    """Bits a number [b]."""
    limit: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """End of the range; 1 holds every number of a unit row, less is finer where rows are wide."""

    def transform(
        self,
        z: Float[Tensor, "b d"],
        *,
        keys: Int64[Tensor, " b"],  # noqa: ARG002
        client: Client,  # noqa: ARG002
    ) -> Float[Tensor, "b d"]:
        """Return `z` quantised; see `Defence.transform`."""
        cells = 2**self.bits
        step = 2 * self.limit / cells
        code = ((z.double() + self.limit) / step).floor().clamp(0, cells - 1)
        levels: Tensor = (code + 0.5) * step - self.limit
        return levels.to(z)
