"""ModelGuard-W and GRAD² against a general solver of linear programs; gradients of surrogates row by row."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from tests.targets.class_defences.conftest import images, probabilities

from understudy.models import build_model
from understudy.targets.class_defences._networks import gradient_products
from understudy.targets.class_defences.grad2 import redirected
from understudy.targets.class_defences.modelguard_w import least_informative


def solved(cost: np.ndarray, y: np.ndarray, epsilon: float, *, keep: bool) -> float:
    """The least Σ cost·ỹ with ‖ỹ - y‖₁ ≤ ε, and the argmax kept; variables: ỹ, then |ỹ - y|."""
    k, top = len(y), int(y.argmax())
    eye = np.eye(k)
    above = [np.concatenate([eye[j] - eye[top], np.zeros(k)]) for j in range(k) if j != top and keep]
    rows = [*np.hstack([eye, -eye]), *np.hstack([-eye, -eye]), np.repeat([0.0, 1.0], k), *above]
    gaps = [-min(1e-4, y[top] - y[j]) for j in range(k) if j != top and keep]
    found = linprog(
        np.concatenate([cost, np.zeros(k)]),
        A_ub=np.array(rows),
        b_ub=np.concatenate([y, -y, [epsilon], gaps]),
        A_eq=np.repeat([1.0, 0.0], k)[None],
        b_eq=[1.0],
        method="highs",
    )
    assert found.success
    return float(found.fun)


@pytest.mark.parametrize("classes", [2, 3, 6])
@pytest.mark.parametrize("epsilon", [0.05, 0.4, 0.9, 1.5, 2.0])
def test_modelguard_w_solves_the_linear_program(classes: int, epsilon: float) -> None:
    y = probabilities(12, classes, seed=classes, scale=1.0).clamp_min(1e-3)
    y = y / y.sum(dim=1, keepdim=True)
    served = least_informative(y, epsilon=epsilon)
    for clean, found in zip(y.numpy(), served.numpy(), strict=True):
        assert found @ np.log(clean) == pytest.approx(solved(np.log(clean), clean, epsilon, keep=True), abs=1e-8)


@pytest.mark.parametrize("epsilon", [0.1, 0.7, 2.0])
def test_greedy_redirection_solves_the_linear_program(epsilon: float) -> None:
    y = probabilities(12, 5, seed=8)
    scores = torch.randn(12, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    served = redirected(y, scores, epsilon=epsilon)
    for clean, found, score in zip(y.numpy(), served.numpy(), scores.numpy(), strict=True):
        assert found @ score == pytest.approx(-solved(-score, clean, epsilon, keep=False), abs=1e-9)


@pytest.mark.parametrize("spec", ["mlp:widths=6-5", "cnn:widths=3-4", "vit:patch=2,dim=8,depth=1,heads=2"])
def test_products_with_gradients_are_those_of_one_row_at_a_time(spec: str) -> None:
    model = build_model(spec, input_shape=(1, 4, 4), classes=3, mean=[0.4], std=[0.3], seed=0).double().eval()
    x, y = images(4).double(), probabilities(4, 3, seed=0)
    with torch.no_grad():  # as teachers are asked
        products, lengths = gradient_products(model, x, y, norms=True)
        alone, none = gradient_products(model, x[1:2], y[1:2], norms=False)
    assert none is None
    torch.testing.assert_close(alone, products[1:2])
    assert lengths is not None
    for row in range(4):
        log_probs = model(x[row : row + 1]).log_softmax(dim=1)[0]
        parts = [torch.autograd.grad(number, list(model.parameters()), retain_graph=True) for number in log_probs]
        gradients = torch.stack([torch.cat([part.flatten() for part in each]) for each in parts])
        torch.testing.assert_close(products[row], gradients @ (gradients.T @ y[row]), rtol=1e-12, atol=1e-10)
        torch.testing.assert_close(lengths[row], gradients.square().sum(dim=1), rtol=1e-12, atol=1e-10)
    assert all(parameter.grad is None for parameter in model.parameters())
