"""The robust methods' shared terms against golden numbers of their specification, slow NumPy, and their properties."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck

from understudy.losses import (
    hard_cross_entropy,
    kl_rows,
    kl_rows_from_probs,
    mirrored_kl_rows,
    reduce_rows,
    swap_true_and_top,
    weighted_mean,
)

Array = npt.NDArray[np.float64]

LABELS = [0, 1]
P_CLEAN, P_ADV = [[0.6, 0.3, 0.1], [0.2, 0.5, 0.3]], [[0.45, 0.35, 0.2], [0.35, 0.4, 0.25]]
Q_CLEAN, Q_ADV = [[0.7, 0.2, 0.1], [0.5, 0.3, 0.2]], [[0.4, 0.5, 0.1], [0.3, 0.6, 0.1]]
EXACT = {"rtol": 0, "atol": 1e-12}


def logits(probs: list[list[float]]) -> Tensor:
    return torch.tensor(probs).log()


def slow_kl(target: Array, ours: Array, temperature: float = 1.0) -> Array:
    """KL(softmax(target/τ) ‖ softmax(ours/τ)), one row and one class at a time."""
    found = np.zeros(len(target))
    for i, (theirs, mine) in enumerate(zip(target / temperature, ours / temperature, strict=True)):
        log_q = theirs - theirs.max() - np.log(np.exp(theirs - theirs.max()).sum())
        log_p = mine - mine.max() - np.log(np.exp(mine - mine.max()).sum())
        for q, p in zip(log_q, log_p, strict=True):
            found[i] += np.exp(q) * (q - p)
    return found


@pytest.mark.parametrize(
    ("target", "ours", "rows", "mean"),
    [
        (Q_CLEAN, P_ADV, [0.128045050952, 0.047404139971], 0.087724595462),
        (Q_CLEAN, P_CLEAN, [0.026812454257, 0.223804657186], 0.125308555722),
        (Q_ADV, P_ADV, [0.061909539651, 0.105404787729], 0.083657163690),
        (P_CLEAN, P_ADV, [0.057049321467, 0.054345085108], 0.055697203288),
    ],
)
def test_golden_divergences(target: list[list[float]], ours: list[list[float]], rows: list[float], mean: float) -> None:
    for found in (kl_rows(logits(target), logits(ours)), kl_rows_from_probs(torch.tensor(target), logits(ours))):
        assert torch.allclose(found, torch.tensor(rows), **EXACT)
        assert float(reduce_rows(found, reduction="mean", classes=3)) == pytest.approx(mean, abs=1e-12)
        assert float(reduce_rows(found, reduction="class_mean", classes=3)) == pytest.approx(mean / 3, abs=1e-12)


def test_golden_cross_entropies() -> None:
    for probs, value in ((P_CLEAN, 0.601986402163), (P_ADV, 0.857399214046)):
        found = hard_cross_entropy(logits(probs), torch.tensor(LABELS), reduction="mean")
        assert float(found) == pytest.approx(value, abs=1e-12)


def test_golden_swaps() -> None:
    y = torch.tensor(LABELS)
    swapped = swap_true_and_top(torch.tensor(Q_CLEAN), y)
    assert swapped.tolist() == [[0.7, 0.2, 0.1], [0.3, 0.5, 0.2]]
    assert swap_true_and_top(torch.tensor(Q_ADV), y).tolist() == [[0.5, 0.4, 0.1], [0.3, 0.6, 0.1]]


def test_golden_mirrored_divergence() -> None:
    found = mirrored_kl_rows(
        logits([[0.55, 0.35, 0.1]]), logits([[0.7, 0.2, 0.1]]), logits([[0.5, 0.3, 0.2]]), logits([[0.6, 0.3, 0.1]])
    )
    assert float(found) == pytest.approx(0.148683664849, abs=1e-12)


@given(st.integers(0, 10_000), st.sampled_from([0.5, 1.0, 2.0, 30.0]))
@settings(max_examples=30, deadline=None)
def test_divergences_equal_a_slow_loop(seed: int, temperature: float) -> None:
    theirs, ours, minus, other = np.random.default_rng(seed).normal(size=(4, 5, 4)) * 4
    expected = torch.tensor(slow_kl(theirs, ours, temperature))
    t, s = torch.tensor(theirs), torch.tensor(ours)
    assert torch.allclose(kl_rows(t, s, temperature=temperature), expected, **EXACT)
    fixed = kl_rows_from_probs((t / temperature).softmax(dim=1), s, temperature=temperature)
    assert torch.allclose(fixed, expected, **EXACT)
    mirrored = mirrored_kl_rows(t, torch.tensor(minus), s, torch.tensor(other))
    assert torch.allclose(mirrored, torch.tensor(slow_kl(theirs - minus, ours - other)), **EXACT)


@given(st.integers(0, 10_000), st.integers(2, 6))
@settings(max_examples=40, deadline=None)
def test_a_swap_exchanges_two_scores_and_ends_with_the_label_on_top(seed: int, classes: int) -> None:
    """The row is permuted; the same exchange once more gives it back; a second swap finds nothing to do."""
    generator = torch.Generator().manual_seed(seed)
    scores, labels = torch.randn(8, classes, generator=generator), torch.randint(classes, (8,), generator=generator)
    top, swapped = scores.argmax(dim=1), swap_true_and_top(scores, labels)
    assert torch.equal(swapped.argmax(dim=1), labels)
    assert torch.equal(swapped.sort(dim=1).values, scores.sort(dim=1).values)
    assert torch.equal(swap_true_and_top(swapped, top), scores)
    assert torch.equal(swap_true_and_top(swapped, labels), swapped)
    untouched = (swapped == scores).sum(dim=1)
    assert torch.equal(untouched, torch.where(top == labels, classes, classes - 2))
    assert torch.allclose(swap_true_and_top(scores.softmax(dim=1), labels), swapped.softmax(dim=1), **EXACT)


def test_weighted_mean() -> None:
    rows, weights = torch.tensor([1.0, 3.0], requires_grad=True), torch.tensor([0.25, 0.75], requires_grad=True)
    found = weighted_mean(rows, weights)
    assert float(found.detach()) == pytest.approx(2.5)
    found.backward()
    assert weights.grad is None
    assert rows.grad is not None
    assert rows.grad.tolist() == [0.25, 0.75]
    nothing = weighted_mean(rows, torch.zeros(2))
    assert float(nothing.detach()) == 0
    assert torch.autograd.grad(nothing, rows)[0].tolist() == [0, 0]


def test_gradients_by_finite_differences() -> None:
    """With respect to both arguments, for nothing is detached behind the caller's back."""
    generator = torch.Generator().manual_seed(0)
    a, b, c, d = (torch.randn(3, 4, generator=generator, requires_grad=True) for _ in range(4))
    assert gradcheck(lambda t, s: kl_rows(t, s, temperature=2.0), (a, b))
    assert gradcheck(lambda s: kl_rows_from_probs(a.detach().softmax(dim=1), s, temperature=2.0), b)
    assert gradcheck(mirrored_kl_rows, (a, b, c, d))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(dtype: torch.dtype) -> None:
    a, b, c, d = (torch.randn(4, 16, 10, generator=torch.Generator().manual_seed(0)) * 4).to(dtype)
    terms: list[Callable[..., Tensor]] = [
        lambda a, b, *_: kl_rows(a, b),
        lambda a, b, *_: kl_rows_from_probs(a.double().softmax(dim=1), b),
        mirrored_kl_rows,
    ]
    for term in terms:
        found = term(a, b, c, d)
        assert found.dtype == torch.float32
        exact = term(a.double(), b.double(), c.double(), d.double())
        assert torch.allclose(found.double(), exact, rtol=1e-5, atol=1e-5)


