"""Whether attacked sentences can be told from clean ones by the entropy of a model's answers."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.errors import DataError
from understudy.evaluation.statistics import Interval

_Z = 1.959964  # 95 %


def entropies(probs: Float[Tensor, "n c"]) -> list[float]:
    """Return the entropy of each row in nats, in [0, ln c], computed in float64; 0 ln 0 is 0."""
    return [float(value) for value in torch.special.entr(probs.double()).sum(dim=1)]


def roc_area(clean: Sequence[float], attacked: Sequence[float]) -> Interval:
    """Return the chance that an attacked sentence scores above a clean one: the area under the ROC curve.

    Ties count one half. The interval is that of Hanley and McNeil (1982), Radiology 143, cut to [0, 1].

    Args:
        clean: scores of clean sentences, such as entropies.
        attacked: scores of attacked ones.

    Returns:
        The area with its 95 % interval; n counts the sentences of both kinds.

    Raises:
        DataError: one of the two is empty.

    Example:
        >>> roc_area([0.1, 0.2], [0.2, 0.3]).value
        0.875
    """
    if not clean or not attacked:
        raise DataError("no scores to compare", expected="clean and attacked sentences")
    low, high = torch.tensor(clean, dtype=torch.float64), torch.tensor(attacked, dtype=torch.float64)
    above = (high[:, None] > low[None, :]).double() + 0.5 * (high[:, None] == low[None, :]).double()
    area = float(above.mean())
    first, second = area / (2 - area), 2 * area**2 / (1 + area)
    m, n = len(attacked), len(clean)
    spread = area * (1 - area) + (m - 1) * (first - area**2) + (n - 1) * (second - area**2)
    half = _Z * math.sqrt(max(spread, 0.0) / (m * n))
    return Interval(area, max(area - half, 0.0), min(area + half, 1.0), m + n)


def histogram(values: Sequence[float], *, top: float, bins: int = 400) -> list[int]:
    """Return how many values lie in each of `bins` equal parts of [0, top]; values above count in the last one."""
    counts = [0] * bins
    for value in values:
        counts[min(max(int(value / top * bins), 0), bins - 1)] += 1
    return counts


def bin_edges(*, top: float, bins: int = 400) -> list[float]:
    """Return the edges of those parts, one more than there are parts."""
    return [top * edge / bins for edge in range(bins + 1)]


def confusion(
    true: Sequence[str], found: Sequence[str], *, rows: Sequence[str], columns: Sequence[str]
) -> list[list[int]]:
    """Return how often a sentence of kind `rows[i]` was taken for `columns[j]`."""
    counts = [[0] * len(columns) for _ in rows]
    for kind, taken in zip(true, found, strict=True):
        counts[rows.index(kind)][columns.index(taken)] += 1
    return counts
