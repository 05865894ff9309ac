"""Fresh noise on every answer."""

from typing import Annotated, ClassVar

from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor

from understudy.targets.defences._draws import normal_rows
from understudy.targets.defences.base import Client, Defence


class Noise(Defence):
    """Add Gaussian noise to every number of every answer: z + ε, ε ~ N(μ, σ²), drawn anew for each query.

    The noise of a row has length σ√d in the root mean square, against a unit row. A client who averages n views of an
    image divides it by √n.

    Wu et al.: Refine, Discriminate and Align (RDA). ECCV 2024, arXiv 2312.00855, whose released code has σ = 0.5.
    """

    name: ClassVar[str] = "noise"
    main: ClassVar[str | None] = "sigma"
    summary: ClassVar[str] = "adds fresh Gaussian noise to every answer"
    random: ClassVar[bool] = True
    personal: ClassVar[bool] = True
    keeps_unit_norm: ClassVar[bool] = False

    sigma: Annotated[float, Field(ge=0, le=1e6)]
    """Standard deviation of the noise on each number [σ]; 0 adds none."""
    mu: Annotated[float, Field(ge=-1e6, le=1e6)] = 0.0
    """Mean of the noise [μ]."""

    def transform(self, z: Float[Tensor, "b d"], *, keys: Int64[Tensor, " b"], client: Client) -> Float[Tensor, "b d"]:
        """Return z + μ + σ·ε, with ε a function of (client, key); see `Defence.transform`."""
        if self.sigma == 0:
            return z + self.mu
        noise = normal_rows(client.seed, self.name, keys, z.shape[1]).to(z)
        return z + (self.mu + self.sigma * noise)
