"""CAKE's terms against the golden numbers (G1, G5), a slow second implementation, and their scaling."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck

from understudy.methods.data_free.cake import (
    CAKE,
    classification_term,
    contrast_term,
    convert_weight,
    draw_labels,
    entangling_term,
    entropy_term,
)
from understudy.synthesis import descend

Groups = list[list[list[float]]]

SMALL = [[[1.0, 0.0], [0.0, 2.0]]]
LARGE = [
    [[2.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 1.0, 1.0]],
    [[0.0, 0.0, 0.0], [3.0, -3.0, 0.0], [0.0, 0.0, 3.0]],
]
LARGE_LABELS = [[0, 1, 2], [2, 0, 1]]


def f64(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def slow_softmax(row: list[float]) -> list[float]:
    total = sum(math.exp(value - max(row)) for value in row)
    return [math.exp(value - max(row)) / total for value in row]


def slow_classification(groups: Groups, labels: list[list[int]]) -> float:
    """(1/M) Σ_r Σ_i CE(z_ri, y_ri), section 2.3."""
    total = 0.0
    for group, wanted in zip(groups, labels, strict=True):
        total -= sum(math.log(slow_softmax(row)[label]) for row, label in zip(group, wanted, strict=True))
    return total / len(groups)


def slow_contrast(groups: Groups) -> float:
    """(1/M) Σ_r Σ_{i<j} (1/K) ‖z_ri − z_rj‖²: every pair, one after the other."""
    total = 0.0
    for group in groups:
        for j, right in enumerate(group):
            for left in group[:j]:
                total += sum((a - b) ** 2 for a, b in zip(left, right, strict=True)) / len(left)
    return total / len(groups)


def slow_entropy(groups: Groups) -> float:
    rows = [slow_softmax(row) for group in groups for row in group]
    means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    return sum(p * math.log10(p) for p in means) / len(means)


def slow_snn(groups: Groups, labels: list[list[int]], temperature: float) -> float:
    """½ G² over the soft nearest neighbour loss of the set's rows; its logarithms guarded by 1e-9 as in the code."""
    rows = [row for group in groups for row in group]
    wanted = [label for group in labels for label in group]
    total = 0.0
    for i, (row, label) in enumerate(zip(rows, wanted, strict=True)):
        near = [
            math.exp(-sum((a - b) ** 2 for a, b in zip(row, other, strict=True)) / temperature) if j != i else 0.0
            for j, other in enumerate(rows)
        ]
        same = [value for j, value in enumerate(near) if j != i and wanted[j] == label]
        if same:
            total -= math.log(sum(same) / (sum(near) + 1e-9) + 1e-9) / len(rows)
    return 0.5 * len(groups[0]) ** 2 / total


def test_golden_terms_of_the_specification() -> None:
    """Golden example G1, both sets, with the gradient of the contrast."""
    small, large = f64([SMALL]).requires_grad_(), f64([LARGE]).requires_grad_()
    (gradient,) = torch.autograd.grad(contrast_term(small).sum(), small)
    assert gradient[0, 0].tolist() == [pytest.approx([1, -2], abs=1e-12), pytest.approx([-1, 2], abs=1e-12)]
    (gradient,) = torch.autograd.grad(contrast_term(large).sum(), large)
    expected = f64([[1, -2 / 3, -1], [-1, 1 / 3, 0], [0, 1 / 3, 1]])
    assert torch.allclose(gradient[0, 0], expected, rtol=0, atol=1e-12)
    small, large = small.detach(), large.detach()
    assert float(contrast_term(small)) == pytest.approx(2.5, abs=1e-12)
    assert float(classification_term(small, torch.tensor([[[0, 1]]]))) == pytest.approx(0.4401896985611955, abs=1e-12)
    assert float(contrast_term(large)) == pytest.approx(11.333333333333332, abs=1e-12)
    assert float(classification_term(large, torch.tensor([LARGE_LABELS]))) == pytest.approx(
        3.0321920153842576, abs=1e-12
    )
    mean = large.softmax(dim=-1).mean(dim=(1, 2))[0].tolist()
    assert mean == pytest.approx([0.4530019452010168, 0.2341021474402527, 0.3128959073587307], abs=1e-12)
    assert float(entropy_term(large)) == pytest.approx(-0.1537660669408487, abs=1e-12)


sizes = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(2, 4), st.integers(0, 10_000))


@given(sizes)
@settings(max_examples=40, deadline=None)
def test_terms_equal_a_slow_loop_for_each_set(size: tuple[int, int, int, int]) -> None:
    sets, groups, members, seed = size
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(sets, groups, members, 4, generator=generator, dtype=torch.float64) * 3
    labels = torch.stack([draw_labels(groups, members, 4, generator) for _ in range(sets)])
    for index in range(sets):
        one, wanted = z[index].tolist(), labels[index].tolist()
        assert float(classification_term(z, labels)[index]) == pytest.approx(slow_classification(one, wanted), abs=1e-9)
        assert float(contrast_term(z)[index]) == pytest.approx(slow_contrast(one), rel=1e-12)
        assert float(entropy_term(z)[index]) == pytest.approx(slow_entropy(one), abs=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 30.0])
