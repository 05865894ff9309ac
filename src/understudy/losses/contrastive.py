"""Terms that compare embeddings row by row and across a batch.

Embeddings are rows (batch, d). Where a function takes several views of a batch, they are a leading axis: (views,
batch, d), and views of one image are never compared with each other. Everything is computed in float32 or wider,
outside any autocast: a logit of 1 / temperature = 14 has lost its meaning in half precision.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from understudy.losses.distillation import widened

RowReduction = Literal["mean", "none"]


def unit_rows(embeddings: Float[Tensor, "*views b d"]) -> Float[Tensor, "*views b d"]:
    """Return u(z) = z / max(‖z‖, 1e-12): rows of length one, float32 or wider; a zero row stays zero."""
    wide = widened(embeddings)
    return wide / _lengths(wide).clamp_min(1e-12)


def row_cosine(x: Float[Tensor, "*views b d"], y: Float[Tensor, "b d"]) -> Float[Tensor, "*views b"]:
    """Return the cosine of each row of `x` with its row of `y`; the product of lengths is floored at 1e-8."""
    x, y = widened(x), widened(y)
    product = (_lengths(x) * _lengths(y)).squeeze(-1)
    return (x * y).sum(dim=-1) / product.clamp_min(1e-8)


def discriminate(
    anchors: Float[Tensor, "*anchor_views b d"],
    candidates: Float[Tensor, "*candidate_views b d"],
    *,
    surrogate: Float[Tensor, "*surrogate_views b d"],
    temperature: float,
    self_negatives: bool = True,
    positive_in_denominator: bool = False,
    reduction: RowReduction,
) -> Float[Tensor, ""] | Float[Tensor, "*rows b"]:
    """Return the contrast of each row with its match, against all mismatches of its batch.

    Row i of one view, with a, c, s for anchors, candidates and surrogate, and plain dot products:

        −a_i·c_i/τ + log( Σ_{j≠i} exp(a_i·c_j/τ) + Σ_{j≠i} exp(s_i·s_j/τ) )

    RDA's L_D is that with a = s = the surrogate's unit rows and c = the prototypes; the Cont-Steal of RDA's
    repository with a = the target's rows and c = s = the surrogate's. The positive is not in the denominator, so the
    value has no lower bound of 0: orthonormal matched rows give log(2(B−1)) − 1/τ, a full collapse log(2(B−1)).

    Args:
        anchors: rows that look for their match; unit length is not asked for. Shape (b, d), b >= 2, or (views, b, d).
        candidates: row i is the match of anchor i. Shape likewise; (b, d) is shared by all views.
        surrogate: the rows whose mismatched pairs are the second half of the negatives. Shape likewise.
        temperature: τ > 0.
        self_negatives: whether the second half takes part; without it, and with the positive in the denominator,
            this is InfoNCE.
        positive_in_denominator: whether the matched logit is added to the denominator.
        reduction: "mean" over rows and views, or "none".

    Returns:
        Scalar, or one value a row and view, in nats; finite for any finite logits (log-sum-exp).
    """
    with _full_precision(anchors):
        across = _similarity(anchors, candidates) / temperature  # (views, b, b)
        mismatch = ~torch.eye(across.shape[-1], dtype=torch.bool, device=across.device)
        matched = across.diagonal(dim1=-2, dim2=-1)
        negatives = [across if positive_in_denominator else across.where(mismatch, -torch.inf)]
        if self_negatives:
            within = _similarity(surrogate, surrogate) / temperature
            negatives.append(within.where(mismatch, -torch.inf).expand_as(across))
        return _reduce(torch.cat(negatives, dim=-1).logsumexp(dim=-1) - matched, reduction)


def nt_xent(
    a: Float[Tensor, "b d"], b: Float[Tensor, "b d"], *, temperature: float, reduction: RowReduction
) -> Float[Tensor, ""] | Float[Tensor, " rows"]:
    """Return NT-Xent over the 2B stacked rows R = [a; b], whose rows i and i + B belong together.

        −log( exp(sim(R_i, R_i⁺)/τ) / Σ_{j≠i} exp(sim(R_i, R_j)/τ) ),  sim the cosine

    Chen et al. 2020 (SimCLR), equation 1; also the loss of Cont-Steal's authors, with a the target's rows and b the
    surrogate's. The positive is in the denominator, so the value is never negative.

    Args:
        a: first view of each image, of any length. Shape (b, d), b >= 2.
        b: second view, likewise.
        temperature: τ > 0.
        reduction: "mean" over the 2B rows, or "none": first those of `a`, then those of `b`.

    Returns:
        Scalar, or one value a row, in nats.
    """
    with _full_precision(a):
        rows = unit_rows(torch.cat([a, b]))
        logits = _similarity(rows, rows) / temperature
        itself = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
        partner = torch.arange(len(rows), device=rows.device).roll(len(a))
        return F.cross_entropy(logits.masked_fill(itself, -torch.inf), partner, reduction=reduction)


def _similarity(x: Tensor, y: Tensor) -> Tensor:
    """Return all dot products of the rows of a view. Shape (views, b, b)."""
    return widened(x) @ widened(y).mT


def _lengths(x: Tensor) -> Tensor:
    """Return the length of each row. Shape (views, b, 1)."""
    lengths: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return lengths


def _full_precision(x: Tensor) -> torch.autocast:
    return torch.autocast(x.device.type, enabled=False)


def _reduce(rows: Tensor, reduction: RowReduction) -> Tensor:
    return rows.mean() if reduction == "mean" else rows
