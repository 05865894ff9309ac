"""The specification's numbers for y = [.7, .2, .06, .04], and what each defence is, computed row by row in NumPy."""

import numpy as np
import pytest
import torch
from tests.targets.class_defences.conftest import defend, probabilities
from torch import Tensor

from understudy.targets.class_defences import Labels, ModelGuardW, ReverseSigmoid, Rounding, TopK
from understudy.targets.class_defences.grad2 import redirected
from understudy.targets.class_defences.mad import mixed_towards, most_turning_class
from understudy.targets.class_defences.misinformation import misinformed
from understudy.targets.class_defences.reverse_sigmoid import reverse_sigmoid

Y = torch.tensor([[0.7, 0.2, 0.06, 0.04]], dtype=torch.float64)


def row(*numbers: float) -> Tensor:
    return torch.tensor([numbers], dtype=torch.float64)


def close(found: Tensor, *expected: float, atol: float = 1e-10) -> None:
    torch.testing.assert_close(found, row(*expected), rtol=0, atol=atol)


def test_reverse_sigmoid() -> None:
    bent = reverse_sigmoid(Y, beta=0.5, gamma=0.2)
    close(bent, 0.678868098906, 0.234437036115, 0.127103414474, 0.116880297735)
    served = defend(ReverseSigmoid(beta=0.5, gamma=0.2), Y)
    close(served, 0.586602126626, 0.202574350108, 0.109828600507, 0.100994922758)


def test_reverse_sigmoid_lowers_what_is_above_one_half_and_clips_what_falls_below_zero() -> None:
    assert float(reverse_sigmoid(row(0.9, 0.1), beta=0.5, gamma=0.2)[0, 0]) < 0.9
    assert float(reverse_sigmoid(row(0.9, 0.1), beta=9.0, gamma=0.2)[0, 0]) < 0
    close(defend(ReverseSigmoid(beta=9.0), row(0.9, 0.1)), 0.0, 1.0)


def test_rounding_and_what_becomes_of_a_row_of_zeros() -> None:
    close(defend(Rounding(decimals=1), Y), 0.7, 0.2, 0.1, 0.0)
    close(defend(Rounding(decimals=1), row(0.35, 0.35, 0.3)), 0.4 / 1.1, 0.4 / 1.1, 0.3 / 1.1)
    close(defend(Rounding(decimals=0), row(0.3, 0.3, 0.2, 0.2)), 0.25, 0.25, 0.25, 0.25)


def test_labels_and_top_k_take_the_first_of_equal_classes() -> None:
    close(defend(Labels(), row(0.2, 0.4, 0.4)), 0.0, 1.0, 0.0)
    close(defend(TopK(k=2), Y), 7 / 9, 2 / 9, 0.0, 0.0)
    close(defend(TopK(k=2), row(0.4, 0.2, 0.2, 0.2)), 2 / 3, 1 / 3, 0.0, 0.0)


def test_top_k_of_softened_answers_is_the_softmax_of_the_kept_logits() -> None:
    z = torch.tensor([[0.0, np.log(16.0), np.log(4.0), 0.0]], dtype=torch.float64)
    softened = defend(TopK(k=2), z.softmax(dim=1)) ** 0.5  # T = 2; golden S1
    close(softened / softened.sum(), 0.0, 2 / 3, 1 / 3, 0.0)


@pytest.mark.parametrize(("ratio", "classes", "kept"), [(0.2, 10, 2), (0.1, 100, 10), (0.29, 100, 29), (0.01, 10, 1)])
def test_the_ratio_of_top_k_is_rounded_down_in_decimals(ratio: float, classes: int, kept: int) -> None:
    served = defend(TopK(ratio=ratio), probabilities(3, classes, seed=2, scale=0.5) * 0 + 1 / classes)
    assert (served > 0).sum(dim=1).tolist() == [kept] * 3


