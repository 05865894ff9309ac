"""How undecided a classifier's answers are."""

import torch
from jaxtyping import Float
from torch import Tensor

TEMPERATURES = (1, 4, 20)
"""The temperatures that distillation softens answers by."""


def mean_row_entropy(probabilities: Float[Tensor, "n k"]) -> float:
    """Return the mean entropy of rows that sum to 1, in nats, computed in float64; 0 ln 0 is 0."""
    wide = probabilities.double()
    return float(torch.special.entr(wide).sum(dim=1).mean())
