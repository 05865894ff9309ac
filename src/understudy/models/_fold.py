"""Fold BatchNorm into the layer before it: the same answers in eval mode, with a pass over memory less."""

import copy
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

FLOAT32_TOLERANCE = 1e-4
"""Largest difference that preparation makes to logits in float32, over 1 + the largest |logit|."""

_FOLDABLE: dict[type[nn.Module], tuple[type[nn.Module], ...]] = {
    nn.BatchNorm1d: (nn.Linear, nn.Conv1d),
    nn.BatchNorm2d: (nn.Conv2d,),
    nn.BatchNorm3d: (nn.Conv3d,),
}


@dataclass(frozen=True)
class Folded:
    """A network after folding."""

    net: nn.Module
    note: str
    """What was done, or why nothing was."""
    pairs: tuple[tuple[str, str], ...] = ()
    """Names of each layer and of the BatchNorm that went into it, as in the network before."""


def fold_batch_norms(net: nn.Module, input_shape: tuple[int, ...]) -> Folded:
    """Return the network with its BatchNorms folded where that is exact.

    A BatchNorm is folded if it directly follows a layer that has no other user, and both run once. A network
    that cannot be traced, or that answers differently when traced, comes back as it is.

    Args:
        net: in eval mode, in float32; it is not changed.
        input_shape: of one input, in normalised coordinates.
    """
    total = sum(isinstance(module, _BatchNorm) for module in net.modules())
    if total == 0:
        return Folded(net, "no BatchNorm to fold")
    try:
        traced = fx.symbolic_trace(copy.deepcopy(net))
    except Exception as error:  # noqa: BLE001 (tracing runs foreign code, which may raise anything)
        return Folded(net, f"not folded: cannot be traced: {(str(error) or repr(error)).splitlines()[0]}")
    pairs = _fold_graph(traced)
    if not pairs:
        return Folded(net, f"folded 0 of {total} BatchNorms: none directly follows a layer of its own")
    if not _same_answers(net, traced, input_shape):
        return Folded(net, "not folded: the traced network answers differently")
    return Folded(traced, f"folded {len(pairs)} of {total} BatchNorms", tuple(pairs))


def folded_weights(layer: nn.Module, norm: nn.Module, dtype: torch.dtype) -> tuple[Tensor, Float[Tensor, " outputs"]]:
    """Return weight and bias of layer and norm together, computed in `dtype`."""
    assert isinstance(layer, nn.Linear | _ConvNd)
    assert isinstance(norm, _BatchNorm)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = (norm.running_var.to(dtype) + norm.eps).rsqrt()
    if norm.affine:
        scale = scale * norm.weight.to(dtype)
    shift = -norm.running_mean.to(dtype) * scale
    if norm.affine:
        shift = shift + norm.bias.to(dtype)
    if layer.bias is not None:
        shift = shift + layer.bias.to(dtype) * scale
    return layer.weight.to(dtype) * scale.view(-1, *[1] * (layer.weight.dim() - 1)), shift


def _fold_graph(traced: fx.GraphModule) -> list[tuple[str, str]]:
    """Fold within the graph, in place, and return the names of layers and of the BatchNorms that have gone."""
    modules = dict(traced.named_modules())
    calls = [node.target for node in traced.graph.nodes if node.op == "call_module"]
    pairs = []
    for node in list(traced.graph.nodes):
        before = node.args[0] if node.op == "call_module" and len(node.args) == 1 else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) > 1:
            continue
        layer, norm = modules[str(before.target)], modules[node.target]
        once = calls.count(before.target) == calls.count(node.target) == 1
        if once and _is_pair(layer, norm):
            _fold_pair(layer, norm)
            node.replace_all_uses_with(before)
            traced.graph.erase_node(node)
            pairs.append((str(before.target), str(node.target)))
    traced.delete_all_unused_submodules()
    traced.graph.lint()
    traced.recompile()
    return pairs


def _is_pair(layer: nn.Module, norm: nn.Module) -> bool:
    """Return whether the two compute what their types say, no more, from statistics that are there."""
    plain = not any(module._forward_hooks or module._forward_pre_hooks for module in (layer, norm))
    return (
        plain
        and type(layer) in _FOLDABLE.get(type(norm), ())
        and isinstance(norm, _BatchNorm)
        and norm.running_mean is not None
        and norm.running_var is not None
    )


def _fold_pair(layer: nn.Module, norm: nn.Module) -> None:
    """Give the layer the weights of layer and norm together, computed in float64."""
    assert isinstance(layer, nn.Linear | _ConvNd)
    weight, shift = folded_weights(layer, norm, torch.float64)
    # New parameters: the old ones may be shared with another layer.
    layer.weight, layer.bias = _parameter(weight, layer.weight), _parameter(shift, layer.weight)


def _parameter(values: Tensor, like: Tensor) -> nn.Parameter:
    return nn.Parameter(values.detach().to(like.dtype), requires_grad=False)


@torch.no_grad()
def _same_answers(net: nn.Module, traced: nn.Module, input_shape: tuple[int, ...]) -> bool:
    """Compare the two on random probes, of two batch sizes so that one that tracing baked in shows."""
    like = next(net.parameters())
    generator = torch.Generator().manual_seed(0)
    for rows in (1, 2):
        z = torch.randn(rows, *input_shape, generator=generator).to(like)
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            before, after = net(z), traced(z)
        tolerance = FLOAT32_TOLERANCE * (1 + before.abs().max().item())
        if not torch.allclose(after, before, rtol=0, atol=tolerance):
            return False
    return True
