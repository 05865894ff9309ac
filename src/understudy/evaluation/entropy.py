"""How undecided a classifier's answers are, at the temperatures that distillation softens them by."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

TEMPERATURES = (1, 4, 20)


def mean_entropy(
    logits: Float[Tensor, "n k"], *, temperatures: Sequence[int | float] = TEMPERATURES
) -> dict[str, float]:
    """Return the mean entropy of softmax(logits / T) for each T, in nats, computed in float64.

    Args:
        logits: raw scores; the logarithms of probabilities will do, with a floor under those of 0. Shape (n, k).
        temperatures: T > 0.

    Returns:
        By temperature as text, such as "4"; each in [0, ln k].
    """
    wide = logits.detach().cpu().double()
    return {f"{t:g}": mean_row_entropy(torch.softmax(wide / t, dim=1)) for t in temperatures}


def mean_row_entropy(probabilities: Float[Tensor, "n k"]) -> float:
    """Return the mean entropy of rows that sum to 1, in nats, computed in float64; 0 ln 0 is 0."""
    wide = probabilities.double()
    return float(torch.special.entr(wide).sum(dim=1).mean())
