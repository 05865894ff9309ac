"""Terms that compare how the samples of a batch lie to each other, across a clean and an adversarial view.

Only similarities are compared, so that embeddings of different widths need no projection. All of it stays within the
local batch, in float32 or wider, outside any autocast.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from understudy.losses.contrastive import unit_rows
from understudy.losses.robust import kl_rows


def cross_view_similarity(
    adversarial: Float[Tensor, "n d"], clean: Float[Tensor, "n d"], *, temperature: float
) -> Float[Tensor, "n n"]:
    """Return S_ij = cos(z(x'_i), z(x_j)) / τ_c: row i is an adversarial sample, column j a clean one.

    Args:
        adversarial: embeddings of the adversarial view; only their directions matter. Shape (n, d).
        clean: embeddings of the clean view. Same shape.
        temperature: τ_c > 0.
    """
    with torch.autocast(adversarial.device.type, enabled=False):
        return unit_rows(adversarial) @ unit_rows(clean).mT / temperature


def relation_rows(ours: Float[Tensor, "n n"], theirs: Float[Tensor, "n n"]) -> Float[Tensor, " n"]:
    """Return KL( softmax_j(R_i·) ‖ softmax_j(S_i·) ) of each row; S is ours, R the teacher's and without gradient."""
    return kl_rows(theirs.detach(), ours)


def own_view_rows(similarity: Float[Tensor, "n n"], labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Return −log( exp S_ii / (exp S_ii + Σ_{j: y_j ≠ y_i} exp S_ij) ) of each row.

    An adversarial sample is drawn to its own clean version and away from samples of other classes; those of its own
    class take no part, for pushing them away would fight classification.
    """
    own = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    takes_part = own | (labels[:, None] != labels[None, :])
    return similarity.where(takes_part, -torch.inf).logsumexp(dim=1) - similarity.diagonal()
