"""What hangs over a layer of a frozen model for one forward: an update, a bottleneck, or a mixed head."""

from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor, nn

from understudy.errors import ConfigError
from understudy.models.text._mixing import bottleneck_mixed, head_mixed, lora_mixed, norm_mixed

Hook = Callable[[nn.Module, tuple[Any, ...], Any], Any]


def lora_hook(
    name: str,
    a: Tensor,
    b: Tensor,
    scales: Tensor,
    weights: Tensor | None,
    mode: Literal["factor", "product"],
    dropout: float,
) -> Hook:
    """Return a forward hook that adds the mixed LoRA update of what enters a linear map."""

    def add(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        x = _checked(inputs[0], weights, name)
        x = nn.functional.dropout(x, dropout) if dropout else x
        return output + lora_mixed(x, a, b, scales, weights, mode)

    return add


def bottleneck_hook(
    name: str,
    down: Tensor,
    down_bias: Tensor,
    up: Tensor,
    up_bias: Tensor,
    weights: Tensor | None,
    activation: Literal["relu", "gelu", "tanh"],
    dropout: float,
) -> Hook:
    """Return a forward hook that lets what leaves a linear map through the mixed bottleneck, residual included."""

    def add(_: nn.Module, _inputs: tuple[Any, ...], output: Any) -> Any:
        h = _checked(output, weights, name)
        entering = nn.functional.dropout(h, dropout) if dropout else h
        changed = bottleneck_mixed(entering, down, down_bias, up, up_bias, weights, activation)
        return changed + (h - entering) if dropout else changed  # the residual itself is whole

    return add


def head_hook(weight: Tensor, bias: Tensor | None, weights: Tensor | None) -> Hook:
    """Return a forward hook that puts the mixed linear map or layer norm in the place of a head's layer."""

    def replace(part: nn.Module, inputs: tuple[Any, ...], _output: Any) -> Any:
        if isinstance(part, nn.LayerNorm):
            return norm_mixed(inputs[0], weight, bias, weights, part.eps)
        return head_mixed(inputs[0], weight, bias, weights)

    return replace


def _checked(x: Tensor, weights: Tensor | None, name: str) -> Tensor:
    if weights is not None and x.shape[0] != weights.shape[0]:
        raise ConfigError(
            f"the model applies {name} to something other than the rows of the batch",
            expected="an encoder whose adapted maps see one row a text",
            fix="name other target modules",
        )
    return x
