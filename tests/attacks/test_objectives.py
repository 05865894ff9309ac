"""Inner objectives against the specification's numbers, and against loops over single numbers."""

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck

from understudy.attacks import (
    DLR,
    CrossEntropy,
    InnerObjective,
    KLFrom,
    Margin,
    MovingKL,
    TargetedDLR,
    TargetedMargin,
    Towards,
)
from understudy.errors import ConfigError

ALL = slice(None)
Y = torch.tensor([0, 1])
P = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3]], dtype=torch.float64).log()
P_ADV = torch.tensor([[0.45, 0.35, 0.2], [0.35, 0.4, 0.25]], dtype=torch.float64).log()
Q = torch.tensor([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2]], dtype=torch.float64).log()
Q_ADV = torch.tensor([[0.4, 0.5, 0.1], [0.3, 0.6, 0.1]], dtype=torch.float64).log()
Z = torch.tensor([[2.0, 1.0, 0.0, -1.0]] * 2, dtype=torch.float64)


def values(objective: InnerObjective, logits: Tensor) -> list[float]:
    return objective(logits, torch.zeros_like(logits), ALL).tolist()


def near(*expected: float) -> object:
    return pytest.approx(expected, abs=1e-10)


def test_golden_numbers_of_the_specification() -> None:
    assert values(KLFrom(Q), P_ADV) == near(0.128045050952, 0.047404139971)
    assert values(KLFrom(Q), P) == near(0.026812454257, 0.223804657186)
    assert values(KLFrom(P), P_ADV) == near(0.057049321467, 0.054345085108)
    assert values(MovingKL(lambda _: Q_ADV), P_ADV) == near(0.061909539651, 0.105404787729)
    assert values(Margin(Y), P_ADV) == near(-0.251314428281, -0.133531392625)
    assert sum(values(CrossEntropy(Y), P)) / 2 == pytest.approx(0.601986402163, abs=1e-10)
    assert sum(values(CrossEntropy(Y), P_ADV)) / 2 == pytest.approx(0.857399214046, abs=1e-10)
    assert values(Towards(Y), P_ADV) == [-value for value in values(CrossEntropy(Y), P_ADV)]


def test_golden_numbers_of_the_ratios() -> None:
    assert values(DLR(Y), Z) == near(-0.5, 0.5)
    assert values(TargetedDLR(Y, torch.tensor([2, 0])), Z) == near(-0.8, 0.4)


def slow_log_softmax(row: Sequence[float]) -> list[float]:
    log_total = max(row) + math.log(sum(math.exp(value - max(row)) for value in row))
    return [value - log_total for value in row]


def slow_kl(target: Sequence[float], row: Sequence[float]) -> float:
    pairs = zip(slow_log_softmax(target), slow_log_softmax(row), strict=True)
    return sum(math.exp(q) * (q - p) for q, p in pairs)


def slow_lead(row: Sequence[float], y: int) -> float:
    return max(value for k, value in enumerate(row) if k != y) - row[y]


def slow_dlr(row: Sequence[float], y: int) -> float:
    ranked = sorted(row, reverse=True)
    return slow_lead(row, y) / (ranked[0] - ranked[2])


def slow_targeted_dlr(row: Sequence[float], y: int, t: int) -> float:
    ranked = sorted(row, reverse=True)
    return (row[t] - row[y]) / (ranked[0] - (ranked[2] + ranked[3]) / 2)


numbers = st.lists(st.integers(-40, 40), min_size=5, max_size=5, unique=True)


@given(numbers, numbers, st.integers(0, 4), st.integers(1, 4))
def test_every_objective_agrees_with_a_loop_over_single_numbers(
    row: list[int], target: list[int], y: int, step: int
) -> None:
    row, target = [value / 4 for value in row], [value / 4 for value in target]
    logits, t = torch.tensor([row], dtype=torch.float64), (y + step) % 5
    label, towards = torch.tensor([y]), torch.tensor([t])
    expected: list[tuple[InnerObjective, float]] = [
        (CrossEntropy(label), -slow_log_softmax(row)[y]),
        (Towards(towards), slow_log_softmax(row)[t]),
        (Margin(label), slow_lead(row, y)),
        (TargetedMargin(label, towards), row[t] - row[y]),
        (DLR(label), slow_dlr(row, y)),
        (TargetedDLR(label, towards), slow_targeted_dlr(row, y, t)),
        (KLFrom(torch.tensor([target], dtype=torch.float64)), slow_kl(target, row)),
    ]
    for objective, value in expected:
        assert values(objective, logits) == [pytest.approx(value, abs=1e-9)], objective


