"""Named streams: each draw is a function of its name, and of nothing drawn elsewhere."""

import hashlib
from itertools import product

import torch
from hypothesis import given
from hypothesis import strategies as st

from understudy.runs.seeds import derive_seed, stream


def test_streams_are_told_apart_by_every_part_of_their_name() -> None:
    names = list(product((0, 1, 11), ("a", "b", "a|1"), (0, 1), (0, 1, 11)))
    seeds = {derive_seed(seed, name, rank=rank, step=step) for seed, name, rank, step in names}
    assert len(seeds) == len(names)


def test_seeds_stay_what_they_are() -> None:
    """A literal, so that old runs can be repeated: changing how seeds are derived changes every result."""
    assert derive_seed(0, "held_out") == 3326193860947641903
    key = b"0|held_out|0|0"
    assert int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") >> 1 == 3326193860947641903


@given(st.integers(0, 2**31), st.text(max_size=10), st.integers(0, 10**9))
def test_seeds_fit_a_generator(seed: int, name: str, step: int) -> None:
    assert 0 <= derive_seed(seed, name, step=step) < 2**63


def test_drawing_from_one_stream_moves_no_other() -> None:
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    alone = torch.randn(5, generator=stream(0, "b"))
    torch.randn(100, generator=stream(0, "a"))
    assert torch.equal(torch.randn(5, generator=stream(0, "b")), alone)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_streams_are_not_correlated() -> None:
    """Four standard errors of the correlation of two independent samples."""
    rows = torch.stack([torch.randn(20_000, generator=stream(0, "x", step=step)) for step in range(6)])
    correlation = torch.corrcoef(rows) - torch.eye(6)
    assert float(correlation.abs().max()) < 4 / 20_000**0.5
