"""Golden numbers G1 and G2, and properties P6 to P8 of the coefficients, against slow floats in plain Python."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from understudy.errors import ConfigError, DataError, DivergenceError, ShapeError
from understudy.models.text.gate import (
    GRID,
    Gate,
    affinity,
    entropy,
    min_entropy_beta,
    mix_weights,
    nearest_attack,
    pairwise,
    profile,
)

CLEAN, FIRST, SECOND = (0.9, 0.1), (0.6, 0.4), (0.2, 0.8)
PROFILES = ((0.02, 0.60), (0.05, 0.69), (0.10, 0.65))
shares = st.floats(0, 1)
entropies = st.floats(0, 2)


def wide(*rows: object) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def slow_entropy(row: tuple[float, ...]) -> float:
    return -math.fsum(p * math.log(p) for p in row if p > 0)


def slow_clip(h: float, lo: float, hi: float) -> float:
    return 0.5 if hi - lo < 1e-12 else min(max((hi - h) / (hi - lo), 0.0), 1.0)


@pytest.fixture
def three() -> Tensor:
    """Entropies of the three slots of G2."""
    return entropy(wide(CLEAN, FIRST, SECOND))[None]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (CLEAN, 0.3250829733914482),
        (FIRST, 0.6730116670092565),
        (SECOND, 0.5004024235381879),
        ((0.7, 0.2, 0.1), 0.8018185525433372),
        ((1 / 3, 1 / 3, 1 / 3), 1.0986122886681096),
    ],
)
def test_entropies_of_the_specification(row: tuple[float, ...], expected: float) -> None:
    assert entropy(wide(*row)).item() == pytest.approx(expected, abs=1e-15)
    assert slow_entropy(row) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("classes", [1, 2, 5])
def test_entropy_of_a_certain_answer_is_plus_zero(dtype: torch.dtype, classes: int) -> None:
    found = entropy(torch.eye(classes, dtype=dtype))
    assert torch.equal(found, torch.zeros(classes, dtype=found.dtype))
    assert not torch.signbit(found).any()
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


@pytest.mark.parametrize("classes", range(2, 12))
def test_entropy_of_the_uniform_answer_is_the_logarithm_of_the_classes(classes: int) -> None:
    assert entropy(wide(*[1 / classes] * classes)).item() == pytest.approx(math.log(classes), abs=1e-14)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6).filter(lambda row: sum(row) > 1e-3), st.randoms())
@settings(max_examples=50, deadline=None)
def test_entropy_knows_no_order_of_classes(row: list[float], rng) -> None:
    probs = [value / sum(row) for value in row]
    found = entropy(wide(*probs)).item()
    assert found == pytest.approx(slow_entropy(tuple(probs)), abs=1e-14)
    rng.shuffle(probs)
    assert entropy(wide(*probs)).item() == pytest.approx(found, abs=1e-14)


@given(st.floats(-1e6, 1e6), entropies, entropies, st.sampled_from(["clip", "ratio"]))
@settings(max_examples=200, deadline=None)
def test_an_affinity_is_a_share_whatever_the_entropy(h: float, one: float, other: float, form: str) -> None:
    lo, hi = wide(*sorted((one, other)))
    found = affinity(wide(h), lo, hi, form).item()
    assert 0 <= found <= 1
    if form == "clip":
        assert found == pytest.approx(slow_clip(h, lo.item(), hi.item()), abs=1e-12)


@pytest.mark.parametrize("form", ["clip", "ratio"])
def test_a_profile_of_one_point_says_nothing_of_that_point(form: str) -> None:
    point = wide(0.3).squeeze()
    assert affinity(wide(0.3), point, point, form).item() == 0.5


def test_an_empty_range_is_a_half_everywhere_when_cut() -> None:
    point = wide(0.3).squeeze()
    assert affinity(wide(0.0, 0.3, 0.9), point, point, "clip").tolist() == [0.5, 0.5, 0.5]


def test_affinities_of_the_specification(three: Tensor) -> None:
    found = Gate().affinities(three, wide(*PROFILES))
    expected = wide((0.4739948734630203, 0.026544270298036608, 0.27199559356693115))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-15)


def test_pairwise_coefficients_of_the_specification(three: Tensor) -> None:
    betas = Gate(rule="pairwise").betas(three, wide(*PROFILES), attacks=2)
    torch.testing.assert_close(betas, wide((0.9469686424550483, 0.6353899874219029)), rtol=0, atol=1e-15)
    expected = wide((0.7911793149384756, 0.026515678772475848, 0.18230500628904855))
    torch.testing.assert_close(mix_weights(betas), expected, rtol=0, atol=1e-15)


def test_clean_range_weights_of_the_specification(three: Tensor) -> None:
    betas = Gate(rule="clean_range").betas(three[:, :1], wide(*PROFILES), attacks=2)
    expected = wide((0.4739948734630203, 0.2630025632684898, 0.2630025632684898))
    torch.testing.assert_close(mix_weights(betas), expected, rtol=0, atol=1e-15)


def test_softmax_coefficients_of_the_specification(three: Tensor) -> None:
    betas = Gate(rule="softmax", tau=1.0).betas(three, wide(*PROFILES), attacks=2)
    torch.testing.assert_close(betas, wide((0.5861152025628501, 0.5437179403281684)), rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("h", "clip", "ratio"), [(0.69, 0, 0.118421052631579), (0.01, 1, 0.983333333333333), (0.31, 0.5, 0.5)]
)
def test_both_forms_outside_and_inside_a_range(h: float, clip: float, ratio: float) -> None:
    lo, hi = wide(0.02, 0.60)
    assert affinity(wide(h), lo, hi, "clip").item() == pytest.approx(clip, abs=1e-14)
    assert affinity(wide(h), lo, hi, "ratio").item() == pytest.approx(ratio, abs=1e-14)


@given(st.floats(0, 1), entropies, st.floats(0.01, 1))
@settings(max_examples=100, deadline=None)
def test_the_forms_agree_inside_the_range(place: float, lo: float, width: float) -> None:
    h, low, high = wide(lo + place * width), wide(lo), wide(lo + width)
    torch.testing.assert_close(affinity(h, low, high, "ratio"), affinity(h, low, high, "clip"), rtol=0, atol=1e-12)


def test_hard_picks_and_gives_ties_to_the_clean_slot() -> None:
    found = Gate(rule="hard").betas(wide((0.3, 0.3, 0.2), (0.1, 0.5, 0.0)), wide(*PROFILES), attacks=2)
    assert found.tolist() == [[1, 0], [1, 0]]


def test_fixed_asks_nobody() -> None:
    found = Gate(rule="fixed", beta=0.25).betas(torch.empty(3, 0), wide(*PROFILES), attacks=2)
    assert found.tolist() == [[0.25, 0.25]] * 3


def test_nothing_sure_of_a_sentence_means_a_half() -> None:
    assert pairwise(wide((0.0, 0.0, 0.5), (1.0, 0.0, 1.0))).tolist() == [[0.5, 0.0], [1.0, 0.5]]


def test_min_entropy_takes_the_lowest_and_of_equal_ones_the_cleanest() -> None:
    rows = wide([1.0] * 11, [1.0] * 3 + [0.2] + [1.0] * 7, [0.1] + [1.0] * 9 + [0.1])
    assert min_entropy_beta(rows).tolist() == [1.0, 0.3, 1.0]
    assert GRID[3] == 0.3
    with pytest.raises(ShapeError, match="11 coefficients, not 10"):
        min_entropy_beta(rows[:, 1:])
    with pytest.raises(ConfigError, match="min_entropy is no function"):
        Gate(rule="min_entropy").betas(rows, wide(*PROFILES), attacks=2)


def test_normalised_entropies_move_softmax_alone(three: Tensor) -> None:
    probs = wide(CLEAN, FIRST, SECOND)
    scaled = Gate(normalize=True).entropies(probs)[None]
    torch.testing.assert_close(scaled, three / math.log(2), rtol=0, atol=1e-15)
    profiles = wide(*PROFILES)
    for rule in ("pairwise", "clean_range"):
        gate = Gate(rule=rule)
        after = gate.betas(scaled, profiles / math.log(2), attacks=2)
        torch.testing.assert_close(after, gate.betas(three, profiles, attacks=2), rtol=0, atol=1e-14)
    softmax = Gate(rule="softmax")
    assert (softmax.betas(scaled, profiles, attacks=2) - softmax.betas(three, profiles, attacks=2)).abs().max() > 0.01


@pytest.mark.parametrize(
    ("rule", "slots", "passes"),
    [
        ("clean_range", (0,), 2),
        ("pairwise", (0, 1, 2), 4),
        ("softmax", (0, 1, 2), 4),
        ("hard", (0, 1, 2), 4),
        ("fixed", (), 1),
        ("min_entropy", (), 11),
    ],
)
def test_what_a_rule_costs(rule: str, slots: tuple[int, ...], passes: int) -> None:
    gate = Gate(rule=rule)
    assert (gate.first_slots(2), gate.passes(2)) == (slots, passes)
    assert (gate.first_slots(0), gate.passes(0)) == ((), 1)


@given(st.lists(shares, min_size=1, max_size=5), st.integers(0, 1000))
@settings(max_examples=100, deadline=None)
def test_the_average_of_pair_mixtures_is_one_convex_combination(betas: list[float], seed: int) -> None:
    weights = mix_weights(wide(betas))[0]
    assert (weights >= 0).all()
    assert weights.sum().item() == pytest.approx(1, abs=1e-15)
    slots = torch.rand(len(betas) + 1, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    pairs = [beta * slots[0] + (1 - beta) * slot for beta, slot in zip(betas, slots[1:], strict=True)]
    together = torch.einsum("k,kij->ij", weights, slots)
    torch.testing.assert_close(together, sum(pairs) / len(pairs), rtol=0, atol=1e-15)


def test_coefficients_0_and_1_pick_one_slot_exactly() -> None:
    assert mix_weights(wide([1.0], [0.0])).tolist() == [[1, 0], [0, 1]]
    assert mix_weights(wide([1.0] * 3, [0.0] * 3)).tolist() == [[1, 0, 0, 0], [0, 1 / 3, 1 / 3, 1 / 3]]
    assert mix_weights(torch.empty(2, 0)).tolist() == [[1], [1]]


@given(entropies, entropies, st.lists(entropies, min_size=2, max_size=2), st.lists(entropies, min_size=2, max_size=2))
@settings(max_examples=200, deadline=None)
def test_pairwise_never_falls_as_the_clean_slot_gets_surer(one: float, other: float, ends: list, rest: list) -> None:
    """Where both affinities vanish the rule is 1/2 by definition; such rows are left out."""
    less, more = sorted((one, other))
    profiles = wide((0.0, 1.5), sorted(ends))
    gate = Gate(rule="pairwise")
    rows = wide((less, rest[0]), (more, rest[0]), (rest[1], less), (rest[1], more))
    sums = gate.affinities(rows, profiles).sum(dim=1)
    beta = gate.betas(rows, profiles, attacks=1)[:, 0]
    if sums[:2].min() >= 1e-12:
        assert beta[0] >= beta[1]
    if sums[2:].min() >= 1e-12:
        assert beta[3] >= beta[2]


@given(entropies, st.lists(entropies, min_size=2, max_size=2), st.lists(entropies, min_size=2, max_size=2))
@settings(max_examples=50, deadline=None)
def test_clean_range_hears_slot_0_alone(h: float, some: list, others: list) -> None:
    gate = Gate()
    first = gate.betas(wide([h, *some]), wide(*PROFILES), attacks=2)
    second = gate.betas(wide([h, *others]), wide(PROFILES[0], sorted(some), sorted(others)), attacks=2)
    assert torch.equal(first, second)
    assert torch.equal(first[:, 0], first[:, 1])


def test_a_profile_is_two_quantiles() -> None:
    values = torch.arange(101, dtype=torch.float32) / 100
    assert profile(values, 0).tolist() == [0, 1]
    lo, hi = profile(values, 0.05)
    assert (lo.item(), hi.item()) == (pytest.approx(0.05, abs=1e-7), pytest.approx(0.95, abs=1e-7))
    assert profile(wide(0.4), 0.05).tolist() == [0.4, 0.4]


def test_a_gate_makes_the_profile_of_predictions() -> None:
    found = Gate(quantile=0.0, normalize=True).profile(wide(CLEAN, FIRST, SECOND))
    expected = wide(0.3250829733914482, 0.6730116670092565) / math.log(2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("values", "q", "error", "message"),
    [
        ([0.1], 0.5, ConfigError, "leaves no range"),
        ([0.1], -0.1, ConfigError, "leaves no range"),
        ([], 0.1, DataError, "needs samples"),
        ([0.1, math.nan], 0.1, DivergenceError, "predicts NaN"),
        ([0.1, math.inf], 0.1, DivergenceError, "predicts NaN"),
    ],
)
def test_profiles_that_would_mean_nothing_are_refused(values: list, q: float, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        profile(torch.tensor(values), q)


def test_the_nearest_attack_is_named_only_below_a_half() -> None:
    betas = wide((0.5, 0.9), (0.4, 0.2), (0.1, 0.6), (1.0, 1.0))
    assert nearest_attack(betas).tolist() == [0, 2, 1, 0]
    assert nearest_attack(torch.empty(2, 0)).tolist() == [0, 0]


@pytest.mark.parametrize(
    "fields",
    [
        {"beta": 1.1},
        {"beta": -0.1},
        {"beta": math.nan},
        {"tau": 0},
        {"quantile": 0.5},
        {"rule": "entropy"},
        {"form": "cut"},
        {"unknown": 1},
        {"rule": "pairwise", "skip_confident": True},
    ],
)
def test_a_gate_that_means_nothing_is_refused(fields: dict) -> None:
    with pytest.raises(ValidationError):
        Gate(**fields)
