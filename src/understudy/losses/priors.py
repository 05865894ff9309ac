"""Terms that judge an input alone."""

from jaxtyping import Float
from torch import Tensor


def total_variation(x: Float[Tensor, "batch ..."]) -> Float[Tensor, " batch"]:
    """Return the anisotropic L1 total variation of each sample.

    The mean absolute difference of vertical neighbours plus that of horizontal neighbours, averaged over
    channels: the prior of CAKE's released code, whose means run over each direction separately.

    Args:
        x: samples. Shape (batch, channels, height, width), any range.

    Returns:
        One non-negative value a sample, in units of x; zero for inputs without two spatial dimensions, and
        nothing from a direction of size one.
    """
    per_sample = x.new_zeros(len(x))
    if x.ndim < 4:
        return per_sample
    for axis in (-2, -1):
        if x.shape[axis] > 1:
            per_sample = per_sample + x.diff(dim=axis).abs().flatten(1).mean(dim=1)
    return per_sample