def test_entangling_equals_a_slow_loop(temperature: float) -> None:
    found = entangling_term(f64([LARGE]) / 2, torch.tensor([LARGE_LABELS]), temperature=temperature)
    halved = [[[value / 2 for value in row] for row in group] for group in LARGE]
    assert float(found) == pytest.approx(slow_snn(halved, LARGE_LABELS, temperature), rel=1e-12)


def test_entangling_of_labels_that_are_all_alone_is_zero() -> None:
    """One group: no two samples share a label, so nothing can be entangled. Not infinite, and no NaN gradient."""
    z = f64([LARGE[:1]]).requires_grad_()
    found = entangling_term(z, torch.tensor([LARGE_LABELS[:1]]), temperature=1.0)
    (gradient,) = torch.autograd.grad(found.sum() + classification_term(z, torch.tensor([[[0, 1, 2]]])).sum(), z)
    assert found.tolist() == [0.0]
    assert bool(gradient.isfinite().all())


def test_entropy_of_a_class_that_is_never_seen_is_finite() -> None:
    """In float32 a probability may be exactly 0, where p log p is 0 and its derivative is not."""
    z = torch.tensor([[[[200.0, 0.0], [200.0, 0.0]]]], requires_grad=True)
    value = entropy_term(z)
    (gradient,) = torch.autograd.grad(value.sum(), z)
    assert float(value.detach()) == pytest.approx(0, abs=1e-30)
    assert bool(gradient.isfinite().all())


def test_gradients_by_finite_differences() -> None:
    z, labels = f64([LARGE]).requires_grad_(), torch.tensor([LARGE_LABELS])
    assert gradcheck(lambda logits: classification_term(logits, labels), z)
    assert gradcheck(contrast_term, z)
    assert gradcheck(entropy_term, z)
    assert gradcheck(lambda logits: entangling_term(logits / 3, labels, temperature=1.0), z)


def linear_teacher(x: Tensor) -> Tensor:
    weight, bias = f64([[1, 0, 0, -1], [0, 1, -1, 0]]), f64([0, 0.5])
    return x.flatten(1) @ weight.T + bias


def test_golden_full_step_of_the_specification() -> None:
    """Golden example G5 (property 6): terms, total, and the images after one step of 0.01."""
    x = f64([[[[0, 1], [2, 0]]], [[[1, 1], [0, -1]]]])
    method = CAKE(
        group_size=2, samples_per_set=2, class_weight=3.0, contrast_weight=2.0, tv_weight=5.0, reduction="mean"
    )
    found = descend(x, method.energy(linear_teacher, torch.tensor([[[1, 0]]])), step_size=f64([0.01]), steps=1)
    terms = {name: float(value) for name, value in found.terms.items()}
    assert terms["classification"] / 3 == pytest.approx(1.4481539683602134, abs=1e-12)
    assert terms["contrast"] / 2 == pytest.approx(4.0, abs=1e-12)
    assert terms["total_variation"] / 5 == pytest.approx(2.5, abs=1e-12)
    assert sum(terms.values()) == pytest.approx(24.844461905080642, abs=1e-12)
    expected = f64(
        [
            [[[0.046326220063944, 1.033673779936056], [1.916326220063944, 0.003673779936056]]],
            [[[0.958826220063944, 0.936173779936056], [0.051326220063944, -0.946326220063944]]],
        ]
    )
    assert torch.allclose(found.x, expected, rtol=0, atol=1e-12)


