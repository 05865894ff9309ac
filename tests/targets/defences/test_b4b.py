"""Coverage pricing against the specification's numbers and a slow account of the buckets."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from understudy.errors import ConfigError
from understudy.targets.defences import B4B, Client
from understudy.targets.defences._buckets import bucket_of
from understudy.targets.defences._draws import normal_rows
from understudy.targets.defences.b4b import noise_level


def level(coverage: float, lam: float = 1e-6, alpha: float = 0.8, beta: float = 80.0) -> float:
    return max(0.0, lam * (math.exp(math.log(alpha / lam) * coverage / beta) - 1))


@pytest.mark.parametrize(
    ("coverage", "expected"),
    [
        (0, 0.0),
        (10, 4.468727e-06),
        (20, 2.890698e-05),
        (40, 8.934272e-04),
        (60, 2.674861e-02),
        (80, 0.799999),
        (100, 23.925579),
    ],
)
def test_the_noise_level(coverage: float, expected: float) -> None:
    """G6, to the digits given."""
    given_level = noise_level(torch.tensor([coverage], dtype=torch.float64), lam=1e-6, alpha=0.8, beta=80.0)
    assert float(given_level) == pytest.approx(expected, rel=5e-7, abs=1e-15)
    assert float(given_level) == pytest.approx(level(coverage), rel=1e-9, abs=1e-15)


def slow_coverage(z: Tensor, defence: B4B, seed: int) -> list[float]:
    """Coverage in per cent after each row, from sets of buckets."""
    buckets = bucket_of(z, seed=seed, name="b4b", planes=defence.planes, sets=defence.draws).tolist()
    seen: list[set[int]] = [set() for _ in range(defence.draws)]
    course = []
    for row in buckets:
        for known, bucket in zip(seen, row, strict=True):
            known.add(bucket)
        shares = [100 * len(known) / 2**defence.planes for known in seen]
        course.append(sum(shares) / len(shares))
    return course


@given(picks=st.lists(st.integers(0, 39), min_size=1, max_size=60))
@settings(max_examples=25, deadline=None)
def test_each_row_pays_for_the_coverage_that_it_completes(picks: list[int], unit_rows) -> None:
    defence = B4B(planes=4, draws=3, beta=60, lam=1e-3)
    client, z = Client(5), unit_rows(40, 8)[picks]
    keys = torch.arange(len(z))
    out = defence.transform(z, keys=keys, client=client)
    course = slow_coverage(z, defence, client.seed)
    assert defence.coverage(client) == pytest.approx(course[-1])
    sigma = torch.tensor([level(c, lam=1e-3, beta=60) for c in course])[:, None]
    expected = z + sigma * normal_rows(client.seed, "b4b", keys, 8)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-6)


@given(first=st.lists(st.integers(0, 39), max_size=20), second=st.lists(st.integers(0, 39), max_size=20))
@settings(max_examples=25, deadline=None)
def test_memory_only_grows_and_merges_by_its_maximum(first: list[int], second: list[int], unit_rows) -> None:
    defence, z = B4B(planes=4, draws=2), unit_rows(40, 8)
    one, other, both = Client(0), Client(0), Client(0)
    for client, picks in ((one, first), (other, second), (both, first), (both, second)):
        before = client.memory.get("b4b", torch.zeros(2, 16, dtype=torch.uint8)).clone()
        defence.transform(z[picks], keys=torch.arange(len(picks)), client=client)
        assert bool((client.memory["b4b"] >= before).all())
    assert torch.equal(torch.maximum(one.memory["b4b"], other.memory["b4b"]), both.memory["b4b"])


def test_a_memory_handed_over_is_not_written_into(unit_rows) -> None:
    """It may be on file, or another thread's."""
    given_memory = torch.zeros(20, 4096, dtype=torch.uint8)
    client = Client(0, {"b4b": given_memory})
    B4B().transform(unit_rows(10, 8), keys=torch.arange(10), client=client)
    assert int(given_memory.sum()) == 0
    assert int(client.memory["b4b"].sum()) > 0


def test_who_roams_pays_and_who_stays_does_not(unit_rows) -> None:
    defence = B4B(planes=6, beta=60)
    roaming, staying = Client(0), Client(0)
    wide, narrow = unit_rows(2000, 16), unit_rows(1, 16) + 0.05 * unit_rows(2000, 16)
    keys = torch.arange(2000)
    far = (defence.transform(wide, keys=keys, client=roaming) - wide).norm(dim=1)
    near = (defence.transform(narrow, keys=keys, client=staying) - narrow).norm(dim=1)
    assert defence.coverage(roaming) > 90
    assert defence.coverage(staying) < 40
    assert float(far[-100:].mean()) > 100 * float(far[:100].mean())
    assert float(near.max()) < 0.01


def test_affine_scales_shifts_pads_and_shuffles(unit_rows) -> None:
    defence = B4B(secret="affine", padding=3, draws=2)
    z = unit_rows(40, 8).double()
    out = defence.transform(z, keys=torch.arange(40), client=Client(0))
    assert out.shape == (40, defence.width(8)) == (40, 11)
    constant = out.std(dim=0) < 1e-9
    assert int(constant.sum()) == 3
    assert bool((out[:, constant].abs() <= 1).all())
    sources = []
    for column in out[:, ~constant].T:
        correlation = torch.corrcoef(torch.cat([column[None], z.T]))[0, 1:].abs()
        assert float(correlation.max()) > 0.9999  # one number explains the column: 40 rows bring no noise to speak of
        source = int(correlation.argmax())
        slope = float(torch.cov(torch.stack([column, z[:, source]]))[0, 1] / z[:, source].var())
        assert abs(slope) <= 1
        assert abs(float(column.mean() - slope * z[:, source].mean())) <= 1
        sources.append(source)
    assert sorted(sources) == list(range(8))
    assert sources != list(range(8))


def test_binary_gives_twice_as_many_bits_which_keep_angles(unit_rows) -> None:
    defence = B4B(secret="binary", draws=2)
    z = unit_rows(2, 512)
    out = defence.transform(torch.cat([z, -z[:1]]), keys=torch.arange(3), client=Client(0))
    assert out.shape == (3, defence.width(512)) == (3, 1024)
    assert set(out.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(out[0], 1 - out[2])
    angle = float(torch.acos(z[0] @ z[1])) / math.pi
    assert float((out[0] != out[1]).float().mean()) == pytest.approx(angle, abs=0.06)


@pytest.mark.parametrize("secret", ["affine", "binary"])
def test_pooled_accounts_do_not_fit_together(secret: str, unit_rows) -> None:
    defence, z = B4B(secret=secret, padding=0), unit_rows(50, 64)
    a, b = (defence.transform(z, keys=torch.arange(50), client=Client(seed)) for seed in (0, 1))
    a, b = a - a.mean(dim=0), b - b.mean(dim=0)
    assert float(torch.nn.functional.cosine_similarity(a, b).abs().mean()) < 0.3


def test_a_memory_of_other_options_is_refused(unit_rows) -> None:
    client = Client(0)
    B4B(draws=2).transform(unit_rows(3, 8), keys=torch.arange(3), client=client)
    with pytest.raises(ConfigError, match=r"shape \(2, 4096\)[\s\S]*\(20, 4096\)"):
        B4B().transform(unit_rows(3, 8), keys=torch.arange(3), client=client)
