"""The losses of resistant teachers on the specification's tensors, in float64, and their algebra."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from understudy.losses import kl_rows_from_probs, sparse_target
from understudy.methods.resistance.adversarial_sparse_teacher import ast_loss, epd
from understudy.methods.resistance.cmim import class_means, conditional_mutual_information
from understudy.methods.resistance.misinformer import misleading_loss
from understudy.methods.resistance.nasty_teacher import nasty_loss

Array = npt.NDArray[np.float64]

LN4, LN9, LN16 = math.log(4), math.log(9), math.log(16)
Q = [0.6, 0.4, 0.0, 0.0]
CLEAN = [[LN16, LN4, 0.0, 0.0], [0.0, LN4, LN4, 0.0]]
ADVERSARIAL = [[LN9, 0.0, LN4, -LN4], [0.0, LN16, LN4, 0.0]]
LABELS = torch.tensor([0, 1])
EPD_GRADIENT = [
    [-0.043697664124, 0.029533592963, -0.000602725320, 0.014766796481],
    [0.018657589808, -0.041662657140, 0.004347477525, 0.018657589808],
]
AST_GRADIENT = [
    [-0.138284987370, 0.092270354956, 0.021470364027, 0.024544268387],
    [0.051231517962, -0.293332531428, 0.190869495505, 0.051231517962],
]


def wide(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def equals(value: object, *, to: float = 1e-10) -> Any:
    return pytest.approx(value, rel=0, abs=to)


def value(scalar: Tensor) -> float:
    return float(scalar.detach())


def softmax(z: Array, temperature: float = 1.0) -> Array:
    """The slow way."""
    powers = np.exp(z / temperature)
    found: Array = powers / powers.sum(axis=1, keepdims=True)
    return found


def masked(rows: int, classes: int, keep: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return sparse_target(2 * torch.randn(rows, classes, generator=generator, dtype=torch.float64), keep, 3.0)


def dirichlet(rows: int, classes: int, seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).dirichlet(np.full(classes, 0.3), size=rows))


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        ([0.25, 0.25, 0.25, 0.25], 0.36151528478286865),
        ([0.6, 0.4, 0.0, 0.0], 0.0),
        ([1.0, 0.0, 0.0, 0.0], -0.13211764109969537),
        ([0.0, 1.0, 0.0, 0.0], 0.19817646164954306),
        ([0.0, 0.0, 1.0, 0.0], 0.6900011592908135),
    ],
)
def test_epd(p: list[float], expected: float) -> None:
    assert float(epd(wide([p]), wide([Q]), reduction="batchmean")) == equals(expected)


def test_epd_on_a_uniform_support_is_a_penalty_on_what_lies_off_it() -> None:
    p, q = wide([[0.3, 0.25, 0.25, 0.2]]), wide([[0.5, 0.5, 0, 0]])
    assert float(epd(p, q, reduction="batchmean")) == equals(0.291924571815, to=1e-12)
    outputs = dirichlet(50, 9, seed=3)
    for keep in range(1, 10):
        support = torch.zeros(50, 9, dtype=torch.float64)
        support[:, :keep] = 1 / keep
        expected = math.expm1(1 / keep) * (1 - outputs[:, :keep].sum(dim=1))
        np.testing.assert_allclose(
            epd(outputs, support, reduction="none").numpy(), expected.numpy(), rtol=0, atol=1e-10
        )


def test_epd_is_linear_in_p_and_smallest_at_the_targets_top_class() -> None:
    targets = masked(200, 6, 3, seed=4)
    constant = (targets * targets.exp()).sum(dim=1)
    least = constant - targets.amax(dim=1).exp()
    best = F.one_hot(targets.argmax(dim=1), 6).double()
    assert epd(best, targets, reduction="none").numpy() == equals(least.numpy())
    assert epd(targets, targets, reduction="none").numpy() == equals(np.zeros(200))
    assert (least < 0).all()
    for seed in range(500):
        p = dirichlet(200, 6, seed=seed)
        found = epd(p, targets, reduction="none")
        assert (found >= least - 1e-10).all()
        assert (found <= constant - 1 + 1e-10).all()
        if seed < 20:
            other = dirichlet(200, 6, seed=seed + 1000)
            mixed = epd(0.3 * p + 0.7 * other, targets, reduction="none")
            parts = 0.3 * found + 0.7 * epd(other, targets, reduction="none")
            np.testing.assert_allclose(mixed.numpy(), parts.numpy(), rtol=0, atol=1e-10)
            slow = constant.numpy() - (np.exp(targets.numpy()) * p.numpy()).sum(axis=1)
            np.testing.assert_allclose(found.numpy(), slow, rtol=0, atol=1e-10)


def test_the_loss_of_a_step() -> None:
    z = wide(CLEAN).requires_grad_()
    target = sparse_target(wide(ADVERSARIAL), 2, 2.0)
    found = ast_loss(z, LABELS, target, alpha=0.05, temperature=2.0)
    p = torch.softmax(z / 2, dim=1)
    assert epd(p, target, reduction="none").tolist() == equals([0.21746367189, 0.315911347018], to=1e-11)
    assert value(found["epd"]) == equals(0.26668750945431285)
    assert value(found["ce"]) == equals(0.6173722314963449)
    assert value(found["loss"]) == equals(0.6398411218123903)
    (of_epd,) = torch.autograd.grad(found["epd"], z, retain_graph=True)
    (of_loss,) = torch.autograd.grad(found["loss"], z)
    np.testing.assert_allclose(of_epd.numpy(), EPD_GRADIENT, rtol=0, atol=1e-11)
    np.testing.assert_allclose(of_loss.numpy(), AST_GRADIENT, rtol=0, atol=1e-11)


def test_the_gradient_is_the_specifications_and_bounded() -> None:
    """∂EPD/∂z_j = −p_j (e^{q_j} − Σ p_i e^{q_i}) / (B·T), below (e^{max q} − 1) / (B·T)."""
    generator = torch.Generator().manual_seed(5)
    z = (4 * torch.randn(30, 6, generator=generator, dtype=torch.float64)).requires_grad_()
    q = masked(30, 6, 2, seed=6)
    p = torch.softmax(z / 3, dim=1)
    (found,) = torch.autograd.grad(epd(p, q, reduction="batchmean"), z)
    slow_p, power = softmax(z.detach().numpy(), 3.0), np.exp(q.numpy())
    slow = -slow_p * (power - (slow_p * power).sum(axis=1, keepdims=True)) / (30 * 3)
    np.testing.assert_allclose(found.numpy(), slow, rtol=0, atol=1e-12)
    assert (np.abs(slow) <= (power.max(axis=1, keepdims=True) - 1) / 90).all()


def test_the_loss_with_kl_in_its_place_and_without_a_mask() -> None:
    target = sparse_target(wide(ADVERSARIAL), 2, 2.0)
    rows = kl_rows_from_probs(target, wide(CLEAN), temperature=2.0)
    assert rows.tolist() == equals([0.574653257999, 0.462098120373], to=1e-11)
    found = ast_loss(wide(CLEAN), LABELS, target, alpha=0.05, temperature=2.0, divergence="kl")
    assert value(found["kl"]) == equals(0.518375689185971)
    assert value(found["loss"]) == equals(0.6901787577587218)
    dense = epd(torch.softmax(wide(CLEAN) / 2, dim=1), sparse_target(wide(ADVERSARIAL), 4, 2.0), reduction="none")
    assert dense.tolist() == equals([0.023426963025, 0.073355722637], to=1e-11)


@pytest.mark.parametrize("divergence", ["epd", "kl"])
def test_nothing_is_lost_where_probabilities_vanish(divergence: Any) -> None:
    """A target off whose support the output has nothing either, and one on which it has next to nothing."""
    z = torch.tensor([[300.0, -300, -300, -300], [-300, 300, -300, -300]]).requires_grad_()
    target = torch.tensor([[1.0, 0, 0, 0], [0.7, 0, 0.3, 0]])
    found = ast_loss(z, LABELS, target, alpha=0.5, temperature=1.0, divergence=divergence)
    (gradient,) = torch.autograd.grad(found["loss"], z)
    assert gradient.isfinite().all()
    spread = 0.7 * math.exp(0.7) - 1 + 0.3 * math.exp(0.3)
    entropy = 0.7 * math.log(0.7) + 0.3 * math.log(0.3)
    expected = {"epd": spread / 2, "kl": (600 + entropy) / 2}[divergence]  # the first row is met exactly
    assert value(found[divergence]) == equals(expected, to=1e-4)


def test_the_target_carries_no_gradient() -> None:
    z, q = wide(CLEAN).requires_grad_(), wide([Q, Q]).requires_grad_()
    epd(torch.softmax(z, dim=1), q, reduction="batchmean").backward()
    assert q.grad is None
    assert z.grad is not None


def nasty(theta: Tensor, **replaced: Any) -> dict[str, Tensor]:
    settings: dict[str, Any] = {"omega": 0.04, "temperature": 2.0, **replaced}
    return nasty_loss(theta, wide([[0.0, LN16, LN16, 0.0]]), torch.tensor([0]), **settings)


def test_the_nasty_loss_runs_away_from_the_reference() -> None:
    theta = wide([CLEAN[0]]).requires_grad_()
    found = nasty(theta)
    assert value(found["kl"]) == equals(0.5697171415941823)
    assert value(found["kl"]) != equals(0.4700036292457355, to=1e-3)  # the other direction
    assert value(found["kl"]) < 2.302585092994  # max −ln p_A
    assert value(found["ce"]) == equals(0.31845373111853464)
    assert value(found["loss"]) == equals(0.22729898846346547)
    (gradient,) = torch.autograd.grad(found["loss"], theta)
    expected = [[-0.314316103561, 0.202612597235, 0.062783224969, 0.048920281357]]
    np.testing.assert_allclose(gradient.numpy(), expected, rtol=0, atol=1e-11)
    (with_a_hundred,) = torch.autograd.grad(nasty(theta)["loss"] + 100, theta)
    assert torch.equal(with_a_hundred, gradient)


def test_the_nasty_reward_is_bounded_by_the_reference() -> None:
    generator = torch.Generator().manual_seed(7)
    theta, reference = (20 * torch.randn(2, 500, 5, generator=generator, dtype=torch.float64)).unbind()
    labels = torch.zeros(500, dtype=torch.int64)
    for row in range(0, 500, 50):
        part = slice(row, row + 50)
        found = nasty_loss(theta[part], reference[part], labels[part], omega=1.0, temperature=4.0)
        bound = -torch.log_softmax(reference[part] / 4, dim=1).amin(dim=1)
        assert 0 <= value(found["kl"]) <= value(bound.mean())


def test_a_cap_ends_the_reward_and_its_gradient() -> None:
    theta = wide([CLEAN[0]]).requires_grad_()
    capped = nasty(theta, cap=0.5)
    assert value(capped["kl"]) == 0.5
    (gradient,) = torch.autograd.grad(capped["loss"], theta)
    (plain,) = torch.autograd.grad(nasty(theta, omega=0.0)["loss"], theta)
    np.testing.assert_allclose(gradient.numpy(), plain.numpy(), rtol=0, atol=1e-15)
    assert value(nasty(theta, cap=0.6)["kl"]) == equals(0.5697171415941823)


def test_conditional_mutual_information() -> None:
    probs = wide([[0.7, 0.2, 0.1], [0.5, 0.4, 0.1], [0.1, 0.8, 0.1], [0.3, 0.6, 0.1]])
    labels = torch.tensor([0, 0, 1, 1])
    means, present = class_means(probs, labels)
    np.testing.assert_allclose(means.numpy(), [[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0, 0, 0]], rtol=0, atol=1e-15)
    assert present.tolist() == [True, True, False]
    found = conditional_mutual_information(probs.log(), labels, means)
    assert float(found) == equals(0.029346006355225, to=1e-14)
    slow = np.mean([sum(p * math.log(p / q) for p, q in zip(row, mean, strict=True)) for row, mean in
                    zip(probs.tolist(), means[labels].tolist(), strict=True)])  # fmt: skip
    assert float(found) == equals(slow, to=1e-14)


def test_no_gradient_is_lost_with_that_through_the_means() -> None:
    """Σᵢ KL(pᵢ ‖ q) is smallest at the mean, so that its derivative there is 0 and the shortcut is exact."""
    generator = torch.Generator().manual_seed(8)
    z = torch.randn(40, 5, generator=generator, dtype=torch.float64).requires_grad_()
    labels = torch.arange(40) % 5
    p = torch.softmax(z, dim=1)
    means = torch.stack([p[labels == label].mean(dim=0) for label in range(5)])
    (whole,) = torch.autograd.grad((p * (p.log() - means[labels].log())).sum(dim=1).mean(), z)
    fixed = class_means(torch.softmax(z, dim=1), labels)[0]
    (found,) = torch.autograd.grad(conditional_mutual_information(z, labels, fixed), z)
    np.testing.assert_allclose(found.numpy(), whole.numpy(), rtol=0, atol=1e-12)


def test_the_misleading_loss() -> None:
    z = wide([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]])
    labels = torch.tensor([1, 2])
    p = softmax(z.numpy())
    expected = [-math.log(1 - p[0, 1]), -math.log(1 - p[1, 2])]
    assert misleading_loss(z, labels, reduction="none").tolist() == equals(expected)
    assert float(misleading_loss(z, labels, reduction="mean")) == equals(np.mean(expected))


def test_the_misleading_loss_is_finite_for_a_network_that_is_sure() -> None:
    z = torch.tensor([[200.0, 0.0], [-200.0, 0.0]]).requires_grad_()
    rows = misleading_loss(z, torch.tensor([0, 0]), reduction="none")
    rows.sum().backward()
    assert rows.tolist() == [200.0, 0.0]
    assert z.grad is not None
    assert z.grad.isfinite().all()
