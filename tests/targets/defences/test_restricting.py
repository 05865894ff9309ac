"""Noise, rounding, top-k, quantisation and truncation: the specification's values, and slow second versions."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cosine_similarity

from understudy.errors import ConfigError
from understudy.targets.defences import Client, parse_defences

FLOATS = st.floats(-1, 1, width=32)
ROWS = st.lists(FLOATS, min_size=6, max_size=6)
UNIT = torch.tensor([[0.6, 0.8], [0.28, 0.96], [0.96, 0.28]])


def slow_topk(row: list[float], k: int) -> list[float]:
    kept = sorted(range(len(row)), key=lambda i: (-row[i], i))[:k]
    return [value if i in kept else 0.0 for i, value in enumerate(row)]


def slow_quantise(value: float, bits: int, limit: float) -> float:
    """The nearest of the levels, the upper one of two that are equally near."""
    levels = [limit * (2 * code + 1) / 2**bits - limit for code in range(2**bits)]
    return min(levels, key=lambda level: (abs(level - value), -level))


def test_values_of_the_specification(defend) -> None:
    """Property 16."""
    row = torch.tensor([[0.25, 0.35, -0.05, 0.04999, 0.15, 0.05]])
    rounded = defend("rounding:1", row)
    torch.testing.assert_close(rounded, torch.tensor([[0.2, 0.4, -0.0, 0.0, 0.2, 0.0]]), rtol=0, atol=0)
    assert torch.signbit(rounded)[0].tolist() == [False, False, True, False, False, False]
    signed = torch.tensor([[0.5, -0.7, 0.1, 0.5, 0.45]])
    assert torch.equal(defend("topk:2", signed), torch.tensor([[0.5, 0.0, 0.0, 0.5, 0.0]]))


def test_the_prototype_is_the_mean_of_defended_rows(defend) -> None:
    """Property 15: the mean of rounded rows is not the rounded mean."""
    rounded = defend("rounding:1", UNIT).mean(dim=0, keepdim=True)
    torch.testing.assert_close(rounded, torch.tensor([[0.633333, 0.7]]), rtol=0, atol=1e-6)
    torch.testing.assert_close(defend("rounding:1", UNIT.mean(dim=0, keepdim=True)), torch.tensor([[0.6, 0.7]]))
    rows = torch.tensor([[0.6, 0.8, 0.0], [0.8, 0.0, 0.6]])
    torch.testing.assert_close(defend("topk:1", rows).mean(dim=0), torch.tensor([0.4, 0.4, 0.0]))
    torch.testing.assert_close(defend("topk:1", rows.mean(dim=0, keepdim=True)), torch.tensor([[0.7, 0.0, 0.0]]))


@given(row=ROWS, k=st.integers(1, 6))
def test_topk_keeps_k_by_value_and_the_first_of_equals(row: list[float], k: int, defend) -> None:
    assert defend(f"topk:{k}", torch.tensor([row]))[0].tolist() == slow_topk(row, k)


def test_topk_of_equal_rows_keeps_the_first(defend) -> None:
    out = defend("topk:3", torch.full((2, 40), 0.5))
    assert out.nonzero()[:, 1].tolist() == [0, 1, 2, 0, 1, 2]


@given(row=ROWS, bits=st.integers(1, 6), limit=st.sampled_from((0.25, 1.0, 2.0)))
def test_quantisation_takes_the_nearest_of_its_levels(row: list[float], bits: int, limit: float, defend) -> None:
    spec = f"quantise:{bits},limit={limit}"
    out = defend(spec, torch.tensor([row], dtype=torch.float64))
    assert out[0].tolist() == pytest.approx([slow_quantise(value, bits, limit) for value in row], abs=1e-12)
    assert torch.equal(defend(spec, out), out)


def test_one_bit_is_the_sign(defend) -> None:
    out = defend("quantise:1", torch.tensor([[-1.0, -0.01, 0.0, 0.01, 1.0]]))
    assert out.tolist() == [[-0.5, -0.5, 0.5, 0.5, 0.5]]


@given(row=ROWS, decimals=st.integers(0, 4))
def test_rounding_twice_is_rounding_once(row: list[float], decimals: int, defend) -> None:
    once = defend(f"rounding:{decimals}", torch.tensor([row]))
    assert torch.equal(defend(f"rounding:{decimals}", once), once)
    assert (once - torch.tensor([row])).abs().max() <= 0.5 * 10.0**-decimals + 1e-6


def test_truncation_keeps_the_first_numbers(unit_rows, defend) -> None:
    z = unit_rows(3, 8)
    assert torch.equal(defend("truncate:5", z), z[:, :5])


@pytest.mark.parametrize("spec", ["topk:9", "truncate:9"])
def test_more_numbers_than_the_width_are_refused(spec: str) -> None:
    (defence,) = parse_defences(spec)
    defence.check(9)
    with pytest.raises(ConfigError, match=r"9.* of 8 numbers[\s\S]*1 to 8, the width"):
        defence.check(8)


def test_noise_has_its_mean_and_deviation(defend) -> None:
    noise = defend("noise:0.5,mu=0.2", torch.zeros(400, 256)).double()
    assert float(noise.mean()) == pytest.approx(0.2, abs=5 * 0.5 / math.sqrt(noise.numel()))
    assert float(noise.std()) == pytest.approx(0.5, rel=0.01)
    rows = torch.corrcoef(noise[:30]) - torch.eye(30)
    assert float(rows.abs().max()) < 5 / math.sqrt(256)  # no two rows share their noise


def test_keys_that_agree_in_their_low_bits_get_other_noise(defend) -> None:
    keys = torch.tensor([5, 5 + 2**32, 5 + 2**62])
    a, b, c = defend("noise:1", torch.zeros(3, 64), keys=keys)
    assert max(abs(float(torch.dot(x, y))) for x, y in ((a, b), (a, c), (b, c))) < 5 * 8


def test_noise_averages_out_with_the_root_of_the_views(unit_rows, defend) -> None:
    """Property 19: the error of a prototype of 16 views is a quarter of that of one."""
    z, views = unit_rows(200, 128), 16
    keys = torch.arange(200 * views)
    noisy = defend("noise:0.1", z.repeat(views, 1), keys=keys, client=Client(3)).view(views, 200, 128)
    errors = [(noisy[:n].mean(dim=0) - z).square().sum(dim=1).mean().sqrt() for n in (1, views)]
    assert float(errors[0]) == pytest.approx(0.1 * math.sqrt(128), rel=0.02)
    assert float(errors[0] / errors[1]) == pytest.approx(4.0, abs=0.2)


KINDS = ("half-normal", "exponential", "gaussian")


@pytest.mark.parametrize(
    ("d", "spec", "expected"),
    [
        (128, "rounding:1", (0.951, 0.954, 0.951)),
        (128, "rounding:2", (0.9995, 0.9995, 0.9995)),
        (128, "topk:5", (0.476, 0.594, 0.428)),
        (128, "topk:50", (0.929, 0.963, 0.705)),
        (512, "rounding:1", (0.830, 0.852, 0.830)),
        (512, "topk:10", (0.373, 0.492, 0.339)),
        (2048, "rounding:1", (0.402, 0.600, 0.400)),
        (2048, "topk:5", (0.163, 0.243, 0.153)),
    ],
)
def test_the_quantitative_guide(d: int, spec: str, expected: tuple[float, ...], unit_rows, defend) -> None:
    """The cosines of section 4 between defended and clean rows."""
    for kind, cosine in zip(KINDS, expected, strict=True):
        z = unit_rows(150, d, kind=kind)
        tolerance = 0.0005 if spec == "rounding:2" else 0.012
        assert float(cosine_similarity(defend(spec, z), z).mean()) == pytest.approx(cosine, abs=tolerance)


@pytest.mark.parametrize(("sigma", "one", "ten"), [(0.5, 0.09, 0.27), (0.1, 0.41, 0.81), (0.05, 0.66, 0.94)])
def test_the_guide_of_noise_and_averaging(sigma: float, one: float, ten: float, unit_rows, defend) -> None:
    z = unit_rows(40, 512)
    noisy = defend(f"noise:{sigma}", z.repeat(10, 1)).view(10, 40, 512)
    assert float(cosine_similarity(noisy[0], z).mean()) == pytest.approx(one, abs=0.011)
    assert float(cosine_similarity(noisy.mean(dim=0), z).mean()) == pytest.approx(ten, abs=0.011)


@settings(max_examples=10)
@given(seed=st.integers(0, 2**31))
def test_noise_of_a_raw_row_is_that_of_a_unit_row(seed: int, defend) -> None:
    raw = torch.tensor([[30.0, -40.0]])
    shifted = defend("noise:0.1", raw, client=Client(seed)) - raw
    torch.testing.assert_close(shifted, defend("noise:0.1", torch.zeros(1, 2), client=Client(seed)), rtol=0, atol=1e-5)
