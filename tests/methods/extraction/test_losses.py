"""What each method minimises: golden numbers G0 to G4, a slow second implementation, and the specified limits."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import gradcheck

from understudy.losses import discriminate, unit_rows
from understudy.methods.extraction.cont_steal import ContSteal
from understudy.methods.extraction.conventional import Conventional
from understudy.methods.extraction.rda import RDA, align, prototypes_of
from understudy.methods.extraction.stolen_encoder import StolenEncoder, distance

Rows = NDArray[np.float64]
Values = tuple[tuple[float, ...], ...]

G1_X, G1_P = ((1, 0), (0, 1)), ((0.8, 0), (0, 0.6))
G2_X = ((1, 0, 0), (0, 0.6, 0.8), (0.8, 0.6, 0))
G2_P = ((0.9, 0.1, 0), (0, 0.5, 0.5), (0.3, -0.4, 0.2))
G3_X = ((0, 1, 0), (0, 0.8, 0.6), (0.6, 0, 0.8))
EXACT = 1e-12  # the floor of float64 tests


def tensor(values: Values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def total(method: RDA, blocks: list[Values], p: Values, dtype: torch.dtype = torch.float64) -> float:
    x = torch.stack([tensor(block) for block in blocks]).to(dtype)
    return float(method.terms(x, tensor(p).to(dtype))["loss"])


def slow_rda(blocks: Rows, p: Rows, method: RDA) -> dict[str, float]:
    """Equations of section 2.5, one pair at a time, with the released code's exp, sum and log."""
    sums = {"discriminate": 0.0, "align": 0.0, "amp_mean": 0.0, "cos_mean": 0.0}
    count, tau = len(p), method.temperature
    for block in blocks:
        x = [row / math.sqrt(sum(float(value) ** 2 for value in row)) for row in block]
        for i in range(count):
            negatives = 0.0
            for j in range(count):
                if j != i:
                    negatives += math.exp(float(x[i] @ p[j]) / tau)
                    negatives += math.exp(float(x[i] @ x[j]) / tau) if method.self_negatives else 0.0
            if method.positive_in_denominator:
                negatives += math.exp(float(x[i] @ p[i]) / tau)
            amplitude = sum(float(a - b) ** 2 for a, b in zip(x[i], p[i], strict=True))
            cosine = float(x[i] @ p[i]) / math.sqrt(float(p[i] @ p[i]))
            sums["discriminate"] += -float(x[i] @ p[i]) / tau + math.log(negatives)
            sums["align"] += math.log(amplitude) - math.log(1 + cosine)
            sums["amp_mean"] += amplitude
            sums["cos_mean"] += cosine
    found = {name: value / (len(blocks) * count) for name, value in sums.items()}
    return {"loss": method.alpha * found["discriminate"] + method.beta * found["align"], **found}


# Golden numbers of the specification, section 6.2.


def test_golden_prototype() -> None:
    """G0: the mean of unit answers, not re-normalised; neither the mean of raw ones nor its unit vector."""
    answers = unit_rows(torch.tensor([[[3.0, 4.0]], [[8.0, -6.0]]], dtype=torch.float64))  # (views, images, width)
    prototype = prototypes_of(answers, renormalise=False)
    assert prototype.tolist() == [pytest.approx([0.7, 0.1], abs=1e-12)]
    assert float(prototype.norm()) == pytest.approx(0.707106781, abs=1e-9)
    again = prototypes_of(answers, renormalise=True)
    assert again.tolist() == [pytest.approx([0.989949494, 0.141421356], abs=1e-9)]


