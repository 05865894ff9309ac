"""Loss terms that several methods share: pure functions of tensors."""

from understudy.losses.distillation import (
    hard_cross_entropy,
    kl_divergence,
    soft_cross_entropy,
    tempered_kl,
)
from understudy.losses.priors import total_variation

__all__ = ["hard_cross_entropy", "kl_divergence", "soft_cross_entropy", "tempered_kl", "total_variation"]
