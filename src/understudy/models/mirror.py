"""The mirror of a network in training: a prepared copy in eval mode whose weights follow at a word.

Attacks on a network in training need it in eval mode, with gradients of the input alone, many times a step. Its
mirror is folded, laid out and (if asked) compiled once, as `freeze` does; `refresh` then writes the current weights
into it, without tracing again.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from understudy.models._fold import folded_weights
from understudy.models.frozen import Frozen, Precision, prepare
from understudy.models.network import Network


class Mirror(Frozen):
    """A frozen copy of a network that can be brought up to date; equal to the network in eval mode after `refresh`.

    Args:
        model: the network in training; it is not changed, and its device and modules must stay the same objects.
        precision: of the copy's weights and activations. Inputs and logits are float32 either way.
        channels_last: lay out images and convolutions channels-last; of no effect without 2-D convolutions.
        compiled: compile the copy with `torch.compile` on its first call.

    Raises:
        DivergenceError: a weight is NaN or infinite.
        DependencyError: `compiled` on the CPU, and there is no C++ compiler.
    """

    def __init__(
        self, model: Network, *, precision: Precision = "float32", channels_last: bool = True, compiled: bool = False
    ) -> None:
        parts, pairs = prepare(model, precision=precision, channels_last=channels_last, compiled=compiled, fold=True)
        super().__init__(**parts)
        gone = {name for pair in pairs for name in pair}
        # In tuples, so that the network in training is no part of this module: its modes and weights are its own.
        self._folded = tuple(
            _Pair(model.net.get_submodule(layer), model.net.get_submodule(norm), self.net.get_submodule(layer))
            for layer, norm in pairs
        )
        self._plain = tuple(
            (_owner(model.net, name), _owner(self.net, name), name.rpartition(".")[2])
            for name, _ in [*self.net.named_parameters(), *self.net.named_buffers()]
            if name.rpartition(".")[0] not in gone and not name.endswith("num_batches_tracked")
        )

    @torch.no_grad()
    def refresh(self) -> None:
        """Take over the network's weights and statistics as they are now."""
        usual = [pair for pair in self._folded if pair.norm.weight is not None and pair.layer.bias is None]
        if usual:
            _fold_again(usual)
        for pair in self._folded:
            if pair not in usual:
                weight, bias = folded_weights(pair.layer, pair.norm, torch.float32)
                pair.ours.weight.copy_(weight)
                pair.ours.bias.copy_(bias)
        if self._plain:
            torch._foreach_copy_(
                [_tensor(ours, name) for _, ours, name in self._plain],
                [_tensor(theirs, name) for theirs, _, name in self._plain],
            )


class _Pair(NamedTuple):
    """A layer and the BatchNorm behind it, and the layer of ours that has taken in both."""

    layer: Any
    norm: Any
    ours: Any


def _fold_again(pairs: Sequence[_Pair]) -> None:
    """Do what `folded_weights` does for layers without bias and norms with weights, in few calls for all together.

    On small networks it is the number of calls that costs.
    """
    norms = [pair.norm for pair in pairs]
    scales = torch._foreach_add([norm.running_var for norm in norms], [norm.eps for norm in norms])
    torch._foreach_sqrt_(scales)
    torch._foreach_reciprocal_(scales)
    torch._foreach_mul_(scales, [norm.weight for norm in norms])
    moved = torch._foreach_mul([norm.running_mean for norm in norms], scales)
    torch._foreach_copy_([pair.ours.bias for pair in pairs], torch._foreach_sub([norm.bias for norm in norms], moved))
    for pair, scale in zip(pairs, scales, strict=True):
        weight = pair.layer.weight
        torch.mul(weight, scale.view(-1, *[1] * (weight.dim() - 1)), out=pair.ours.weight)


def _owner(net: nn.Module, name: str) -> nn.Module:
    return net.get_submodule(name.rpartition(".")[0])


def _tensor(module: nn.Module, name: str) -> Tensor:
    value = getattr(module, name)
    assert isinstance(value, Tensor)
    return value
