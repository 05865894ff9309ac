"""One adapter in place of several, for a fixed mixture."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from understudy.errors import ConfigError
from understudy.models.text.adapter import Adapter, LoraMix

__all__ = ["check_weights", "merge"]


def merge(adapters: Sequence[Adapter], weights: Sequence[float], *, lora_mix: LoraMix = "factor") -> Adapter:
    """Return the adapter that a fixed convex combination of adapters amounts to, heads included.

    Args:
        adapters: of one backbone and kind.
        weights: one an adapter, each in [0, 1], with sum 1.
        lora_mix: "factor" averages all tensors; "product" stacks the factors (PEFT's `cat`), and the ranks add up.

    Raises:
        ConfigError: weights outside [0, 1], not of sum 1 or not as many as adapters; adapters that do not fit.
    """
    shares = check_weights(weights, len(adapters))
    first = adapters[0]
    for adapter in adapters:
        _check_alike(adapter, first, lora_mix)
    head = {name: _mean([adapter.head[name] for adapter in adapters], shares) for name in first.head}
    config, tensors = first.config, {}
    if config.kind == "lora" and lora_mix == "product":
        rank = sum(adapter.config.rank for adapter in adapters)
        config = config.model_copy(update={"rank": rank, "alpha": float(rank)})
        for name in first.tensors:
            tensors[name] = _stacked(name, adapters, shares)
    else:
        for name in first.tensors:
            tensors[name] = _mean([adapter.tensors[name] for adapter in adapters], shares)
    return Adapter(
        config=config,
        tensors=tensors,
        head=head,
        backbone=first.backbone,
        backbone_sha256=first.backbone_sha256,
        labels=first.labels,
    )


def check_weights(weights: Sequence[float], slots: int) -> tuple[float, ...]:
    """Return weights of slots.

    Raises:
        ConfigError: not as many as slots, outside [0, 1] (NaN too), or not of sum 1.
    """
    shares = tuple(float(weight) for weight in weights)
    if len(shares) != slots or not slots:
        raise ConfigError(f"{len(shares)} weights for {slots} adapters", expected="one weight an adapter")
    for share in shares:
        if not 0.0 <= share <= 1.0:
            raise ConfigError(f"a coefficient of {share}", expected="a number from 0 to 1")
    if not math.isclose(sum(shares), 1.0, abs_tol=1e-6):
        raise ConfigError(f"the weights sum to {sum(shares):g}", expected="a sum of 1", fix="give shares that sum to 1")
    return shares


def _check_alike(adapter: Adapter, first: Adapter, lora_mix: LoraMix) -> None:
    for what, found, wanted in (
        ("backbone", adapter.backbone_sha256, first.backbone_sha256),
        ("classes", adapter.labels, first.labels),
        ("kind", adapter.config.kind, first.config.kind),
        ("adapted modules", set(adapter.modules), set(first.modules)),
        ("head", _shapes(adapter.head), _shapes(first.head)),
    ):
        if found != wanted:
            raise ConfigError(f"adapters of different {what}: {found}", expected=str(wanted))
    if first.config.kind != "lora" or lora_mix == "factor":
        if _shapes(adapter.tensors) != _shapes(first.tensors):
            raise ConfigError("adapters of different rank or width", fix="mix products (LoRA only), or equal ones")
        if adapter.config.scale != first.config.scale or adapter.config.activation != first.config.activation:
            raise ConfigError(
                "adapters of different scale (alpha / rank) or activation", fix="mix products (LoRA only)"
            )


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in tensors.items()}


def _mean(values: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    if 1.0 in shares:  # exactly that adapter, whatever the others hold
        return values[shares.index(1.0)].clone()
    wide = sum(share * value.double() for share, value in zip(shares, values, strict=True))
    assert isinstance(wide, Tensor)
    return wide.to(values[0].dtype)


def _stacked(name: str, adapters: Sequence[Adapter], shares: Sequence[float]) -> Tensor:
    """Return A's above one another, or B's side by side, each with its weight and scale."""
    if name.endswith("lora_A.weight"):
        return torch.cat([adapter.tensors[name] for adapter in adapters])
    scaled = [
        (adapter.tensors[name].double() * (share * adapter.config.scale)).to(adapter.tensors[name].dtype)
        for adapter, share in zip(adapters, shares, strict=True)
    ]
    return torch.cat(scaled, dim=1)