@pytest.mark.parametrize(
    ("tau", "expected"),
    [
        (0.70, (0.375, 0.225, 0.18, 0.22)),
        (0.701, (0.224811923890, 0.236552928932, 0.235454058871, 0.303181088307)),
    ],
)
def test_adaptive_misinformation(tau: float, expected: tuple[float, ...]) -> None:
    close(misinformed(Y, row(0.05, 0.25, 0.3, 0.4), tau=tau, nu=1000.0), *expected)


@pytest.mark.parametrize(("tau", "weight"), [(0.69, 4.5397868702e-5), (0.7, 0.5), (0.701, 0.731058578630)])
def test_the_share_of_misinformation(tau: float, weight: float) -> None:
    served = misinformed(Y, row(0.0, 0.0, 0.0, 1.0), tau=tau, nu=1000.0)
    assert float((served[0, 3] - 0.04) / 0.96) == pytest.approx(weight, abs=1e-10)


def test_gradient_redirection() -> None:
    close(redirected(Y, row(-1, 0.5, 2, 0.1), epsilon=0.5), 0.45, 0.2, 0.31, 0.04)
    close(redirected(Y, row(2, 0.5, -1, 0.1), epsilon=0.5), 0.95, 0.05, 0.0, 0.0)
    close(redirected(Y, row(3, 3, 3, 3), epsilon=0.5), 0.7, 0.2, 0.06, 0.04)


def angular_deviation(y: Tensor, served: Tensor, gradients: np.ndarray) -> float:
    clean, poisoned = (rows.numpy()[0] @ gradients for rows in (y, served))
    return float(np.square(poisoned / np.linalg.norm(poisoned) - clean / np.linalg.norm(clean)).sum())


def test_maximising_angular_deviation() -> None:
    gradients = np.array([(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)])
    gram = torch.from_numpy(gradients @ gradients.T)
    target = most_turning_class(Y @ gram, gram.diagonal()[None])
    assert target.tolist() == [2]
    served = mixed_towards(Y, target, epsilon=0.5, keep_top1=False)
    close(served, 0.513829787234, 0.146808510638, 0.31, 0.029361702128)
    assert float((served[0, 2] - 0.06) / 0.94) == pytest.approx(0.265957446809, abs=1e-10)
    assert angular_deviation(Y, served, gradients) == pytest.approx(0.076654389514, abs=1e-10)


def test_the_turning_class_is_the_best_one_hot_row() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        gradients, y = generator.normal(size=(5, 3)), torch.from_numpy(generator.dirichlet(np.ones(5)))[None]
        gram = torch.from_numpy(gradients @ gradients.T)
        tried = [angular_deviation(y, torch.eye(5, dtype=torch.float64)[None, k], gradients) for k in range(5)]
        assert int(most_turning_class(y @ gram, gram.diagonal()[None])) == int(np.argmax(tried))


def test_mixing_stops_before_the_class_changes() -> None:
    bounded = mixed_towards(Y, torch.tensor([2]), epsilon=2.0, keep_top1=True)
    assert float(bounded[0, 0] - bounded[0, 2]) == pytest.approx(1e-4, abs=1e-12)
    assert mixed_towards(Y, torch.tensor([2]), epsilon=2.0, keep_top1=False).tolist() == [[0.0, 0.0, 1.0, 0.0]]
    assert mixed_towards(Y, torch.tensor([0]), epsilon=2.0, keep_top1=True).tolist() == [[1.0, 0.0, 0.0, 0.0]]


def test_modelguard_w() -> None:
    close(defend(ModelGuardW(epsilon=0.5), Y), 0.45, 0.2, 0.06, 0.29)
    for epsilon, objective in ((0.5, -1.5846699394766), (1.0, -2.0775069606167)):
        served = defend(ModelGuardW(epsilon=epsilon), Y)
        assert float((served * Y.log()).sum()) == pytest.approx(objective, abs=1e-10)
