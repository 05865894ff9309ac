"""Where samples start (property 3 of the specification), and the noise that follows each update."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from understudy.models import build_model
from understudy.runs.run import Run
from understudy.synthesis.start import following_noise, pixel_box, smoothed, starting_noise

MakeRun = Callable[..., Run]


def start(sets: Sequence[int], shape: tuple[int, ...], run: Run, radii: tuple[int, ...] = (0,)) -> Tensor:
    return starting_noise(sets, shape, means=(0.0,), spread=1.0, radii=radii, run=run)


def test_samples_start_standard_normal(run: Run) -> None:
    """Property 3: mean and variance within four standard errors, in normalised coordinates."""
    x = start(range(4), (250, 3, 8, 8), run)
    n = x.numel()
    assert abs(float(x.mean())) < 4 / n**0.5
    assert abs(float(x.var()) - 1) < 4 * (2 / n) ** 0.5


def test_in_pixels_samples_have_the_moments_of_the_data_set(run: Run) -> None:
    """Property 3: seen by a teacher of raw pixels, channel by channel, the start has the data's mean and std."""
    mean, std = [0.2, 0.5, 0.7], [0.1, 0.2, 0.3]
    teacher = build_model("cnn:widths=4", input_shape=(3, 8, 8), classes=4, mean=mean, std=std, seed=0)
    pixels = teacher.normalise.inverse(start(range(4), (250, 3, 8, 8), run))
    n = pixels.numel() // 3
    for channel in range(3):
        values = pixels[:, channel].double()
        assert abs(float(values.mean()) - mean[channel]) < 4 * std[channel] / n**0.5
        assert abs(float(values.var()) / std[channel] ** 2 - 1) < 4 * (2 / n) ** 0.5


def test_each_set_has_a_stream_of_its_own(run: Run) -> None:
    together = start(range(3, 6), (4, 7), run)
    alone = torch.cat([start([t], (4, 7), run) for t in (3, 4, 5)])
    assert torch.equal(together, alone)
    assert not torch.equal(together[:4], together[4:8])
    noises = following_noise(range(3, 6), (4, 7), (1.0, 0.5, 2.0), run)
    single = following_noise([4], (4, 7), (0.5,), run)
    for step in range(3):
        assert torch.equal(noises(step)[4:8], single(step))


def test_noise_is_new_at_each_step_and_as_large_as_asked(run: Run) -> None:
    noise = following_noise(range(2), (5000, 4), (2.0, 0.01), run)
    first, second = noise(0), noise(1)
    assert not torch.equal(first, second)
    n = 2 * 5000 * 4
    for rows, size in ((slice(0, 5000), 2.0), (slice(5000, None), 0.01)):
        drawn = torch.cat([first[rows], second[rows]]) / size
        assert abs(float(drawn.mean())) < 4 / n**0.5
        assert abs(float(drawn.var()) - 1) < 4 * (2 / n) ** 0.5


def test_images_start_in_the_layout_of_convolutions(run: Run) -> None:
    assert start([0, 1], (2, 3, 4, 4), run).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("radius", [1, 2])
def test_smoothing_keeps_the_spread_and_joins_neighbours(run: Run, radius: int) -> None:
    """A box passed twice is a triangle; how alike neighbours become is its correlation with itself, moved by one."""
    rough = start([0], (200, 1, 16, 16), run)
    x = smoothed(rough, radius)
    assert float(x.std()) == pytest.approx(1, abs=1e-5)
    width = 2 * radius + 1
    triangle = [min(i + 1, 2 * width - 1 - i) for i in range(2 * width - 1)]
    power = sum(value * value for value in triangle)
    expected = sum(a * b for a, b in pairwise(triangle)) / power
    neighbours = float((x * x.roll(1, dims=-1)).mean())
    assert neighbours == pytest.approx(expected, abs=0.02)
    assert torch.equal(smoothed(rough, 0), rough)


def test_radii_take_turns_over_the_sets(run: Run) -> None:
    shape = (3, 1, 8, 8)
    turns = start(range(4), shape, run, (0, 2))
    plain = start(range(4), shape, run)
    assert torch.equal(turns[:3], plain[:3])
    assert torch.equal(turns[6:9], plain[6:9])
    assert torch.equal(turns[3:6], smoothed(plain[3:6], 2))


def test_means_and_spread_shift_and_scale(run: Run) -> None:
    """Every pair of a radius and a mean has its turn: radii change fastest."""
    shape = (3, 1, 8, 8)
    plain = start(range(4), shape, run, (0, 2))
    found = starting_noise(range(4), shape, means=(-1.0, 2.0), spread=0.5, radii=(0, 2), run=run)
    expected = plain * 0.5 + torch.tensor([-1.0, -1.0, 2.0, 2.0]).repeat_interleave(3).view(-1, 1, 1, 1)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("shape", [(3, 4, 4), (5,)])
def test_the_box_is_the_range_of_pixels(shape: tuple[int, ...]) -> None:
    channels = shape[0]
    mean, std = [0.2 + 0.1 * c for c in range(channels)], [0.1 + 0.05 * c for c in range(channels)]
    spec = "cnn:widths=4" if len(shape) == 3 else "mlp:widths=4"
    teacher = build_model(spec, input_shape=shape, classes=3, mean=mean, std=std, seed=0)
    low, high = pixel_box(teacher, torch.device("cpu"))
    for bound, pixel in ((low, 0.0), (high, 1.0)):
        pixels = teacher.normalise.inverse(bound.expand(2, *shape))
        assert torch.allclose(pixels, torch.full_like(pixels, pixel), atol=1e-6)
