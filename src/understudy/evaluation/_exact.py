"""The arithmetic of an evaluation: float32 throughout, and the same answer each time."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from understudy.evaluation._forward import device_of


@contextmanager
def exact(model: nn.Module) -> Iterator[None]:
    """Put a network into eval mode and its device into full float32, for the block: no TF32, no autocast.

    Every module's own mode, each parameter's `requires_grad` and the settings of the device come back, whatever
    happens in the block.
    """
    training = [module for module in model.modules() if module.training]
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    precision = torch.get_float32_matmul_precision()
    cudnn = torch.backends.cudnn
    try:
        for module in training:
            module.training = False
        for parameter in learning:  # an attack takes the gradient of the input alone
            parameter.requires_grad_(False)
        torch.set_float32_matmul_precision("highest")
        with (
            cudnn.flags(enabled=cudnn.enabled, benchmark=False, deterministic=True, allow_tf32=False),
            torch.autocast(device_of(model).type, enabled=False),
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
        for parameter in learning:
            parameter.requires_grad_(True)
        for module in training:
            module.training = True
