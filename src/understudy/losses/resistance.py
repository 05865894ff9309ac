"""Targets of which all classes but a few are nothing: what the Adversarial Sparse Teacher learns, and Stingy serves."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from understudy.losses.distillation import widened


def kept_classes(logits: Float[Tensor, "b k"], keep: int) -> Bool[Tensor, "b k"]:
    """Return which classes of each row are among its `keep` largest; of equal ones the first.

    Args:
        logits: raw scores, finite. Shape (b, k).
        keep: 1 to the number of classes.

    Raises:
        ValueError: `keep` is 0 or more than the classes.
    """
    _, order = _largest(logits, keep)
    return torch.zeros_like(logits, dtype=torch.bool).scatter(1, order, value=True)


def sparse_target(logits: Float[Tensor, "b k"], keep: int, temperature: float) -> Float[Tensor, "b k"]:
    """Return softmax(logits / T) over the `keep` largest logits of each row, and 0 elsewhere; without gradient.

    Masked and then normalised: the same as p^(1/T) over the kept classes, divided by its sum, of p = softmax(logits).

    Args:
        logits: raw scores, finite. Shape (b, k).
        keep: classes that are kept, 1 to k; of equal logits the first.
        temperature: T > 0.

    Returns:
        Rows that sum to one, float32 or wider. The values off the support are exactly 0, and nothing is infinite.

    Raises:
        ValueError: `keep` is 0 or more than the classes, or the temperature is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"temperature {temperature} is not above 0")
    wide = widened(logits.detach())
    values, order = _largest(wide, keep)
    return torch.zeros_like(wide).scatter(1, order, torch.softmax(values / temperature, dim=1))


def _largest(logits: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    if not 1 <= keep <= logits.shape[1]:
        raise ValueError(f"keep is {keep} of {logits.shape[1]} classes")
    # topk promises no order among equals; a stable sort does.
    values, order = torch.sort(logits, dim=1, descending=True, stable=True)
    return values[:, :keep], order[:, :keep]
