"""Answers and embeddings of different widths: refused, or brought together by an explicit choice."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from understudy.errors import ShapeError
from understudy.losses import unit_rows

Match = Literal["none", "pooled", "linear"]


def check_widths(answers: int, surrogate: int, match: str) -> None:
    """Refuse answers that cannot be compared with the surrogate's embeddings.

    Raises:
        ShapeError: the widths differ and nothing is done about it, or pooling would have to widen.
    """
    if answers == surrogate or (match == "pooled" and answers > surrogate):
        return
    raise ShapeError(
        f"the answers have {answers} numbers and the surrogate gives {surrogate}",
        where=f"--match {match}",
        expected="equal widths" if match != "pooled" else "answers at least as wide as the surrogate",
        fix="choose --match linear, which ends the surrogate in a linear head of that width"
        + (", or --match pooled, which averages the answers to the surrogate's" if answers > surrogate else ""),
    )


def matched(answers: Float[Tensor, "b e"], width: int) -> Float[Tensor, "b d"]:
    """Return answers pooled to a width, each with the length that it had.

    Adaptive average pooling, as RDA's repository has it in the target's stead; it normalises afterwards, and here an
    answer is of unit length already. What a defence has done to the length is kept.
    """
    if answers.shape[1] == width:
        return answers
    pooled: Tensor = F.adaptive_avg_pool1d(answers, width)
    lengths: Tensor = torch.linalg.vector_norm(answers, dim=1, keepdim=True)
    return unit_rows(pooled) * lengths
