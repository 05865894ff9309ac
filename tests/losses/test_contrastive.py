"""Contrastive losses against the golden numbers, a slow second implementation, and their own properties."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import gradcheck
from torch.nn import functional as F

from understudy.losses import discriminate, nt_xent, row_cosine, unit_rows

Rows = NDArray[np.float64]

G1_X, G1_P = ((1, 0), (0, 1)), ((0.8, 0), (0, 0.6))
G2_X = ((1, 0, 0), (0, 0.6, 0.8), (0.8, 0.6, 0))
G2_P = ((0.9, 0.1, 0), (0, 0.5, 0.5), (0.3, -0.4, 0.2))
G3_X = ((0, 1, 0), (0, 0.8, 0.6), (0.6, 0, 0.8))


def tensor(values: tuple[tuple[float, ...], ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def contrast(x: Tensor, p: Tensor, temperature: float, **options: bool) -> Tensor:
    """RDA's arrangement: the surrogate anchors, and its own mismatched pairs repel."""
    return discriminate(x, p, surrogate=x, temperature=temperature, reduction="none", **options)


def slow_discriminate(
    anchors: Rows, candidates: Rows, surrogate: Rows, tau: float, *, self_negatives: bool, positive: bool
) -> list[float]:
    """Exponential, sum, logarithm, one pair at a time."""
    found = []
    for i in range(len(anchors)):
        total = math.exp(float(anchors[i] @ candidates[i]) / tau) if positive else 0.0
        for j in range(len(anchors)):
            if j != i:
                total += math.exp(float(anchors[i] @ candidates[j]) / tau)
                total += math.exp(float(surrogate[i] @ surrogate[j]) / tau) if self_negatives else 0.0
        found.append(-float(anchors[i] @ candidates[i]) / tau + math.log(total))
    return found


def slow_cosine(x: Rows, y: Rows) -> float:
    return float(x @ y) / max(math.sqrt(float(x @ x)) * math.sqrt(float(y @ y)), 1e-8)


def slow_nt_xent(a: Rows, b: Rows, tau: float) -> list[float]:
    stacked, found = np.concatenate([a, b]), []
    for i, row in enumerate(stacked):
        partner = stacked[(i + len(a)) % len(stacked)]
        total = sum(math.exp(slow_cosine(row, other) / tau) for j, other in enumerate(stacked) if j != i)
        found.append(-slow_cosine(row, partner) / tau + math.log(total))
    return found


# Golden numbers of the specification, section 6.2.


@pytest.mark.parametrize(
    ("x", "p", "temperature", "expected"),
    [
        (G1_X, G1_P, 1.0, (-0.106852819, 0.093147181)),
        (G2_X, G2_P, 1.0, (0.818364016, 0.785751002, 1.972719185)),
        (G2_X, G2_P, 0.07, (-1.427759508, -4.835902548, 11.990544726)),
    ],
)
def test_golden_rows(
    x: tuple[tuple[float, ...], ...], p: tuple[tuple[float, ...], ...], temperature: float, expected: tuple[float, ...]
) -> None:
    found = contrast(tensor(x), tensor(p), temperature)
    assert found.tolist() == pytest.approx(expected, abs=1e-9)
    single = contrast(tensor(x).float(), tensor(p).float(), temperature)
    assert single.tolist() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("x", "p", "temperature", "expected"),
    [
        (G1_X, G1_P, 1.0, -0.006852819),
        (G1_X, G1_P, 0.5, -0.706852819),
        (G1_X, G1_P, 0.07, -9.306852819),
        (G2_X, G2_P, 1.0, 1.192278068),
        (G2_X, G2_P, 0.5, 1.065790159),
        (G2_X, G2_P, 0.07, 1.908960890),
        (G3_X, G2_P, 1.0, 1.360961469),
        (G3_X, G2_P, 0.07, 4.918168097),
    ],
)
def test_golden_means(
    x: tuple[tuple[float, ...], ...], p: tuple[tuple[float, ...], ...], temperature: float, expected: float
) -> None:
    for dtype, tolerance in ((torch.float64, {"abs": 1e-9}), (torch.float32, {"rel": 1e-4})):
        rows = tensor(x).to(dtype)
        found = discriminate(rows, tensor(p).to(dtype), surrogate=rows, temperature=temperature, reduction="mean")
        assert float(found) == pytest.approx(expected, **tolerance)


@pytest.mark.parametrize(
    ("x", "p", "temperature", "expected"),
    [(G1_X, G1_P, 1.0, -0.7), (G2_X, G2_P, 1.0, 0.400541767), (G2_X, G2_P, 0.07, -2.143259757)],
)
def test_golden_half_without_self_negatives(
    x: tuple[tuple[float, ...], ...], p: tuple[tuple[float, ...], ...], temperature: float, expected: float
) -> None:
    found = contrast(tensor(x), tensor(p), temperature, self_negatives=False).mean()
    assert float(found) == pytest.approx(expected, abs=1e-9)