def test_extreme_logits_have_finite_values_and_gradients() -> None:
    extreme = torch.tensor([-1e4, 0.0, 1e4], dtype=torch.float32)
    grid = torch.cartesian_prod(extreme, extreme, extreme)
    target, ours = (rows.clone().requires_grad_() for rows in (grid.repeat(27, 1), grid.repeat_interleave(27, dim=0)))
    for found in (
        kl_rows(target, ours),
        kl_rows_from_probs(target.softmax(dim=1), ours),
        mirrored_kl_rows(target, ours, ours, target),
    ):
        gradients = torch.autograd.grad(found.sum(), [target, ours], allow_unused=True)
        assert bool(found.isfinite().all())
        assert all(bool(gradient.isfinite().all()) for gradient in gradients if gradient is not None)


def test_why_targets_are_logits() -> None:
    """The form of the released TRADES, probabilities with a gradient as the target, turns NaN."""
    s = torch.tensor([[0.0, -200.0, 1.0]], dtype=torch.float32, requires_grad=True)
    other = torch.zeros(1, 3, dtype=torch.float32)
    released = torch.nn.functional.kl_div(other.log_softmax(dim=1), s.softmax(dim=1), reduction="batchmean")
    assert bool(torch.autograd.grad(released, s)[0].isnan().any())
    assert bool(torch.autograd.grad(kl_rows(s, other).mean(), s)[0].isfinite().all())
