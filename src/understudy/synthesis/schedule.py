"""How the step size of synthesis changes from set to set."""

import math
from typing import Literal

Shape = Literal["linear", "cosine", "constant"]


def step_size_at(index: int, total: int, *, start: float, decades: float, shape: Shape) -> float:
    """Return the step size of one set: ε_t of CAKE's released code.

    linear: 10^(log10 ε₀ − D·t/T); cosine: 10^(log10 ε₀ − D + ½·D·(1 + cos(π·t/T))); constant: ε₀.

    Args:
        index: the set t, from 0 to total − 1.
        total: the number of sets T; the end value ε₀·10^−D is approached and never reached.
        start: ε₀ > 0.
        decades: D ≥ 0, how many powers of ten the step size falls.
        shape: the course of its logarithm.
    """
    if shape == "constant":
        return start
    progress = index / total
    if shape == "cosine":
        progress = 0.5 * (1 - math.cos(math.pi * progress))
    return start * 10 ** (-decades * progress)
