"""The optimiser that a recipe names."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from understudy.training.recipe import Recipe


def build_optimiser(recipe: Recipe, parameters: Iterable[nn.Parameter], *, total: int) -> torch.optim.Optimizer:
    """Return the recipe's optimiser at its first step; a parameter marked `no_weight_decay` gets none."""
    rate, momentum = recipe.rate(0, total), recipe.momentum_at(0, total)
    groups = _groups(parameters)
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(
            groups, rate, momentum=momentum, nesterov=recipe.nesterov, weight_decay=recipe.weight_decay
        )
    family = torch.optim.Adam if recipe.optimiser == "adam" else torch.optim.AdamW
    return family(groups, rate, betas=(momentum, 0.999), weight_decay=recipe.weight_decay)


def _groups(parameters: Iterable[nn.Parameter]) -> list[dict[str, Any]]:
    """Set apart the parameters that are marked `no_weight_decay`, if there are any."""
    everything = list(parameters)
    free = [parameter for parameter in everything if getattr(parameter, "no_weight_decay", False)]
    if not free:
        return [{"params": everything}]
    decayed = [parameter for parameter in everything if not getattr(parameter, "no_weight_decay", False)]
    return [{"params": decayed}, {"params": free, "weight_decay": 0.0}]
