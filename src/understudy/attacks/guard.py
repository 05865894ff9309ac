"""Attack a network and give it back exactly as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def untouched(*modules: nn.Module) -> Iterator[None]:
    """Put networks in eval mode for the block; afterwards they are as they were, also when the block raises.

    Restored are the mode of every submodule by itself, every buffer bit for bit, and every parameter's `.grad`,
    which is None within the block.
    """
    layers = list(dict.fromkeys(layer for module in modules for layer in module.modules()))
    modes = [(layer, layer.training) for layer in layers]
    buffers = [
        (layer, name, buffer, buffer.detach().clone(), _version(buffer))
        for layer in layers
        for name, buffer in layer._buffers.items()
        if buffer is not None
    ]
    gradients = [(parameter, parameter.grad) for module in modules for parameter in module.parameters()]
    try:
        for parameter, _ in gradients:
            parameter.grad = None
        for module in modules:
            module.eval()
        yield
    finally:
        for layer, mode in modes:
            layer.training = mode  # not .train(): that would change its children too
        for layer, name, buffer, kept, version in buffers:
            layer._buffers[name] = buffer
            if _version(buffer) != version:
                with torch.no_grad():
                    buffer.copy_(kept)
        for parameter, gradient in gradients:
            parameter.grad = gradient


def _version(tensor: Tensor) -> int:
    """Return how often a tensor was written to; tensors of inference mode do not count, and cannot be written to."""
    return 0 if tensor.is_inference() else tensor._version
