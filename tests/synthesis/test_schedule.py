"""Step sizes over the sets: golden numbers (G3), and the shape of the sweep (property 4 of the specification)."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.synthesis import Shape, step_size_at


def slow_step_size(index: int, total: int, start: float, decades: float, shape: str) -> float:
    """The two formulas of the released code, letter by letter."""
    if shape == "linear":
        return 10 ** (math.log10(start) - decades * index / total)
    low = math.log10(start) - decades
    return 10 ** (low + 0.5 * decades * (1 + math.cos(math.pi * index / total)))


def test_golden_numbers_of_the_specification() -> None:
    """Golden example G3: ε₀ 0.1, four decades, 500 sets."""
    golden = {
        "linear": (0.09817479430199844, 0.01, 0.001, 1e-4, 1.018591388054117e-5),
        "cosine": (0.09999091020146575, 0.02595455351947007, 0.001, 3.852888470032204e-5, 1.0000909062485374e-5),
    }
    for shape, values in golden.items():
        found = [step_size_at(t, 500, start=0.1, decades=4.0, shape=shape) for t in (1, 125, 250, 375, 499)]
        assert found == pytest.approx(values, rel=1e-12)
    total = sum(step_size_at(t, 500, start=0.1, decades=4.0, shape="linear") for t in range(500))
    assert total == pytest.approx(5.478286645142523, abs=1e-12)


@given(st.sampled_from(["linear", "cosine"]), st.integers(1, 400), st.floats(1e-4, 10), st.floats(0.1, 6))
def test_equals_the_released_formula(shape: Shape, total: int, start: float, decades: float) -> None:
    for index in {0, total // 3, total - 1}:
        slow = slow_step_size(index, total, start, decades, shape)
        assert step_size_at(index, total, start=start, decades=decades, shape=shape) == pytest.approx(slow, rel=1e-12)


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_sweeps_down_from_the_start_and_never_to_the_end(shape: Shape) -> None:
    """Property 4: exact start, strictly falling, the middle of the decades in the middle, the end not reached."""
    sizes = [step_size_at(t, 60, start=0.7, decades=4.0, shape=shape) for t in range(60)]
    assert sizes[0] == 0.7
    assert all(later < earlier for earlier, later in pairwise(sizes))
    assert sizes[30] == pytest.approx(0.7 * 10**-2, rel=1e-12)
    assert sizes[-1] > 0.7 * 10**-4
    assert step_size_at(0, 1, start=0.7, decades=4.0, shape=shape) == 0.7


def test_constant_stays() -> None:
    assert {step_size_at(t, 9, start=0.3, decades=4.0, shape="constant") for t in range(9)} == {0.3}
