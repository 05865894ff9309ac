"""Mixing two sentences inside a language model: hidden states at one layer (TMix), or the pooled state (SMix)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from understudy.errors import ConfigError
from understudy.training.text_steps import Pairs


@contextmanager
def mixed_at_layer(layers: Sequence[nn.Module], layer: int, pairs: Pairs) -> Iterator[None]:
    """Within the block, hidden states are mixed after a layer, and later layers see what either sentence shows.

    The released code of MixADA combines additive masks so that a position is hidden where either text is padded; what
    is meant is the union of the visible positions, which is done here.

    Args:
        layers: of the language model, lowest first.
        layer: after which states are mixed, counted from 1.
        pairs: who is mixed with whom.

    Raises:
        ConfigError: there is no such layer.
    """
    if not 1 <= layer <= len(layers):
        raise ConfigError(f"layer {layer} of {len(layers)}", expected=f"a layer from 1 to {len(layers)}")

    def mix(_: nn.Module, _inputs: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (pairs.mixed(output[0]), *output[1:])
        return pairs.mixed(output)

    def unite(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        rows = len(pairs.partner)
        united = [union(value, pairs) if is_mask(value, rows) else value for value in inputs[1:]]
        return (*inputs[:1], *united), {
            name: union(value, pairs) if is_mask(value, rows) else value for name, value in named.items()
        }

    handles = [layers[layer - 1].register_forward_hook(mix)]
    handles += [each.register_forward_pre_hook(unite, with_kwargs=True) for each in layers[layer:]]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def mixed_before(head: nn.Module, pairs: Pairs) -> Iterator[None]:
    """Within the block, what enters a module, such as the last map of a head, is mixed."""

    def mix(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (pairs.mixed(inputs[0]), *inputs[1:])

    handle = head.register_forward_pre_hook(mix)
    try:
        yield
    finally:
        handle.remove()


def is_mask(value: Any, rows: int) -> bool:
    """Return whether an argument of a layer is the batch's attention mask: (rows, heads, queries, keys)."""
    return isinstance(value, Tensor) and value.ndim == 4 and len(value) == rows


def union(mask: Tensor, pairs: Pairs) -> Tensor:
    """Return a mask that shows what either of two sentences shows: of truth values, or of numbers added to scores."""
    partner = mask[pairs.partner]
    return mask | partner if mask.dtype == torch.bool else torch.maximum(mask, partner)