@pytest.mark.parametrize(
    ("x", "p", "amplitudes", "cosines", "expected"),
    [
        (G1_X, G1_P, (0.04, 0.16), (1, 1), (-3.912023005, -2.525728644)),
        (
            G2_X, G2_P, (0.02, 0.10, 1.29), (0.993883735, 0.989949494, 0),
            (-4.602107368, -2.990694351, 0.254642218),
        ),
    ],
)  # fmt: skip
def test_golden_align(
    x: Values, p: Values, amplitudes: tuple[float, ...], cosines: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    found = align(tensor(x), tensor(p), floor=EXACT)
    assert found["amplitude"].tolist() == pytest.approx(amplitudes, abs=1e-9)
    assert found["cosine"].tolist() == pytest.approx(cosines, abs=1e-9)
    assert found["align"].tolist() == pytest.approx(expected, abs=1e-9)
    assert float(found["floored"].sum()) == 0
    single = align(tensor(x).float(), tensor(p).float(), floor=1e-8)
    assert single["align"].tolist() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("blocks", "p", "temperature", "beta", "expected"),
    [
        ([G1_X], G1_P, 1.0, 1.0, -3.225728644),
        ([G1_X], G1_P, 0.07, 1.0, -12.525728644),
        ([G1_X], G1_P, 0.07, 20.0, -73.684369317),
        ([G2_X], G2_P, 1.0, 1.0, -1.253775099),
        ([G2_X], G2_P, 0.5, 1.0, -1.380263008),
        ([G2_X], G2_P, 0.07, 1.0, -0.537092277),
        ([G2_X], G2_P, 1.0, 20.0, -47.728785270),
        ([G2_X], G2_P, 0.07, 20.0, -47.012102447),
        ([G2_X, G3_X], G2_P, 1.0, 1.0, -0.545861781),
        ([G2_X, G3_X], G2_P, 0.07, 1.0, 1.591082945),
    ],
)
def test_golden_totals(blocks: list[Values], p: Values, temperature: float, beta: float, expected: float) -> None:
    """G1, G2, and G3 with two views of each image, averaged."""
    method = RDA(temperature=temperature, beta=beta, floor=EXACT)
    assert total(method, blocks, p) == pytest.approx(expected, abs=1e-9)
    assert total(method, blocks, p, torch.float32) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("loss", "x", "p", "temperature", "expected"),
    [
        ("discriminate", G1_X, G1_P, 1.0, -0.006852819),
        ("discriminate", G3_X, G2_P, 0.07, 4.918168097),
        ("align", G1_X, G1_P, 1.0, -3.218875825),
        ("align", G2_X, G2_P, 1.0, -2.446053167),
        ("align", G3_X, G2_P, 1.0, -1.198909931),
        ("infonce", G1_X, G1_P, 1.0, -0.7),
        ("infonce", G2_X, G2_P, 0.07, -2.143259757),
        ("mse", G1_X, G1_P, 1.0, 0.05),
        ("mse", G2_X, G2_P, 1.0, 0.156666667),
        ("cosine", G1_X, G1_P, 1.0, -1.0),
        ("cosine", G2_X, G2_P, 1.0, -0.661277743),
    ],
)
def test_golden_ablations(loss: str, x: Values, p: Values, temperature: float, expected: float) -> None:
    method = RDA.checked({"loss": loss, "temperature": temperature, "floor": EXACT}, where="test")
    assert isinstance(method, RDA)
    assert total(method, [x], p) == pytest.approx(expected, abs=1e-9)
    assert total(method, [x], p, torch.float32) == pytest.approx(expected, rel=1e-4)


def test_cross_entropy_takes_embeddings_as_logits() -> None:
    expected = 0.0
    for ours, theirs in zip(G2_X, G2_P, strict=True):
        log_total = math.log(sum(math.exp(value) for value in ours))
        expected += -sum(weight * (value - log_total) for weight, value in zip(theirs, ours, strict=True)) / 3
    assert total(RDA(loss="cross_entropy"), [G2_X, G2_X], G2_P) == pytest.approx(expected, abs=1e-12)


def test_golden_gradients() -> None:
    """G1: of unit rows as free variables, and through the normalisation of raw embeddings."""
    method, p = RDA(temperature=1.0, floor=EXACT), tensor(G1_P)
    free = tensor(G1_X).requires_grad_()
    rows = align(free, p, floor=EXACT)["align"].mean()
    contrast = discriminate(free, p, surrogate=free, temperature=1.0, reduction="mean")
    (gradient,) = torch.autograd.grad(contrast + rows, free)
    assert gradient.tolist() == [pytest.approx((4.6, 0.65), abs=1e-9), pytest.approx((0.7, 2.2), abs=1e-9)]
    raw = tensor(((2, 1), (-1, 3))).requires_grad_()
    loss = method.terms(raw[None], p)["loss"]
    (gradient,) = torch.autograd.grad(loss, raw)
    assert float(loss.detach()) == pytest.approx(-2.053447082, abs=1e-9)
    expected = ((-0.535913147, 1.071826293), (-0.105607479, -0.035202493))
    assert gradient.tolist() == [pytest.approx(row, abs=1e-9) for row in expected]


