"""Chains of defences before a classifier: read from text, written as text, and applied to its logits."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor

from understudy.errors import DataError
from understudy.targets._chains import describe_chain, parse_chain
from understudy.targets.class_defences._table import CLASS_DEFENCES
from understudy.targets.class_defences.base import ClassDefence


def parse_class_defences(spec: str) -> tuple[ClassDefence, ...]:
    """Return the defences that a spec names, in the order in which they are applied; "none" is ().

    Raises:
        ConfigError: no such defence or option (near names are listed), a value of the wrong type or out of range, an
            option given twice, or a defence that draws from the owner's seed twice.

    Example:
        >>> parse_class_defences("top_k:2+rounding:1")
        (TopK(k=2, ratio=None), Rounding(decimals=1))
    """
    return parse_chain(spec, CLASS_DEFENCES)


def describe_class_defences(chain: Sequence[ClassDefence]) -> str:
    """Return the canonical spec, which `parse_class_defences` turns into equal defences.

    Example:
        >>> describe_class_defences(parse_class_defences("top_k:k=2 + labels"))
        'top_k:2+labels'
    """
    return describe_chain(chain)


def identify_class_defences(chain: Sequence[ClassDefence]) -> str:
    """Return the canonical spec with the hashes of the networks that defences use: equal texts, equal answers."""
    parts = [describe_class_defences([defence]) + _in_brackets(defence.identity()) for defence in chain]
    return "+".join(parts) or "none"


def serve(
    chain: Sequence[ClassDefence],
    logits: Float[Tensor, "b k"],
    *,
    images: Float[Tensor, " b *input"] | None,
    keys: Int64[Tensor, " b"],
    seed: int,
    memory: dict[str, Tensor],
) -> Float32[Tensor, "b k"]:
    """Return the probabilities that a chain of defences serves in the place of a classifier's logits.

    The softmax and the defences compute in float64. Minus infinity never leaves: a class that is withheld has
    probability 0. The largest number of a row stays the largest when it is written in float32.

    Args:
        chain: applied from left to right; of no defence the clean probabilities are served.
        logits: the classifier's. Shape (b, k).
        images: the queries in [0, 1], for defences that look at them. Shape (b, *input).
        keys: 0 to 2^63 - 1 for each query, a function of its input and occasion. Shape (b,).
        seed: the owner's; 0 or more.
        memory: what the defences have learnt so far; empty at first, and the same object for all answers of a run.

    Raises:
        DataError: a logit is not finite.
        ConfigError: a defence does not fit the classes or the images.
    """
    if not torch.isfinite(logits).all():
        raise DataError(
            "the classifier gives logits that are not finite",
            where="the input of the serving-time defences",
            expected="finite logits: a defence withholds a class by probability 0, never by minus infinity",
            fix="look at the classifier's weights, or train it again with a smaller learning rate",
        )
    for defence in chain:
        defence.check(logits.shape[1])
    y = apply(chain, logits, images=images, keys=keys, seed=seed, memory=memory)
    return _narrow(y)


def apply(
    chain: Sequence[ClassDefence],
    logits: Float[Tensor, "b k"],
    *,
    images: Float[Tensor, " b *input"] | None,
    keys: Int64[Tensor, " b"],
    seed: int,
    memory: dict[str, Tensor],
) -> Float64[Tensor, "b k"]:
    """Return what `serve` does in float64, without its checks; gradients flow where the defences have any."""
    y = torch.softmax(logits.double(), dim=1)
    for defence in chain if len(y) else ():
        y = defence.serve(y, images=images, keys=keys, seed=seed, memory=memory)
    return y


def _narrow(y: Float64[Tensor, "b k"]) -> Float32[Tensor, "b k"]:
    """Return float32 rows whose first largest number stands where it stood: rounding may make two of them equal."""
    top = y.argmax(dim=1, keepdim=True)
    rows = y.float()
    largest = rows.amax(dim=1, keepdim=True)
    lost = rows.argmax(dim=1, keepdim=True) != top
    raised = torch.nextafter(largest, torch.full_like(largest, torch.inf))
    return rows.scatter(1, top, torch.where(lost, raised, largest))


def _in_brackets(identity: str) -> str:
    return f"({identity})" if identity else ""
