"""Two models on the same images: McNemar's test, which counts only the images on which they part."""

import math
from dataclasses import dataclass
from typing import Any

from jaxtyping import Bool
from torch import Tensor

from understudy.errors import DataError, ShapeError

_Z = 1.959964  # 95 %


@dataclass(frozen=True)
class Paired:
    """How two models fare on the same images.

    Args:
        both: images on which both are right.
        only_a: those on which the first alone is.
        only_b: those on which the second alone is.
        neither: those on which none is.
        difference: share of the first minus share of the second, in [-1, 1].
        low: lower end of the difference's 95 % interval.
        high: upper end.
        p_value: of McNemar's exact test that neither is better.
    """

    both: int
    only_a: int
    only_b: int
    neither: int
    difference: float
    low: float
    high: float
    p_value: float

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON object."""
        return dict(vars(self))


def mcnemar(a: Bool[Tensor, " n"], b: Bool[Tensor, " m"]) -> Paired:
    """Compare two models image by image.

    The test is the exact one of McNemar (1947), Psychometrika 12: under its hypothesis, each image on which the two
    part falls to either side with probability 1/2. The interval is that of Bonett and Price (2012), J. Educ. Behav.
    Stat. 37, which adds one such image to either side and so holds its level for few images.

    Args:
        a: whether the first is right, image by image.
        b: whether the second is, on the same images.

    Raises:
        ShapeError: the two are not of one length.
        DataError: there are no images.

    Example:
        >>> import torch
        >>> mcnemar(torch.tensor([True] * 8), torch.tensor([True] * 2 + [False] * 6)).p_value
        0.03125
    """
    if a.shape != b.shape:
        raise ShapeError(f"{len(a)} images of one model and {len(b)} of the other", expected="the same images")
    n = len(a)
    if n == 0:
        raise DataError("no images to compare two models on", expected="at least one")
    a, b = a.cpu(), b.cpu()
    both, only_a, only_b = (int(part.sum()) for part in (a & b, a & ~b, b & ~a))
    plus, minus = (only_a + 1) / (n + 2), (only_b + 1) / (n + 2)
    half = _Z * math.sqrt(max(plus + minus - (plus - minus) ** 2, 0.0) / (n + 2))
    return Paired(
        both=both,
        only_a=only_a,
        only_b=only_b,
        neither=n - both - only_a - only_b,
        difference=(only_a - only_b) / n,
        low=max(plus - minus - half, -1.0),
        high=min(plus - minus + half, 1.0),
        p_value=exact_p(only_a, only_b),
    )


def exact_p(one: int, other: int) -> float:
    """Return the two-sided p value of so many heads and so many tails from a fair coin."""
    from scipy.special import bdtr

    return min(1.0, 2 * float(bdtr(min(one, other), one + other, 0.5))) if one + other else 1.0
