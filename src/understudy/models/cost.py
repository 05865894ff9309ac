"""What a network is and costs: its parameters, its multiply-accumulates, its digest."""

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from understudy.models.modes import evaluating
from understudy.models.network import Network
from understudy.runs.tensors import digest


def count_parameters(model: nn.Module) -> int:
    """Return the number of trainable values; a parameter that is shared counts once."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(model: Network) -> int:
    """Return the multiply-accumulates of convolutions, linear layers and attention for one input.

    Two floating-point operations make one multiply-accumulate. Normalisation, activations, pooling and biases
    are left out, as in the papers. The modes of the model are restored.
    """
    place = next(model.parameters(), model.normalise.mean)
    x = torch.zeros(1, *model.input_shape, device=place.device, dtype=place.dtype)
    # The counter does not know the fused attention of the CPU.
    plain = sdpa_kernel(SDPBackend.MATH)
    with evaluating(model), torch.no_grad(), plain, FlopCounterMode(display=False) as counter:
        model(x)
    return int(counter.get_total_flops()) // 2


def model_digest(model: nn.Module) -> str:
    """Return the hexadecimal SHA-256 of a model's parameters and buffers: names, dtypes, shapes and bytes."""
    return digest(model.state_dict())