def test_equilibrium_is_the_closed_form() -> None:
    """Property 5: d (1 + e^d) = λ_cls / λ_con for every margin from any start, and pairs share their sum of logits."""
    method = CAKE(
        group_size=2, samples_per_set=6, class_weight=10.0, contrast_weight=1.0, tv_weight=0.0, reduction="mean"
    )
    starts = 4
    x = torch.randn(6 * starts, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2
    labels = torch.tensor([[[0, 1], [1, 0], [0, 1]]] * starts)
    energy = method.energy(lambda z: z, labels)
    found = descend(x, energy, step_size=f64([0.3] * starts), steps=1500, check_every=500)
    z = found.x.view(3 * starts, 2, 2)
    sums = z.sum(dim=2)
    margins = 2 * z.gather(2, labels.view(-1, 2, 1)).squeeze(2) - sums
    assert margins.flatten().tolist() == pytest.approx([1.6335061702] * 6 * starts, abs=1e-9)
    assert torch.allclose(sums[:, 0], sums[:, 1], rtol=0, atol=1e-9)
    margin = float(margins[0, 0])
    assert margin * (1 + math.exp(margin)) == pytest.approx(10, abs=1e-8)


def one_step(method: CAKE, x: Tensor, labels: Tensor) -> Tensor:
    teacher = linear_teacher if x.ndim == 4 else lambda z: z
    return descend(x, method.energy(teacher, labels), step_size=f64([0.01] * len(labels)), steps=1).x - x


@pytest.mark.parametrize("entropy_weight", [0.0, 7.0])
def test_updates_do_not_change_with_the_size_of_a_set(entropy_weight: float) -> None:
    """Property 15: per group, doubling all groups changes no update; with the published mean it halves."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 1, 2, 2, generator=generator, dtype=torch.float64)
    labels = torch.randint(2, (1, 4, 2), generator=generator)
    weights = {
        "class_weight": 300.0, "contrast_weight": 20.0, "tv_weight": 50.0, "entropy_weight": entropy_weight,
        "group_size": 2,
    }  # fmt: skip
    for reduction, factor in (("per_group", 1.0), ("mean", 0.5)):
        small = CAKE(samples_per_set=8, reduction=reduction, **weights)
        large = CAKE(samples_per_set=16, reduction=reduction, **weights)
        update = one_step(small, x, labels)
        twice = one_step(large, torch.cat([x, x]), torch.cat([labels, labels], dim=1))
        assert torch.allclose(twice, factor * torch.cat([update, update]), rtol=0, atol=1e-12)


def test_per_group_equals_the_published_mean_at_its_own_size() -> None:
    """With as many groups as the weights are meant for, the two reductions are one."""
    x = torch.randn(8, 1, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.tensor([[[0, 1], [1, 0], [0, 1], [1, 0]]])
    updates = [
        one_step(CAKE(group_size=2, samples_per_set=8, reduction=reduction, reference_groups=4), x, labels)
        for reduction in ("per_group", "mean")
    ]
    assert torch.allclose(*updates, rtol=0, atol=1e-12)


def test_converted_weights_give_the_published_strength() -> None:
    """The specification's own example: λ (1e3, 0.1, 1e5) at 50 groups is (200, 0.02, 2e4) at 10."""
    converted = [convert_weight(weight, from_groups=50, to_groups=10) for weight in (1e3, 0.1, 1e5)]
    assert converted == pytest.approx([200, 0.02, 2e4], rel=1e-12)


@pytest.mark.parametrize(("groups", "members", "classes"), [(2000, 2, 10), (2000, 7, 10), (50, 10, 10), (40, 3, 3)])
def test_labels_differ_within_each_group(groups: int, members: int, classes: int) -> None:
    """Property 2: distinct in a group; with G = K each class M times; else G/K of them within 4 standard errors."""
    labels = draw_labels(groups, members, classes, torch.Generator().manual_seed(0))
    assert labels.shape == (groups, members)
    assert all(len(set(row)) == members for row in labels.tolist())
    counts = torch.bincount(labels.flatten(), minlength=classes)
    if members == classes:
        assert counts.tolist() == [groups] * classes
    share = members / classes
    error = 4 * (share * (1 - share) / groups) ** 0.5
    assert float((counts / groups - share).abs().max()) <= error
    # The order within a group is random too: no class prefers the first place.
    first = torch.bincount(labels[:, 0], minlength=classes) / groups
    assert float((first - 1 / classes).abs().max()) < 4.5 * ((1 / classes) * (1 - 1 / classes) / groups) ** 0.5


@pytest.mark.parametrize("changes", [{}, {"contrast": "snn"}, {"sample_optimiser": "adam"}, {"langevin": True}])
def test_sets_drawn_together_equal_sets_drawn_alone(
    changes: dict[str, object], teacher_in_float64: Callable[[Tensor], Tensor]
) -> None:
    """With a plain function as teacher, in float64, to rounding: three sets with step sizes of their own."""
    method = CAKE(
        group_size=2, samples_per_set=8, class_weight=5.0, contrast_weight=0.5, tv_weight=3.0, reduction="mean",
        entropy_weight=1.0, snn_temperature=20.0, **changes,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(24, 1, 2, 2, generator=generator, dtype=torch.float64)
    noise = torch.randn(15, 24, 1, 2, 2, generator=generator, dtype=torch.float64) * 0.05
    labels = torch.stack([draw_labels(4, 2, 3, generator) for _ in range(3)])
    sizes = f64([0.05, 0.01, 0.002])

    def drawn(rows: slice, sets: slice) -> Tensor:
        return descend(
            x[rows],
            method.energy(teacher_in_float64, labels[sets]),
            step_size=sizes[sets],
            steps=15,
            optimiser=method.sample_optimiser,
            noise=(lambda step: noise[step, rows]) if method.langevin else None,
        ).x

    together = drawn(slice(None), slice(None))
    for index in range(3):
        rows = slice(8 * index, 8 * index + 8)
        assert torch.allclose(together[rows], drawn(rows, slice(index, index + 1)), rtol=0, atol=1e-12)
    assert float((together - x).abs().max()) > 0.01


@pytest.fixture
def teacher_in_float64() -> Callable[[Tensor], Tensor]:
    generator = torch.Generator().manual_seed(7)
    first, second = (torch.randn(4, 6, generator=generator), torch.randn(6, 3, generator=generator))

    def teacher(x: Tensor) -> Tensor:
        return (x.flatten(1) @ first.double()).tanh() @ second.double()

    return teacher
