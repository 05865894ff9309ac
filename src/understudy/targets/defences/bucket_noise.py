"""Noise that all answers of one neighbourhood share."""

from functools import lru_cache
from pathlib import Path
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor

from understudy.errors import ConfigError
from understudy.runs.tensors import load_tensors, save_tensors
from understudy.targets.defences._buckets import bucket_of
from understudy.targets.defences._draws import normal_rows
from understudy.targets.defences.base import Client, Defence

_CENTRES = ("none", "row")


class BucketNoise(Defence):
    """Add Gaussian noise that is a function of the answer's neighbourhood: z + σ·ε(bucket of z).

    The bucket is a sign hash of the clean answer with secret hyperplanes. Views of one image mostly fall into one
    bucket and get the same noise, which their mean therefore keeps, while fresh noise shrinks with √n. Where the
    embeddings crowd in a cone, as those behind a ReLU do, they fall into few buckets; `centre` spreads them, and
    spreads the views of an image as well.

    An instantiation of ours; whether it pays is for the audit to say.
    """

    name: ClassVar[str] = "bucket_noise"
    main: ClassVar[str | None] = "sigma"
    summary: ClassVar[str] = "adds noise that similar answers share, so that it does not average out"
    random: ClassVar[bool] = False
    personal: ClassVar[bool] = True
    keeps_unit_norm: ClassVar[bool] = False

    sigma: Annotated[float, Field(ge=0, le=1e6)]
    """Standard deviation of the noise on each number [σ]; 0 adds none."""
    bits: Annotated[int, Field(ge=1, le=32)] = 12
    """Hyperplanes, for 2^bits buckets; fewer make coarser neighbourhoods."""
    centre: str = "none"
    """What is taken off a row before it is hashed: none, row (its own mean), or the path of a file of save_centre."""

    def check(self, d: int) -> None:
        """Refuse a file that is none, or holds the centre of rows of another width; see `Defence.check`."""
        if self.centre not in _CENTRES and (found := len(_load_centre(self.centre))) != d:
            raise ConfigError(
                f"a centre of {found} numbers for answers of {d}",
                where=f"{self.centre}, defence {self.name}",
                expected=f"the mean of embeddings of width {d}",
                fix="make it again with save_centre, from this target's embeddings",
            )

    def transform(self, z: Float[Tensor, "b d"], *, keys: Int64[Tensor, " b"], client: Client) -> Float[Tensor, "b d"]:  # noqa: ARG002
        """Return z + σ·ε, with ε a function of (client, bucket); see `Defence.transform`."""
        if self.sigma == 0:
            return z.clone()
        buckets = bucket_of(self._centred(z), seed=client.seed, name=self.name, planes=self.bits)[:, 0]
        met, which = torch.unique(buckets, return_inverse=True)
        return z + self.sigma * normal_rows(client.seed, self.name, met, z.shape[1]).to(z)[which]

    def _centred(self, z: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        if self.centre == "row":
            return z - z.mean(dim=1, keepdim=True)
        return z if self.centre == "none" else z - _load_centre(self.centre).to(z)


def save_centre(path: Path, embeddings: Float[Tensor, "n d"]) -> None:
    """Write the mean of embeddings for `BucketNoise.centre`.

    Args:
        path: file to write, for example centre.safetensors; a spec cannot name it if it holds a comma or a plus.
        embeddings: of the owner's data, as the defence will meet them: unit rows, if answers are normalised.
    """
    save_tensors(path, {"mean": embeddings.double().mean(dim=0).float()}, {"rows": len(embeddings)})


@lru_cache(maxsize=8)
def _load_centre(path: str) -> Float[Tensor, " d"]:
    tensors, _ = load_tensors(Path(path))
    mean = tensors.get("mean")
    if mean is None or mean.dim() != 1:
        raise ConfigError("this file holds no centre", where=path, expected="a file of save_centre")
    return mean.to(torch.float32)
