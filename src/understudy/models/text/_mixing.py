"""Layers whose weights are a different convex combination of K sets for every row, in one batched product.

No weight is ever materialised for a row: all K products are formed for all rows together and weighted, which is exact
because the layers are linear in their weights.
"""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu, "tanh": torch.tanh}


def lora_mixed(
    x: Float[Tensor, "n *t i"],
    a: Float[Tensor, "k r i"],
    b: Float[Tensor, "k o r"],
    scale: float | Float[Tensor, " k"],
    weights: Float[Tensor, "n k"] | None,
    mode: Literal["factor", "product"] = "factor",
) -> Float[Tensor, "n *t o"]:
    """Return the update s B A x with factors, or with products B A, mixed by each row's weights.

    Args:
        x: what enters the adapted map.
        a: lower factors, one a slot.
        b: upper factors, one a slot.
        scale: s, for all slots or one a slot (product mixing only).
        weights: of the slots, a row each; None takes the only slot.
        mode: "factor" mixes A and B each: s (sum w_k B_k)(sum w_k A_k); "product": sum w_k s_k B_k A_k.
    """
    if weights is None:
        return F.linear(F.linear(x, a[0]), b[0]) * (scale if isinstance(scale, float) else scale[0])
    slots, rank, _ = a.shape
    share = _per_row(weights, x.ndim)
    low = F.linear(x, a.flatten(0, 1)).reshape(*x.shape[:-1], slots, rank)
    if mode == "factor":
        low = (share * low).sum(-2, keepdim=True)
    scaled = _per_row(weights * scale, x.ndim) * low
    return F.linear(scaled.flatten(-2), b.transpose(0, 1).flatten(1))


def head_mixed(
    x: Float[Tensor, "n *t i"],
    weight: Float[Tensor, "k o i"],
    bias: Float[Tensor, "k o"] | None,
    weights: Float[Tensor, "n k"] | None,
) -> Float[Tensor, "n *t o"]:
    """Return a linear map whose matrix and bias are mixed by each row's weights: sum_k w_k (W_k x + b_k).

    Args:
        x: what enters it.
        weight: matrices, one a slot.
        bias: one a slot, or none.
        weights: of the slots, a row each; None takes the only slot.
    """
    if weights is None:
        return F.linear(x, weight[0], None if bias is None else bias[0])
    slots, out, _ = weight.shape
    every = F.linear(x, weight.flatten(0, 1), None if bias is None else bias.flatten())
    mixed: Tensor = (_per_row(weights, x.ndim) * every.reshape(*x.shape[:-1], slots, out)).sum(-2)
    return mixed


def norm_mixed(
    x: Float[Tensor, "n *t d"],
    weight: Float[Tensor, "k d"],
    bias: Float[Tensor, "k d"] | None,
    weights: Float[Tensor, "n k"] | None,
    eps: float = 1e-5,
) -> Float[Tensor, "n *t d"]:
    """Return a layer norm over the last dimension whose scale and shift are mixed by each row's weights."""
    plain = F.layer_norm(x, x.shape[-1:], eps=eps)
    if weights is None:
        return plain * weight[0] + (0.0 if bias is None else bias[0])
    share = _per_row(weights, x.ndim)
    plain = plain * (share * weight).sum(-2)
    return plain if bias is None else plain + (share * bias).sum(-2)


def bottleneck_mixed(
    h: Float[Tensor, "n *t d"],
    down: Float[Tensor, "k b d"],
    down_bias: Float[Tensor, "k b"],
    up: Float[Tensor, "k d b"],
    up_bias: Float[Tensor, "k d"],
    weights: Float[Tensor, "n k"] | None,
    activation: Literal["relu", "gelu", "tanh"] = "relu",
) -> Float[Tensor, "n *t d"]:
    """Return h + U act(D h + b) + c with D, b, U and c mixed by each row's weights.

    This is mixing of parameters; the mean of the adapters' outputs would be another function.
    """
    inner = _ACTIVATIONS[activation](head_mixed(h, down, down_bias, weights))
    return h + head_mixed(inner, up, up_bias, weights)


def _per_row(weights: Tensor, ndim: int) -> Tensor:
    """Shape weights (n, k) so that they multiply (n, ..., k, width) of `ndim` + 1 dimensions."""
    return weights.reshape(weights.shape[0], *[1] * (ndim - 2), weights.shape[1], 1)