def test_golden_contrasts_with_a_target() -> None:
    """Golden example G4: who anchors, and whose rows repel one another, makes four different numbers."""
    s, t = tensor(G2_X), unit_rows(tensor(G2_P))
    for temperature, target_anchored, stacked in (
        (0.07, 0.724648906, 3.512702662),
        (0.5, 0.935883805, 1.274689530),
        (1.0, 1.116440379, 1.368968725),
    ):
        found = discriminate(t, s, surrogate=s, temperature=temperature, reduction="mean")
        assert float(found) == pytest.approx(target_anchored, abs=1e-9)
        assert float(nt_xent(t, s, temperature=temperature, reduction="mean")) == pytest.approx(stacked, abs=1e-9)
    assert float(contrast(s, t, 0.07).mean()) == pytest.approx(0.312691642, abs=1e-9)
    swapped = discriminate(s, t, surrogate=t, temperature=0.07, reduction="mean")
    assert float(swapped) == pytest.approx(-2.019523859, abs=1e-9)  # the mistake, for the record


def test_unit_rows_and_cosines() -> None:
    assert torch.allclose(unit_rows(tensor(((3, 4), (8, -6)))), tensor(((0.6, 0.8), (0.8, -0.6))), rtol=0, atol=1e-12)
    assert torch.equal(unit_rows(tensor(((0, 0),))), tensor(((0, 0),)))
    expected = (0.993883735, 0.989949494, 0.0)
    assert row_cosine(tensor(G2_X), tensor(G2_P)).tolist() == pytest.approx(expected, abs=1e-9)
    assert row_cosine(tensor(((0, 0),)), tensor(((1, 0),))).tolist() == [0]
    views = torch.stack([tensor(G2_X), tensor(G3_X)])
    assert torch.equal(row_cosine(views, tensor(G2_P))[1], row_cosine(tensor(G3_X), tensor(G2_P)))


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.integers(0, 10_000), st.integers(2, 6), st.sampled_from([0.3, 0.5, 2.0]), st.booleans(), st.booleans())
@settings(max_examples=40, deadline=None)
def test_every_form_equals_a_slow_loop(
    seed: int, rows: int, temperature: float, self_negatives: bool, positive: bool
) -> None:
    a, c, s = draw(seed, 3, rows, 4)
    found = discriminate(
        a,
        c,
        surrogate=s,
        temperature=temperature,
        self_negatives=self_negatives,
        positive_in_denominator=positive,
        reduction="none",
    )
    slow = slow_discriminate(
        a.numpy(), c.numpy(), s.numpy(), temperature, self_negatives=self_negatives, positive=positive
    )
    assert found.tolist() == pytest.approx(slow, abs=1e-10, rel=1e-10)
    stacked = nt_xent(a, c, temperature=temperature, reduction="none")
    assert stacked.tolist() == pytest.approx(slow_nt_xent(a.numpy(), c.numpy(), temperature), abs=1e-10)
    assert float(stacked.min()) >= 0


@given(st.integers(0, 10_000), st.sampled_from([0.07, 1.0]))
@settings(max_examples=25, deadline=None)
def test_views_are_apart(seed: int, temperature: float) -> None:
    """Several views at once are those views one by one, whichever side has them; their mean is the mean of means."""
    x, shared = draw(seed, 3, 5, 4), draw(seed + 1, 5, 4)
    for anchors, candidates in ((x, shared), (shared, x)):
        whole = discriminate(anchors, candidates, surrogate=x, temperature=temperature, reduction="none")
        for k in range(3):
            one = discriminate(
                anchors if anchors.ndim == 2 else anchors[k],
                candidates if candidates.ndim == 2 else candidates[k],
                surrogate=x[k],
                temperature=temperature,
                reduction="none",
            )
            assert torch.allclose(whole[k], one, rtol=0, atol=1e-12)
        mean = discriminate(anchors, candidates, surrogate=x, temperature=temperature, reduction="mean")
        assert float(mean) == pytest.approx(float(whole.mean(dim=1).mean()), abs=1e-12)


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_invariances(seed: int) -> None:
    """Properties 5 and 7: a joint permutation and a joint rotation change nothing; one of P alone does."""
    x, p = unit_rows(draw(seed, 6, 4)), draw(seed + 1, 6, 4)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    if torch.equal(order, torch.arange(6)):
        order = order.flip(0)
    rotation = torch.linalg.qr(draw(seed + 2, 4, 4)).Q
    before = float(contrast(x, p, 1.0).mean())
    assert float(contrast(x[order], p[order], 1.0).mean()) == pytest.approx(before, abs=1e-12)
    assert float(contrast(x @ rotation, p @ rotation, 1.0).mean()) == pytest.approx(before, abs=1e-12)
    assert abs(float(contrast(x, p[order], 1.0).mean()) - before) > 1e-9
    assert abs(float(contrast(x @ (2 * rotation), p @ (2 * rotation), 1.0).mean()) - before) > 1e-9


