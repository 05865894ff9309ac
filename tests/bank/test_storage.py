"""How inputs are stored: exactly, in half precision, or as bytes with a known error."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.bank import StorageType, decode, encode, rounded

SHAPES = st.sampled_from([(4, 7), (3, 2, 3, 4), (1, 1, 1, 1)])


@given(SHAPES, st.floats(1e-3, 300), st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_error_is_within_what_the_type_allows(shape: tuple[int, ...], scale: float, seed: int) -> None:
    """Nothing for float32, half a unit in the last place for float16, half a level of the row's range for uint8."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale
    assert torch.equal(rounded(x, "float32"), x)
    assert bool(((rounded(x, "float16") - x).abs() <= x.abs() * 2**-11 + 2**-25).all())
    rows = x.flatten(1)
    level = (rows.amax(dim=1) - rows.amin(dim=1)) / 255
    error = (rounded(x, "uint8") - x).flatten(1).abs().amax(dim=1)
    slack = 4 * torch.finfo(torch.float32).eps * rows.abs().amax(dim=1)  # the arithmetic itself is float32
    assert bool((error <= level / 2 + slack).all())


@given(SHAPES, st.integers(0, 10_000), st.sampled_from(["float32", "float16"]))
@settings(max_examples=20, deadline=None)
def test_rounding_twice_is_rounding_once(shape: tuple[int, ...], seed: int, storage: StorageType) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    once = rounded(x, storage)
    assert torch.equal(rounded(once, storage), once)


def test_what_is_read_back_is_what_was_rounded() -> None:
    x = torch.randn(6, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    for storage in ("float32", "float16", "uint8"):
        back = decode(encode(x, storage))
        assert back.dtype == torch.float32
        assert torch.equal(back, rounded(x, storage))


def test_bytes_keep_the_ends_of_each_row() -> None:
    x = torch.tensor([[-3.0, 0.1, 5.0], [0.0, 1.0, 255.0]])
    stored = encode(x, "uint8")
    assert stored["inputs"].dtype == torch.uint8
    assert stored["inputs"].tolist() == [[0, 99, 255], [0, 1, 255]]
    assert torch.allclose(decode(stored)[:, [0, 2]], x[:, [0, 2]], rtol=1e-6)


@pytest.mark.parametrize("value", [0.0, -2.5, 1e-30])
def test_a_flat_row_stays_what_it_is(value: float) -> None:
    x = torch.full((2, 4), value)
    assert torch.equal(rounded(x, "uint8"), x)
