"""Where samples start, and the noise that may follow each update; every set has streams of its own."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from understudy.models import Classifier
from understudy.runs.run import Run

Box = tuple[Tensor, Tensor]
"""Lowest and highest value that a sample may take, broadcast against a batch."""


def starting_noise(
    sets: Sequence[int],
    shape: tuple[int, ...],
    *,
    means: Sequence[float],
    spread: float,
    radii: Sequence[int],
    run: Run,
) -> Tensor:
    """Return normal samples for each set, blurred and shifted as falls to the set.

    Args:
        sets: numbers of the sets; each draws from its own stream.
        shape: of one set, rows first.
        means: set t takes the mean at t // len(radii), modulo their number.
        spread: standard deviation, after blurring.
        radii: set t takes the radius at t modulo their number, in pixels; 0 leaves the noise as it is.
        run: for its seed and device.
    """
    drawn = []
    for t in sets:
        noise = torch.randn(shape, generator=run.stream("synthesis.start", t), device=run.device)
        mean = means[t // len(radii) % len(means)]
        drawn.append(smoothed(noise, radii[t % len(radii)]) * spread + mean)
    return as_network_input(torch.cat(drawn))


def following_noise(
    sets: Sequence[int], shape: tuple[int, ...], sizes: Sequence[float], run: Run
) -> Callable[[int], Tensor]:
    """Return a function that gives the Gaussian noise of each next step, of a standard deviation a set."""
    streams = [run.stream("synthesis.noise", t) for t in sets]

    def noise(step: int) -> Tensor:  # noqa: ARG001 - each stream goes on by itself
        drawn = [
            torch.randn(shape, generator=each, device=run.device) * size
            for each, size in zip(streams, sizes, strict=True)
        ]
        return torch.cat(drawn)

    return noise


def smoothed(noise: Float[Tensor, "n ..."], radius: int) -> Float[Tensor, "n ..."]:
    """Return noise blurred twice by a box of a radius in pixels, around the edges, and scaled to unit spread."""
    if radius == 0:
        return noise
    for _ in range(2):
        noise = F.avg_pool2d(F.pad(noise, (radius,) * 4, mode="circular"), 2 * radius + 1, stride=1)
    return noise / noise.std()


def pixel_box(teacher: Classifier, device: torch.device) -> Box:
    """Return what the range of pixels, [0, 1], is in the teacher's normalised coordinates."""
    shape = (1, -1, *[1] * (len(teacher.input_shape) - 1))
    mean, std = (value.to(device).reshape(shape) for value in (teacher.normalise.mean, teacher.normalise.std))
    return -mean / std, (1 - mean) / std


def as_network_input(x: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
    """Return images in channels-last memory, and anything else as it is."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x