@given(numbers, st.integers(0, 4), st.floats(0.01, 100), st.floats(-50, 50))
def test_ratios_do_not_see_the_scale_and_the_shift_of_logits(
    row: list[int], y: int, scale: float, shift: float
) -> None:
    logits, label = torch.tensor([row], dtype=torch.float64), torch.tensor([y])
    for objective in (DLR(label), TargetedDLR(label, (label + 1) % 5)):
        assert values(objective, logits * scale + shift) == pytest.approx(values(objective, logits), abs=1e-8)


def test_the_margin_is_above_zero_exactly_when_the_sample_is_misclassified() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(200, 4, generator=generator)
    labels = torch.randint(4, (200,), generator=generator)
    lead = Margin(labels)(logits, logits, ALL)
    assert torch.equal(lead > 0, logits.argmax(dim=1) != labels)


OBJECTIVES: list[Callable[[Tensor, Tensor], InnerObjective]] = [
    lambda labels, _: CrossEntropy(labels),
    lambda labels, _: Towards(labels),
    lambda labels, _: Margin(labels),
    lambda labels, _: TargetedMargin(labels, (labels + 2) % 5),
    lambda labels, _: DLR(labels),
    lambda labels, _: TargetedDLR(labels, (labels + 1) % 5),
    lambda _, target: KLFrom(target),
]


@pytest.mark.parametrize("make", OBJECTIVES)
def test_gradients_agree_with_differences(make: Callable[[Tensor, Tensor], InnerObjective]) -> None:
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(3, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    objective = make(torch.tensor([0, 3, 4]), torch.randn(3, 5, generator=generator, dtype=torch.float64))
    assert gradcheck(lambda given: objective(given, given, ALL), (logits,))


def test_the_moving_divergence_has_its_gradient_through_both_networks() -> None:
    generator = torch.Generator().manual_seed(3)
    student, teacher = torch.randn(2, 6, 4, generator=generator, dtype=torch.float64)
    x = torch.randn(3, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    moving = MovingKL(lambda given: (given @ teacher).tanh())
    assert gradcheck(lambda given: moving(given @ student, given, ALL), (x,))
    fixed = KLFrom((x @ teacher).tanh())
    (with_teacher,) = torch.autograd.grad(moving(x @ student, x, ALL).sum(), x)
    (without,) = torch.autograd.grad(fixed(x @ student, x, ALL).sum(), x)
    assert not torch.allclose(with_teacher, without)


@pytest.mark.parametrize("make", OBJECTIVES)
def test_rows_pick_the_samples_own_labels_and_targets(make: Callable[[Tensor, Tensor], InnerObjective]) -> None:
    generator = torch.Generator().manual_seed(4)
    logits, target = torch.randn(2, 6, 5, generator=generator)
    objective = make(torch.arange(6) % 5, target)
    whole = objective(logits, logits, ALL)
    rows = torch.tensor([4, 0, 5])
    assert torch.equal(objective(logits[rows], logits[rows], rows), whole[rows])
    assert torch.equal(objective(logits[2:], logits[2:], slice(2, None)), whole[2:])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("make", OBJECTIVES)
def test_extreme_logits_give_finite_values_and_gradients(
    make: Callable[[Tensor, Tensor], InnerObjective], dtype: torch.dtype
) -> None:
    grid = torch.tensor([[1e4, -1e4, 0, 0, 1e4], [0, 0, 0, 0, 0], [-1e4, 1e4, 1e4, 1e4, 1e4]])
    logits = grid.to(dtype).requires_grad_()
    value = make(torch.tensor([1, 0, 2]), grid.flip(0).to(dtype))(logits, logits, ALL)
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    assert value.dtype == torch.float32
    assert value.isfinite().all()
    assert gradient.isfinite().all()


def test_ratios_need_three_and_four_classes() -> None:
    y = torch.tensor([0])
    with pytest.raises(ConfigError, match=r"DLR needs 3 classes or more, and the model has 2(.|\n)*margin"):
        values(DLR(y), torch.zeros(1, 2))
    for classes in (2, 3):
        with pytest.raises(ConfigError, match=f"targeted DLR needs 4 classes or more, and the model has {classes}"):
            values(TargetedDLR(y, y + 1), torch.zeros(1, classes))
    assert values(Margin(y), torch.tensor([[1.0, 3.0]])) == [2.0]
