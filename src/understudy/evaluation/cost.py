"""What a network costs to run."""

import math
import statistics
import time

import torch
from torch import nn

from understudy.evaluation._forward import answering, device_of


def throughput(
    model: nn.Module,
    input_shape: tuple[int, ...],
    *,
    batch_size: int = 256,
    repeats: int = 5,
    repeat_s: float = 0.2,
) -> float:
    """Return how many images a second a network answers: the median of several timings, after a warm-up.

    Args:
        model: takes float32 inputs in [0, 1]; left in the modes it is found in.
        input_shape: shape of one input.
        batch_size: images of one forward pass, at most.
        repeats: timings, of which the median counts, so that a busy moment of the machine does not.
        repeat_s: about how long one timing lasts, in seconds.
    """
    device = device_of(model)
    with answering(model):
        one = _batch(1, input_shape, device)
        _seconds(model, one, calls=1)
        # A large network on a slow machine gets a smaller batch, so that measuring it takes seconds at most.
        seconds = max(_seconds(model, one, calls=1), 1e-6)
        batch_size = max(1, min(batch_size, int(2 * repeat_s / seconds)))
        x = _batch(batch_size, input_shape, device)
        _seconds(model, x, calls=1)  # warm-up: memory, kernels, compilation
        calls = max(1, math.ceil(repeat_s / max(_seconds(model, x, calls=1), 1e-6)))
        timings = [_seconds(model, x, calls=calls) for _ in range(repeats)]
    return batch_size * calls / statistics.median(timings)


def _batch(rows: int, shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
    x = torch.full((rows, *shape), 0.5, device=device)
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def _seconds(model: nn.Module, x: torch.Tensor, *, calls: int) -> float:
    _wait(x.device)
    start = time.perf_counter()
    for _ in range(calls):
        model(x)
    _wait(x.device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
