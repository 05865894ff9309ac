"""Loss terms that several methods share: pure functions of tensors."""

from understudy.losses.contrastive import discriminate, nt_xent, row_cosine, unit_rows
from understudy.losses.distillation import (
    hard_cross_entropy,
    kl_divergence,
    soft_cross_entropy,
    tempered_kl,
)
from understudy.losses.priors import total_variation

__all__ = [
    "discriminate",
    "hard_cross_entropy",
    "kl_divergence",
    "nt_xent",
    "row_cosine",
    "soft_cross_entropy",
    "tempered_kl",
    "total_variation",
    "unit_rows",
]
