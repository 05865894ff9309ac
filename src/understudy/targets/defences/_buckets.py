"""Where a row lies in the space of embeddings, coarsely: sign hashing with secret hyperplanes."""

from functools import lru_cache

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from understudy.targets.defences._draws import secret_draws


def bucket_of(
    z: Float[Tensor, "b d"], *, seed: int, name: str, planes: int, sets: int = 1
) -> Int64[Tensor, "b {sets}"]:
    """Return the bucket of each row under each set of hyperplanes: bit k says on which side of plane k it lies.

    Charikar: Similarity Estimation Techniques from Rounding Algorithms. STOC 2002. The side does not change with the
    length of a row; a row of zeros lies in bucket 0.

    Args:
        z: rows. Shape (b, d).
        seed: the client's; the planes are its secret.
        name: of the defence.
        planes: hyperplanes of a set, so that there are 2^planes buckets.
        sets: independent sets of hyperplanes.
    """
    normals = _normals(seed, name, sets * planes, z.shape[1])
    above = (z.double() @ normals > 0).view(len(z), sets, planes)  # float64: no sum changes its sign with the batch
    return (above << torch.arange(planes)).sum(dim=2)


@lru_cache(maxsize=8)
def _normals(seed: int, name: str, count: int, d: int) -> Float64[Tensor, "{d} {count}"]:
    return torch.from_numpy(secret_draws(seed, f"{name}/planes").standard_normal((count, d))).T.contiguous()