def test_golden_baselines() -> None:
    """G4: StolenEncoder in both versions, the conventional attack, and both Cont-Steals, each through its method."""
    s, a, t = tensor(G2_X), tensor(G3_X), unit_rows(tensor(G2_P))
    lengths = [float(distance(s[i : i + 1], t[i : i + 1], kind="norm")) for i in range(3)]
    assert lengths == pytest.approx((0.110600771, 0.141778040, 1.414213562), abs=1e-9)
    assert float(distance(s, t, kind="norm")) == pytest.approx(1.666592374, abs=1e-9)
    both = torch.stack([s, a])
    authors = StolenEncoder.official_stolen_encoder().terms(both, t)
    assert float(authors["loss"]) == pytest.approx(48.351917080, abs=1e-9)
    repository = StolenEncoder().terms(both, t)
    assert float(repository["plain"]) == pytest.approx(0.225814838, abs=1e-9)
    assert float(repository["augmented"]) == pytest.approx(0.281834407, abs=1e-9)
    assert float(repository["loss"]) == pytest.approx(5.862502974, abs=1e-9)
    assert float(Conventional().terms(s[None], t)["loss"]) == pytest.approx(0.225814838, abs=1e-9)
    assert float(ContSteal().terms(s[None], t)["loss"]) == pytest.approx(0.724648906, abs=1e-9)
    original = ContSteal.official_cont_steal().terms(s[None], t)
    assert float(original["loss"]) == pytest.approx(1.274689530, abs=1e-9)


# A slow second implementation, and the properties of section 6.1.


@given(
    st.integers(0, 10_000), st.integers(1, 3), st.integers(2, 5), st.sampled_from([0.5, 1.0]), st.booleans(),
    st.booleans(),
)  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_every_term_equals_a_slow_loop(
    seed: int, views: int, rows: int, temperature: float, self_negatives: bool, positive: bool
) -> None:
    raw, p = draw(seed, views, rows, 4), draw(seed + 1, rows, 4)
    method = RDA(
        temperature=temperature, alpha=0.7, beta=3.0, self_negatives=self_negatives, positive_in_denominator=positive
    )
    found = method.terms(raw, p)
    for name, value in slow_rda(raw.numpy(), p.numpy(), method).items():
        assert float(found[name]) == pytest.approx(value, abs=1e-9), name


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_invariances(seed: int) -> None:
    """Properties 5, 7 and 8 for the whole loss."""
    raw, p, rotation = draw(seed, 2, 5, 4), draw(seed + 1, 5, 4), torch.linalg.qr(draw(seed + 2, 4, 4)).Q
    method, order = RDA(temperature=1.0), torch.tensor([3, 0, 4, 1, 2])
    tracked = raw.clone().requires_grad_()
    loss = method.terms(tracked, p)["loss"]
    (gradient,) = torch.autograd.grad(loss, tracked)
    before = float(loss.detach())
    assert float(method.terms(raw[:, order], p[order])["loss"]) == pytest.approx(before, abs=1e-12)
    assert abs(float(method.terms(raw, p[order])["loss"]) - before) > 1e-9
    assert float(method.terms(raw @ rotation, p @ rotation)["loss"]) == pytest.approx(before, abs=1e-12)
    skewed = torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64))
    assert abs(float(method.terms(raw @ skewed, p @ skewed)["loss"]) - before) > 1e-9
    assert float(method.terms(5 * raw, p)["loss"]) == pytest.approx(before, abs=1e-12)
    assert float((gradient * raw).sum(dim=-1).abs().max()) < 1e-9


@pytest.mark.parametrize(("length", "expected"), [(0.5, -2.079441542), (0.9, -5.298317367), (0.99, -9.903487553)])
def test_align_has_its_minimum_where_the_angle_is_none(length: float, expected: float) -> None:
    """Property 9: 2 log|1 − r| − log 2 there, and strictly falling with the cosine before."""
    angles = torch.linspace(math.pi * 0.999, 0, 1000, dtype=torch.float64)
    x = torch.stack([angles.cos(), angles.sin()], dim=1)
    p = torch.tensor([[length, 0.0]], dtype=torch.float64).expand(1000, 2)
    rows = align(x, p, floor=EXACT)["align"]
    assert float(rows[-1]) == pytest.approx(expected, abs=1e-9)
    assert bool((rows.diff() < 0).all())