def test_halving_prototypes_changes_the_value() -> None:
    """Property 8: dot products, and not cosines, with the prototypes."""
    found = contrast(tensor(G1_X), 0.5 * tensor(G1_P), 1.0).mean()
    assert float(found) == pytest.approx(0.343147181, abs=1e-9)


def test_the_scale_of_raw_embeddings_is_free() -> None:
    """Property 8: the value does not change with it, and the gradient has no part along a row."""
    raw, p = draw(3, 5, 4), draw(4, 5, 4)
    tracked = raw.clone().requires_grad_()
    loss = contrast(unit_rows(tracked), p, 0.5).mean()
    (gradient,) = torch.autograd.grad(loss, tracked)
    assert float(contrast(unit_rows(7 * raw), p, 0.5).mean()) == pytest.approx(float(loss.detach()), abs=1e-12)
    assert float((gradient * raw).sum(dim=1).abs().max()) < 1e-9
    assert float(gradient.abs().max()) > 1e-3


@pytest.mark.parametrize("temperature", [0.07, 0.5, 1.0])
def test_limits(temperature: float) -> None:
    """Property 9: orthonormal matched rows, the regular simplex, and full collapse."""
    eye = torch.eye(100, dtype=torch.float64)
    orthonormal = math.log(198) - 1 / temperature
    assert float(contrast(eye, eye, temperature).mean()) == pytest.approx(orthonormal, abs=1e-9)
    same = unit_rows(torch.ones(100, 3, dtype=torch.float64))
    assert float(contrast(same, same, temperature).mean()) == pytest.approx(5.288267, abs=1e-6)
    simplex = unit_rows(eye - 0.01)
    assert float(contrast(simplex, simplex, temperature).mean()) == pytest.approx(
        math.log(198) - 100 / (99 * temperature), abs=1e-9
    )


def test_large_logits_stay_finite_in_float32() -> None:
    """What a noisy answer of length 11 comes to: exp(157) overflows, and its logarithm does not."""
    x, p = unit_rows(draw(5, 4, 8)).float(), 11.3 * unit_rows(draw(6, 4, 8)).float()
    tracked = x.clone().requires_grad_()
    found = contrast(tracked, p, 0.07)
    (gradient,) = torch.autograd.grad(found.sum(), tracked)
    assert float((x @ p.T).max()) / 0.07 > 88.7
    assert found.tolist() == pytest.approx(contrast(x.double(), p.double(), 0.07).tolist(), rel=1e-4)
    assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_half_precision_and_autocast_are_computed_in_float32(reduction: str) -> None:
    x, p = unit_rows(draw(7, 16, 32)), draw(8, 16, 32)
    for dtype in (torch.bfloat16, torch.float16):
        low = [each.to(dtype) for each in (x, p)]
        for temperature in (0.07, 0.5):
            with torch.autocast("cpu", torch.bfloat16):
                found = discriminate(*low, surrogate=low[0], temperature=temperature, reduction=reduction)
                pair = nt_xent(*low, temperature=temperature, reduction=reduction)
            assert found.dtype == pair.dtype == torch.float32
            wide = [each.double() for each in low]
            exact = discriminate(*wide, surrogate=wide[0], temperature=temperature, reduction=reduction)
            assert torch.allclose(found.double(), exact, rtol=1e-4, atol=1e-4)
            exact = nt_xent(*wide, temperature=temperature, reduction=reduction)
            assert torch.allclose(pair.double(), exact, rtol=1e-4, atol=1e-4)


def test_gradients_by_finite_differences() -> None:
    x, p = draw(9, 2, 4, 3).requires_grad_(), draw(10, 4, 3)
    assert gradcheck(lambda z: discriminate(z, p, surrogate=z, temperature=0.5, reduction="mean"), x)
    assert gradcheck(
        lambda z: discriminate(p, z, surrogate=z, temperature=0.5, positive_in_denominator=True, reduction="mean"), x
    )
    assert gradcheck(lambda z: nt_xent(z[0], z[1], temperature=0.5, reduction="mean"), x)


def test_info_nce_is_a_special_case() -> None:
    """Without self negatives and with the positive below, it is the cross-entropy of picking one's own match."""
    x, p = draw(11, 5, 4), draw(12, 5, 4)
    found = contrast(x, p, 0.5, self_negatives=False, positive_in_denominator=True).mean()
    expected = F.cross_entropy(x @ p.T / 0.5, torch.arange(5), reduction="mean")
    assert float(found) == pytest.approx(float(expected), abs=1e-12)
