"""Loss terms that several methods share: pure functions of tensors."""

from understudy.losses.contrastive import discriminate, nt_xent, row_cosine, unit_rows
from understudy.losses.distillation import (
    distillation_loss,
    hard_cross_entropy,
    kl_divergence,
    kl_from_probs,
    soft_cross_entropy,
    tempered_kl,
    widened,
)
from understudy.losses.priors import total_variation
from understudy.losses.relations import cross_view_similarity, own_view_rows, relation_rows
from understudy.losses.resistance import kept_classes, sparse_target
from understudy.losses.robust import (
    RobustReduction,
    kl_rows,
    kl_rows_from_probs,
    mirrored_kl_rows,
    reduce_rows,
    swap_true_and_top,
    weighted_mean,
)

__all__ = [
    "RobustReduction",
    "cross_view_similarity",
    "discriminate",
    "distillation_loss",
    "hard_cross_entropy",
    "kept_classes",
    "kl_divergence",
    "kl_from_probs",
    "kl_rows",
    "kl_rows_from_probs",
    "mirrored_kl_rows",
    "nt_xent",
    "own_view_rows",
    "reduce_rows",
    "relation_rows",
    "row_cosine",
    "soft_cross_entropy",
    "sparse_target",
    "swap_true_and_top",
    "tempered_kl",
    "total_variation",
    "unit_rows",
    "weighted_mean",
    "widened",
]
