"""Total variation against the golden numbers (G2) and a slow loop."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck

from understudy.losses import total_variation

STEPS = torch.tensor([[[[0.0, 1.0, 3.0], [2.0, 2.0, 2.0]]]], dtype=torch.float64)


def slow_total_variation(x: Tensor) -> list[float]:
    values = []
    for sample in x.tolist():
        per_channel = []
        for plane in sample:
            height, width = len(plane), len(plane[0])
            down = [abs(plane[h + 1][w] - plane[h][w]) for h in range(height - 1) for w in range(width)]
            across = [abs(plane[h][w + 1] - plane[h][w]) for h in range(height) for w in range(width - 1)]
            per_channel.append(sum(sum(part) / len(part) for part in (down, across) if part))
        values.append(sum(per_channel) / len(per_channel))
    return values


def test_golden_numbers_of_the_specification() -> None:
    """Golden example G2, CAKE's form."""
    assert total_variation(STEPS).tolist() == pytest.approx([2.083333333333333], abs=1e-12)
    pair = torch.cat([STEPS, 2 * STEPS])
    assert float(total_variation(pair).mean()) == pytest.approx(3.125, abs=1e-12)


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_equals_a_slow_loop(samples: int, channels: int, height: int, width: int, seed: int) -> None:
    x = torch.randn(samples, channels, height, width, generator=torch.Generator().manual_seed(seed))
    assert total_variation(x).tolist() == pytest.approx(slow_total_variation(x), abs=1e-12)


def test_nothing_to_vary_is_zero_and_not_nan() -> None:
    """Vectors and axes of size one have no neighbours: no error, no NaN, and a gradient of zero."""
    assert total_variation(torch.randn(4, 7)).tolist() == [0, 0, 0, 0]
    assert total_variation(torch.randn(4, 3, 1, 1)).tolist() == [0, 0, 0, 0]
    column = torch.tensor([[[[1.0], [4.0], [2.0]]]])
    assert total_variation(column).tolist() == [2.5]


def test_gradient_by_finite_differences() -> None:
    x = torch.randn(2, 2, 3, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert gradcheck(total_variation, x)


def test_gradient_at_a_tie_is_zero() -> None:
    flat = torch.ones(1, 1, 3, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(total_variation(flat).sum(), flat)
    assert float(gradient.abs().max()) == 0
