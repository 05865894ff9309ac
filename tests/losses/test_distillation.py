"""Student losses against the golden numbers (G6), a slow second implementation, and their own properties."""

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck

from understudy.losses import (
    distillation_loss,
    hard_cross_entropy,
    kl_divergence,
    kl_from_probs,
    soft_cross_entropy,
    tempered_kl,
)

Rows = Sequence[Sequence[float]]

TEACHER = ((2.0, 0.0, -1.0), (0.0, 1.0, 1.0))
STUDENT = ((1.0, 0.0, 0.0), (0.0, 0.0, 2.0))


def slow_log_softmax(row: Sequence[float], temperature: float = 1.0) -> list[float]:
    scaled = [value / temperature for value in row]
    log_total = max(scaled) + math.log(sum(math.exp(value - max(scaled)) for value in scaled))
    return [value - log_total for value in scaled]


def slow_soft_cross_entropy(student: Rows, probs: Rows) -> list[float]:
    return [
        -sum(q * log_p for q, log_p in zip(labels, slow_log_softmax(row), strict=True))
        for row, labels in zip(student, probs, strict=True)
    ]


def slow_kl(student: Rows, teacher: Rows, temperature: float) -> list[float]:
    total = []
    for ours, theirs in zip(student, teacher, strict=True):
        log_p, log_q = slow_log_softmax(ours, temperature), slow_log_softmax(theirs, temperature)
        total.append(sum(math.exp(q) * (q - p) for p, q in zip(log_p, log_q, strict=True)))
    return total


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def test_golden_numbers_of_the_specification() -> None:
    """Golden example G6."""
    student, teacher = torch.tensor(STUDENT, requires_grad=True), torch.tensor(TEACHER)
    probs = teacher.softmax(dim=1)
    soft = soft_cross_entropy(student, probs, reduction="batchmean")
    entropy = soft_cross_entropy(teacher, probs, reduction="batchmean")
    (gradient,) = torch.autograd.grad(soft, student)
    soft, student = soft.detach(), student.detach()
    expected = [
        [-0.133838924857755, 0.048873179116245, 0.084965745741510],
        [-0.024427712288881, -0.157905909666159, 0.182333621955040],
    ]
    assert float(soft) == pytest.approx(1.05127857458478, abs=1e-12)
    assert float(entropy) == pytest.approx(0.7708119121414438, abs=1e-12)
    assert float(kl_divergence(student, teacher, reduction="batchmean")) == pytest.approx(0.2804666624433361, abs=1e-12)
    assert torch.allclose(gradient, torch.tensor(expected), rtol=0, atol=1e-12)
    for temperature, value in ((4.0, 0.3443263572440616), (20.0, 0.3371321088042834)):
        found = tempered_kl(student, teacher, temperature=temperature, reduction="batchmean")
        assert float(found) == pytest.approx(value, abs=1e-12)
    by_element = tempered_kl(student, teacher, temperature=20.0, reduction="elementmean")
    assert float(by_element) == pytest.approx(0.1123773696014278, abs=1e-12)
    hard = hard_cross_entropy(student, teacher.argmax(dim=1), reduction="mean")
    assert float(hard) == pytest.approx(1.395494740076968, abs=1e-12)


logit_rows = st.lists(st.lists(st.floats(-8, 8), min_size=3, max_size=3), min_size=1, max_size=5)


