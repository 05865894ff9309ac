"""Batch normalisation over the global batch, so that several processes train what one would.

PyTorch's SyncBatchNorm does the same on CUDA alone; this one runs wherever collectives do.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import FunctionCtx
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def global_batch_norms(module: nn.Module) -> Iterator[None]:
    """Within the block, every batch normalisation in train mode takes its statistics over all processes."""
    norms = [norm for norm in module.modules() if isinstance(norm, _BatchNorm)]
    for norm in norms:
        norm.forward = MethodType(_forward, norm)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


class _Sum(torch.autograd.Function):
    """The sum over processes; each gets the sum of all their gradients, since each contributed to all their sums."""

    @staticmethod
    def forward(_: FunctionCtx, x: Tensor) -> Tensor:
        total = x.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_: FunctionCtx, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        distributed.all_reduce(total)
        return total


def _sum_over_processes(x: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(x)  # type: ignore[no-untyped-call]
    return total


def _forward(norm: _BatchNorm, x: Tensor) -> Tensor:
    if not norm.training:
        return type(norm).forward(norm, x)
    axes = [axis for axis in range(x.ndim) if axis != 1]
    shape = [-1 if axis == 1 else 1 for axis in range(x.ndim)]
    wide = x.float()
    count = x.numel() // x.shape[1] * distributed.get_world_size()
    mean = _sum_over_processes(wide.sum(axes)) / count
    centred = wide - mean.view(shape)
    variance = _sum_over_processes(centred.square().sum(axes)) / count
    _track(norm, mean.detach(), variance.detach(), count)
    scale = torch.rsqrt(variance + norm.eps)
    if norm.affine:
        scale = scale * norm.weight
    out = centred * scale.view(shape)
    return (out + norm.bias.view(shape) if norm.affine else out).to(x.dtype)


@torch.no_grad()
def _track(norm: _BatchNorm, mean: Tensor, variance: Tensor, count: int) -> None:
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    norm.num_batches_tracked += 1
    share = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean, share)
    norm.running_var.lerp_(variance * count / (count - 1), share)