@pytest.mark.parametrize(
    ("dtype", "floor", "expected"), [(torch.float64, 1e-12, -28.324168), (torch.float32, 1e-8, -19.113828)]
)
def test_a_matched_pair_of_unit_length_is_finite(dtype: torch.dtype, floor: float, expected: float) -> None:
    """Property 10: log ε − log 2 with no gradient, where the released code has −∞ and gradients that are no numbers."""
    x = torch.eye(4, dtype=dtype)[:3].requires_grad_()
    found = align(x, x.detach(), floor=floor)
    assert found["align"].tolist() == pytest.approx([expected] * 3, abs=1e-5)
    assert float(found["floored"].sum()) == 3
    (gradient,) = torch.autograd.grad(found["align"].mean(), x)
    assert float(gradient.abs().max()) < 1e-6
    raw = torch.eye(4, dtype=dtype)[:3].requires_grad_()
    terms = RDA(floor=floor, alpha=0.0).terms(raw[None], raw.detach())
    (gradient,) = torch.autograd.grad(terms["loss"], raw)
    assert float(terms["floored"]) == 3
    assert torch.equal(gradient, torch.zeros_like(gradient))
    whole = RDA(floor=floor).terms(raw[None], raw.detach())["loss"]
    assert math.isfinite(float(whole.detach()))


def test_opposite_embeddings_are_floored_too() -> None:
    """An angle of 180 degrees has g = 0: without a floor the term would be infinite."""
    x = tensor(((1, 0), (0, 1))).requires_grad_()
    found = align(x, -x.detach(), floor=EXACT)
    assert found["align"].tolist() == pytest.approx([math.log(4) - math.log(EXACT)] * 2, abs=1e-9)
    assert float(found["floored"].sum()) == 2
    (gradient,) = torch.autograd.grad(found["align"].sum(), x)
    assert bool(gradient.isfinite().all())


def test_distances_by_hand() -> None:
    s, y = tensor(((0.6, 0.8), (1, 0))), tensor(((1, 0), (0, 1)))
    assert float(distance(s, y, kind="norm")) == pytest.approx(math.sqrt(0.8) + math.sqrt(2), abs=1e-12)
    assert float(distance(s, y, kind="l1")) == pytest.approx(1.2 + 2, abs=1e-12)
    assert float(distance(s, y, kind="cosine")) == pytest.approx(0.4 + 1, abs=1e-12)
    assert float(distance(s, y, kind="mse")) == pytest.approx((0.8 + 2) / 4, abs=1e-12)
    views = torch.stack([s, y])
    for kind in ("norm", "l1", "cosine", "mse"):
        assert float(distance(views, y, kind=kind)[0]) == pytest.approx(float(distance(s, y, kind=kind)), abs=1e-12)


def test_two_views_weigh_as_much_as_one() -> None:
    """The weight λ is of all views together."""
    s, a, t = tensor(G2_X), tensor(G3_X), unit_rows(tensor(G2_P))
    for method in (StolenEncoder(), StolenEncoder.official_stolen_encoder()):
        one = float(method.terms(torch.stack([s, a]), t)["loss"])
        assert float(method.terms(torch.stack([s, a, a]), t)["loss"]) == pytest.approx(one, abs=1e-12)


def test_conventional_can_compare_raw_answers() -> None:
    """As Cont-Steal's authors do; and of unit rows the loss is (2/d) · mean(1 − cos)."""
    raw, y = draw(1, 1, 4, 3), draw(2, 4, 3)
    found = float(Conventional.official_cont_steal().terms(raw, y)["loss"])
    assert found == pytest.approx(float(np.mean((raw[0].numpy() - y.numpy()) ** 2)), abs=1e-12)
    x, unit = unit_rows(raw[0]), unit_rows(y)
    expected = 2 / 3 * float((1 - (x * unit).sum(dim=1)).mean())
    assert float(Conventional().terms(raw, unit)["loss"]) == pytest.approx(expected, abs=1e-12)


def test_gradients_by_finite_differences() -> None:
    raw, p = draw(3, 2, 4, 3).requires_grad_(), draw(4, 4, 3)
    methods = (RDA(temperature=0.5), StolenEncoder.official_stolen_encoder(), ContSteal.official_cont_steal())
    for method in methods:
        assert gradcheck(lambda z, method=method: method.terms(z, p)["loss"], raw)
