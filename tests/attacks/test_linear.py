"""Linear models, whose worst case is known in closed form: what an attack must find, and may never pass."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from understudy.attacks import Attack, CrossEntropy, Margin, TargetedMargin, named, perturb
from understudy.runs.seeds import stream

Array = NDArray[np.float64]
SAMPLES, PIXELS, CLASSES = 400, 36, 10


class Linear:
    """Logits scale · (Wx + b), with samples and labels of which a few are misclassified."""

    def __init__(self, seed: int, dtype: torch.dtype = torch.float64) -> None:
        draws = stream(seed, "linear")
        self.weight = torch.randn(CLASSES, PIXELS, generator=draws, dtype=torch.float64).to(dtype)
        self.bias = torch.randn(CLASSES, generator=draws, dtype=torch.float64).to(dtype)
        drawn = torch.rand(SAMPLES, PIXELS, generator=draws, dtype=torch.float64)
        self.x = (1.4 * drawn - 0.2).clamp(0, 1).to(dtype)
        self.labels = self(self.x).argmax(dim=1)
        self.labels[:6] = (self.labels[:6] + 1) % CLASSES

    def __call__(self, x: Tensor, scale: float = 1.0) -> Tensor:
        return scale * (x @ self.weight.T + self.bias)

    def stands(self, name: str, epsilon: float, *, scale: float = 1.0, seed: int = 0) -> Array:
        """Return which samples are still right after an attack."""
        run = named(name, epsilon=epsilon).run

        def model(x: Tensor) -> Tensor:
            return self(x, scale)

        x_adv = run(model, self.x, self.labels, stream(seed, "start"))
        return np.asarray(model(x_adv).argmax(dim=1) == self.labels)

    def worst_margins(self, epsilon: float) -> Array:
        return worst_margins(
            *(each.double().numpy() for each in (self.weight, self.bias, self.x)), self.labels, epsilon
        )


def worst_margins(weight: Array, bias: Array, x: Array, labels: Tensor, epsilon: float) -> Array:
    """Return min over j≠y of (w_y − w_j)·x + b_y − b_j − Σ_d max(d_d·lo_d, d_d·hi_d), with d = w_j − w_y."""
    worst = []
    for image, y in zip(x, labels.tolist(), strict=True):
        low, high = np.maximum(-epsilon, -image), np.minimum(epsilon, 1 - image)
        margins = []
        for j in range(len(weight)):
            if j != y:
                d = weight[j] - weight[y]
                margins.append(-d @ image + bias[y] - bias[j] - np.maximum(d * low, d * high).sum())
        worst.append(min(margins))
    return np.array(worst)


def test_the_worst_cases_of_the_specification() -> None:
    box = np.array([[1.0], [0], [0]])
    x = np.array([[0.02], [0.045], [0.2]])
    zeros = torch.zeros(3, dtype=torch.int64)
    assert worst_margins(box, np.array([0.01, 0, -5]), x, zeros, 0.05) == pytest.approx([0.01, 0.01, 0.16], abs=1e-12)
    weight, x = np.array([[3.0, 1], [0, 2], [-1, -1]]), np.array([[0.4, 0.5]])
    golden = {0.0: (0.7, 2.6), 0.05: (0.5, 2.3), 0.1: (0.3, 2.0), 0.2: (-0.1, 1.4)}
    for epsilon, margins in golden.items():
        assert worst_margins(weight, np.zeros(3), x, zeros[:1], epsilon) == pytest.approx([min(margins)], abs=1e-12)


@pytest.mark.parametrize(
    ("weight", "bias", "x", "epsilon", "margins"),
    [
        ([[1.0], [0], [0]], [0.01, 0, -5], [[0.02], [0.045], [0.2]], 0.05, [0.01, 0.01, 0.16]),
        ([[3.0, 1], [0, 2], [-1, -1]], [0.0, 0, 0], [[0.4, 0.5]], 0.0, [0.7]),
        ([[3.0, 1], [0, 2], [-1, -1]], [0.0, 0, 0], [[0.4, 0.5]], 0.05, [0.5]),
        ([[3.0, 1], [0, 2], [-1, -1]], [0.0, 0, 0], [[0.4, 0.5]], 0.1, [0.3]),
        ([[3.0, 1], [0, 2], [-1, -1]], [0.0, 0, 0], [[0.4, 0.5]], 0.2, [-0.1]),
    ],
)
@pytest.mark.parametrize("start", ["none", "uniform"])
def test_the_margin_attack_finds_the_worst_cases_of_the_specification(
    weight: list[list[float]],
    bias: list[float],
    x: list[list[float]],
    epsilon: float,
    margins: list[float],
    start: str,
) -> None:
    w, b, images = (torch.tensor(each, dtype=torch.float64) for each in (weight, bias, x))
    labels = torch.zeros(len(x), dtype=torch.int64)
    attack = Attack.model_validate({"epsilon": epsilon, "step": epsilon / 4, "steps": 20, "start": start})
    objective = Margin(labels)
    x_adv = perturb(lambda given: given @ w.T + b, images, objective, attack=attack, generator=stream(0, "s"))
    reached = objective(x_adv @ w.T + b, x_adv, slice(None))
    assert (-reached).tolist() == pytest.approx(margins, abs=1e-12)


def test_the_specification_s_second_class_is_worst_where_it_says() -> None:
    w = torch.tensor([[3.0, 1], [0, 2], [-1, -1]], dtype=torch.float64)
    x, zero = torch.tensor([[0.4, 0.5]], dtype=torch.float64), torch.tensor([0])
    for epsilon, margin in {0.0: 2.6, 0.05: 2.3, 0.1: 2.0, 0.2: 1.4}.items():
        objective = TargetedMargin(zero, zero + 2)
        x_adv = perturb(lambda v: v @ w.T, x, objective, attack=Attack(epsilon=epsilon, step=epsilon, steps=2))
        assert -float(objective(x_adv @ w.T, x_adv, slice(None))) == pytest.approx(margin, abs=1e-12)


@pytest.mark.parametrize(("seed", "epsilon"), [(0, 0.0), (2, 0.03), (3, 0.1), (6, 0.03)])
def test_cw_with_a_restart_for_each_class_equals_the_closed_form(seed: int, epsilon: float) -> None:
    model = Linear(seed)
    exact = model.worst_margins(epsilon) > 0
    for scale in (1.0, 100.0):
        assert np.array_equal(model.stands("cw30x10", epsilon, scale=scale), exact)


@pytest.mark.parametrize("name", ["fgsm", "pgd20", "pgd20-trades", "cw", "dlr20", "pgd20x3", "fgsm-rs"])
def test_no_attack_finds_more_than_the_closed_form(name: str) -> None:
    for seed in range(2):
        model = Linear(seed)
        exact = model.worst_margins(0.03) > 0
        assert exact[model.stands(name, 0.03)].sum() == exact.sum()


@pytest.mark.parametrize(("seed", "epsilon"), [(0, 0.02), (0, 0.03), (1, 0.02), (1, 0.025)])
def test_logits_times_100_mask_the_cross_entropy_and_not_the_margin(seed: int, epsilon: float) -> None:
    """One climb suffices for CW here; where classes lie closer together it may stay with the wrong one."""
    model = Linear(seed, torch.float32)
    exact = model.worst_margins(epsilon) > 0
    assert 0.7 < exact.mean() < 0.9
    for scale in (1.0, 100.0):
        assert np.array_equal(model.stands("cw", epsilon, scale=scale), exact)
    plain, scaled = (model.stands("pgd20", epsilon, scale=scale) for scale in (1.0, 100.0))
    assert exact.mean() <= plain.mean() < scaled.mean() - 0.005
    assert exact[scaled].sum() == exact.sum()


@pytest.mark.parametrize("name", ["pgd20", "cw", "cw10x10", "dlr10x10"])
def test_robustness_falls_with_the_radius(name: str) -> None:
    model = Linear(1)
    before = np.ones(SAMPLES, dtype=bool)
    for epsilon in (0.0, 0.01, 0.03, 0.1, 1.0):
        now = model.stands(name, epsilon)
        assert now.sum() <= before.sum()
        before = now
    assert now.sum() == 0


@pytest.mark.parametrize("kind", ["pgd5", "cw5", "dlr5"])
def test_what_fell_stays_fallen_with_more_restarts(kind: str) -> None:
    model = Linear(2)
    before = model.stands(f"{kind}x2", 0.02)
    for restarts in (4, 9):
        now = model.stands(f"{kind}x{restarts}", 0.02)
        assert not (now & ~before).any()
        before = now


def best_euclidean(slope: Array, x: Array, epsilon: float) -> float:
    """Return max slope·δ over ‖δ‖₂ ≤ ε and x+δ in [0, 1]: δ = clip(x + s·slope) − x, s found by halving."""
    low, high = 0.0, 1e6
    for _ in range(200):
        scale = (low + high) / 2
        delta = np.clip(x + scale * slope, 0, 1) - x
        low, high = (scale, high) if np.linalg.norm(delta) <= epsilon else (low, scale)
    return float(slope @ (np.clip(x + low * slope, 0, 1) - x))


@pytest.mark.parametrize("epsilon", [0.1, 0.5, 2.0])
def test_the_euclidean_attack_finds_the_worst_case_in_ball_and_box(epsilon: float) -> None:
    model = Linear(3)
    objective = TargetedMargin(model.labels, (model.labels + 1) % CLASSES)
    attack = Attack(norm="l2", epsilon=epsilon, step=epsilon, steps=60)
    x_adv = perturb(model, model.x, objective, attack=attack)
    gained = objective(model(x_adv), x_adv, slice(None)) - objective(model(model.x), model.x, slice(None))
    slopes = (model.weight[(model.labels + 1) % CLASSES] - model.weight[model.labels]).numpy()
    for row in range(0, SAMPLES, 10):
        best = best_euclidean(slopes[row], model.x[row].numpy(), epsilon)
        assert float(gained[row]) == pytest.approx(best, rel=1e-6)


def test_a_step_on_a_linear_model_never_lowers_the_objective() -> None:
    model = Linear(4)
    objective: Callable[..., Tensor] = TargetedMargin(model.labels, (model.labels + 3) % CLASSES)
    last = objective(model(model.x), model.x, slice(None))
    for steps in range(1, 8):
        x_adv = perturb(model, model.x, objective, attack=Attack(epsilon=0.05, step=0.02, steps=steps))
        now = objective(model(x_adv), x_adv, slice(None))
        assert (now >= last).all()
        last = now


def test_cross_entropy_and_margin_agree_on_two_classes() -> None:
    weight = torch.randn(2, PIXELS, generator=stream(0, "two"), dtype=torch.float64)
    x = torch.rand(50, PIXELS, generator=stream(1, "two"), dtype=torch.float64)
    labels = (x @ weight.T).argmax(dim=1)
    attack = Attack(epsilon=0.05, step=0.0125, steps=10)
    by_ce, by_margin = (
        perturb(lambda v: v @ weight.T, x, make(labels), attack=attack) for make in (CrossEntropy, Margin)
    )
    assert torch.equal(by_ce, by_margin)