@given(st.data(), st.sampled_from([0.5, 1.0, 4.0, 20.0]))
@settings(max_examples=40, deadline=None)
def test_every_reduction_equals_a_slow_loop(data: st.DataObject, temperature: float) -> None:
    student = data.draw(logit_rows)
    teacher = data.draw(
        st.lists(st.lists(st.floats(-8, 8), min_size=3, max_size=3), min_size=len(student), max_size=len(student))
    )
    probs = [[math.exp(value) for value in slow_log_softmax(row)] for row in teacher]
    divergence, soft = slow_kl(student, teacher, temperature), slow_soft_cross_entropy(student, probs)
    h, f, q = torch.tensor(student), torch.tensor(teacher), torch.tensor(probs)
    close = {"rtol": 0, "atol": 1e-12}
    assert torch.allclose(
        kl_divergence(h, f, temperature=temperature, reduction="none"), torch.tensor(divergence), **close
    )
    assert torch.allclose(soft_cross_entropy(h, q, reduction="none"), torch.tensor(soft), **close)
    for reduction, share in (("batchmean", 1), ("elementmean", 3)):
        kl = kl_divergence(h, f, temperature=temperature, reduction=reduction)
        tempered = tempered_kl(h, f, temperature=temperature, reduction=reduction)
        entropy = soft_cross_entropy(h, q, reduction=reduction)
        assert float(kl) == pytest.approx(mean(divergence) / share, abs=1e-12)
        assert float(tempered) == pytest.approx(temperature**2 * mean(divergence) / share, abs=1e-9)
        assert float(entropy) == pytest.approx(mean(soft) / share, abs=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_hard_cross_entropy_equals_a_slow_loop(smoothing: float) -> None:
    labels = [2, 1]
    slow = []
    for row, label in zip(STUDENT, labels, strict=True):
        log_p = slow_log_softmax(row)
        slow.append(-(1 - smoothing) * log_p[label] - smoothing * mean(log_p))
    found = hard_cross_entropy(torch.tensor(STUDENT), torch.tensor(labels), smoothing=smoothing, reduction="none")
    assert torch.allclose(found, torch.tensor(slow), rtol=0, atol=1e-12)


@given(st.integers(0, 10_000), st.floats(-50, 50), st.sampled_from([1.0, 4.0]))
@settings(max_examples=40, deadline=None)
def test_divergence_is_a_divergence(seed: int, shift: float, temperature: float) -> None:
    """Never negative, zero at equality, blind to a shift of the logits, and the same in any order of rows."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, 6, 4, generator=generator) * 5
    rows = kl_divergence(student, teacher, temperature=temperature, reduction="none")
    assert float(rows.min()) >= -1e-15
    assert float(kl_divergence(teacher, teacher, temperature=temperature, reduction="none").abs().max()) == 0
    shifted = kl_divergence(student + shift, teacher, temperature=temperature, reduction="none")
    assert torch.allclose(shifted, rows, rtol=0, atol=1e-12)
    order = torch.randperm(6, generator=generator)
    mixed = kl_divergence(student[order], teacher[order], temperature=temperature, reduction="none")
    assert torch.equal(mixed, rows[order])


def test_soft_cross_entropy_is_divergence_plus_the_labels_entropy() -> None:
    student, teacher = torch.tensor(STUDENT), torch.tensor(TEACHER)
    probs = teacher.softmax(dim=1)
    entropy = -(probs * probs.log()).sum(dim=1)
    soft = soft_cross_entropy(student, probs, reduction="none")
    assert torch.allclose(soft, kl_divergence(student, teacher, reduction="none") + entropy, rtol=0, atol=1e-12)


def test_gradients_by_finite_differences() -> None:
    student, teacher = torch.tensor(STUDENT, requires_grad=True), torch.tensor(TEACHER)
    labels = torch.tensor([0, 2])
    assert gradcheck(lambda h: soft_cross_entropy(h, teacher.softmax(dim=1), reduction="batchmean"), student)
    assert gradcheck(lambda h: tempered_kl(h, teacher, temperature=4.0, reduction="elementmean"), student)
    assert gradcheck(lambda h: hard_cross_entropy(h, labels, smoothing=0.1, reduction="mean"), student)


def test_no_gradient_reaches_the_teacher() -> None:
    student, teacher = torch.tensor(STUDENT, requires_grad=True), torch.tensor(TEACHER, requires_grad=True)
    loss = kl_divergence(student, teacher, reduction="batchmean")
    loss = loss + soft_cross_entropy(student, teacher.softmax(dim=1), reduction="batchmean")
    loss.backward()
    assert teacher.grad is None
    assert student.grad is not None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_summed_in_float32(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(2, 64, 10, generator=generator) * 4).to(dtype)
    terms: list[Callable[[Tensor, Tensor], Tensor]] = [
        lambda h, f: kl_divergence(h, f, temperature=4.0, reduction="batchmean"),
        lambda h, f: soft_cross_entropy(h, f.double().softmax(dim=1), reduction="batchmean"),
        lambda h, f: hard_cross_entropy(h, f.argmax(dim=1), reduction="mean"),
    ]
    for term in terms:
        found = term(student, teacher)
        assert found.dtype == torch.float32
        # The inputs are the same numbers in both precisions, so what is left is the rounding of float32.
        assert float(found) == pytest.approx(float(term(student.double(), teacher.double())), rel=2e-6)


def test_huge_logits_stay_finite() -> None:
    student, teacher = torch.tensor([[1e4, -1e4, 0.0]]), torch.tensor([[-1e4, 1e4, 0.0]])
    for loss in (
        kl_divergence(student, teacher, reduction="batchmean"),
        soft_cross_entropy(student, teacher.softmax(dim=1), reduction="batchmean"),
    ):
        assert float(loss) == pytest.approx(2e4)


# Section 6.2 of the specification of resistance: golden D, and S1 on the same numbers.
LN4, LN16 = math.log(4), math.log(16)
Z_S, Z_T = ((0.0, LN4, LN4, 0.0), (0.0, 0.0, 0.0, 0.0)), ((LN16, LN4, 0.0, 0.0), (0.0, LN16, LN4, 0.0))
SPARSE = ((2 / 3, 1 / 3, 0.0, 0.0), (0.0, 2 / 3, 1 / 3, 0.0))
BOTH = torch.ones(2, dtype=torch.bool)


def softened(rows: Rows, temperature: float) -> Tensor:
    return torch.softmax(torch.tensor(rows) / temperature, dim=1)


def slow_kl_from_probs(student: Rows, probs: Rows, temperature: float) -> list[float]:
    return [
        sum(q * (math.log(q) - log_p) for q, log_p in zip(target, slow_log_softmax(row, temperature), strict=True) if q)
        for row, target in zip(student, probs, strict=True)
    ]


def test_golden_d_of_plain_distillation() -> None:
    student, target = torch.tensor(Z_S), softened(Z_T, 2.0)
    rows = kl_from_probs(student, target, temperature=2.0, reduction="none")
    assert rows.tolist() == pytest.approx([0.318821710538, 0.173286795140], abs=1e-12)
    mean = kl_from_probs(student, target, temperature=2.0, reduction="batchmean")
    assert float(mean) == pytest.approx(0.24605425283907878, abs=1e-12)
    options = {"temperature": 2.0, "alpha": 0.9, "squared_factor": True, "reduction": "mean"}
    found = distillation_loss(student, target, torch.tensor([0, 2]), BOTH, **options)
    assert float(found) == pytest.approx(1.0702392829263805, abs=1e-12)


def test_golden_s1_of_a_sparse_teacher() -> None:
    student, target = torch.tensor(Z_S), torch.tensor(SPARSE)
    found = kl_from_probs(student, target, temperature=2.0, reduction="batchmean")
    assert float(found) == pytest.approx(0.8369882167858357, abs=1e-12)
    options = {"temperature": 2.0, "alpha": 0.9, "squared_factor": True, "reduction": "mean"}
    loss = distillation_loss(student, target, torch.tensor([0, 2]), BOTH, **options)
    assert float(loss) == pytest.approx(3.1976015531347053, abs=1e-12)


@pytest.mark.parametrize(
    ("target", "loss", "kept", "others", "digits"),
    [
        ([0.5, 0.5, *[0.0] * 8], 643.775164973640, -8.0, 2.0, 1e-10),
        (
            [math.exp(log_q) for log_q in slow_log_softmax([5.0, 5.0, *[0.0] * 8], 20.0)],
            2.200023290141,
            -0.43,
            0.1075,
            5e-5,
        ),
    ],
)
def test_golden_s2_the_gradient_of_a_sparse_target_grows_with_the_temperature(
    target: list[float], loss: float, kept: float, others: float, digits: float
) -> None:
    student = torch.zeros(1, 10, requires_grad=True)
    options = {"temperature": 20.0, "alpha": 1.0, "squared_factor": True, "reduction": "mean"}
    found = distillation_loss(student, torch.tensor([target]), torch.tensor([0]), BOTH[:1], **options)
    found.backward()  # type: ignore[no-untyped-call]
    assert float(found.detach()) == pytest.approx(loss, abs=1e-10)
    assert student.grad is not None
    assert student.grad[0].tolist() == pytest.approx([kept] * 2 + [others] * 8, abs=digits)


@given(seed=st.integers(0, 2**32 - 1), temperature=st.floats(0.5, 30), alpha=st.floats(0, 1), squared=st.booleans())
@settings(max_examples=40, deadline=None)
def test_the_loss_over_known_and_unknown_labels_equals_a_slow_loop(
    seed: int, temperature: float, alpha: float, squared: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(6, 5, generator=generator) * 3
    kept = torch.rand(6, 5, generator=generator) * (torch.rand(6, 5, generator=generator) < 0.6)
    kept[:, 0] += 0.1
    target, labels = kept / kept.sum(1, keepdim=True), torch.randint(5, (6,), generator=generator)
    known = torch.rand(6, generator=generator) < 0.5
    found = distillation_loss(
        student,
        target,
        labels,
        known,
        temperature=temperature,
        alpha=alpha,
        squared_factor=squared,
        reduction="none",
    )
    factor, total = temperature**2 if squared else 1.0, []
    divergences = slow_kl_from_probs(student.tolist(), target.tolist(), temperature)
    for row, divergence in enumerate(divergences):
        labelled = -slow_log_softmax(student[row].tolist())[int(labels[row])]
        mixed = (1 - alpha) * labelled + alpha * factor * divergence
        total.append(mixed if known[row] else factor * divergence)
    assert found.tolist() == pytest.approx(total, abs=1e-10, rel=1e-10)


def test_labels_that_are_not_known_have_no_effect() -> None:
    student, target = torch.tensor(Z_S), torch.tensor(SPARSE)
    known = torch.tensor([True, False])
    options = {"temperature": 3.0, "alpha": 0.4, "squared_factor": True, "reduction": "mean"}
    losses = [distillation_loss(student, target, torch.tensor([0, k]), known, **options) for k in range(4)]
    assert len({float(loss) for loss in losses}) == 1
    assert float(distillation_loss(student, target, torch.tensor([1, 0]), known, **options)) != float(losses[0])


def test_at_a_high_temperature_logits_are_matched() -> None:
    """Property 8: at T = 1000 the gradient of T²·KL is ((z_s − mean) − (z_t − mean)) / K."""
    generator = torch.Generator().manual_seed(3)
    student, teacher = (torch.randn(1, 10, generator=generator) * 2 for _ in range(2))
    student.requires_grad_()
    options = {"temperature": 1000.0, "alpha": 1.0, "squared_factor": True, "reduction": "mean"}
    target = torch.softmax(teacher / 1000, dim=1)
    distillation_loss(student, target, torch.tensor([0]), BOTH[:1], **options).backward()  # type: ignore[no-untyped-call]
    centred = (student - student.mean() - teacher + teacher.mean()) / 10
    torch.testing.assert_close(student.grad, centred.detach(), rtol=0, atol=1e-3)


def test_alpha_1_is_the_divergence_and_alpha_0_the_labels() -> None:
    student, target, labels = torch.tensor(Z_S), softened(Z_T, 4.0), torch.tensor([0, 2])
    for alpha, expected in (
        (1.0, tempered_kl(student, torch.tensor(Z_T), temperature=4.0, reduction="batchmean")),
        (0.0, hard_cross_entropy(student, labels, reduction="mean")),
    ):
        options = {"temperature": 4.0, "alpha": alpha, "squared_factor": True, "reduction": "mean"}
        found = distillation_loss(student, target, labels, BOTH, **options)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_a_sparse_target_leaves_loss_and_gradient_finite_in_half_precision() -> None:
    student = (torch.tensor(Z_S) * 100).to(torch.bfloat16).requires_grad_()
    found = kl_from_probs(student, torch.tensor(SPARSE), temperature=1.0, reduction="batchmean")
    found.backward()  # type: ignore[no-untyped-call]
    assert found.dtype == torch.float32
    assert found.isfinite()
    assert student.grad is not None
    assert student.grad.isfinite().all()


def test_no_gradient_flows_into_a_target() -> None:
    target = torch.tensor(SPARSE, requires_grad=True)
    student = torch.tensor(Z_S, requires_grad=True)
    kl_from_probs(student, target, temperature=2.0, reduction="batchmean").backward()  # type: ignore[no-untyped-call]
    assert target.grad is None
    assert gradcheck(lambda z: kl_from_probs(z, target, temperature=2.0, reduction="batchmean"), student)
