"""Relations across two views against golden numbers, a slow NumPy implementation, and what they must not see."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from understudy.losses import cross_view_similarity, own_view_rows, relation_rows, weighted_mean

Z, Z_ADV = [[1.0, 0.0], [0.0, 1.0]], [[0.8, 0.6], [0.6, 0.8]]
H, H_ADV = [[1.0, 0.0], [0.6, 0.8]], [[0.96, 0.28], [0.28, 0.96]]
EXACT = {"rtol": 0, "atol": 1e-12}


def test_golden_relations() -> None:
    s = cross_view_similarity(torch.tensor(Z_ADV), torch.tensor(Z), temperature=0.5)
    r = cross_view_similarity(torch.tensor(H_ADV), torch.tensor(H), temperature=0.5)
    assert torch.allclose(0.5 * s, torch.tensor([[0.8, 0.6], [0.6, 0.8]]), **EXACT)
    assert torch.allclose(0.5 * r, torch.tensor([[0.96, 0.8], [0.28, 0.936]]), **EXACT)
    ours = [[0.598687660112, 0.401312339888], [0.401312339888, 0.598687660112]]
    theirs = [[0.579324252149, 0.420675747851], [0.212152364198, 0.787847635802]]
    assert torch.allclose(s.softmax(dim=1), torch.tensor(ours), **EXACT)
    assert torch.allclose(r.softmax(dim=1), torch.tensor(theirs), **EXACT)
    rows = relation_rows(s, r)
    assert torch.allclose(rows, torch.tensor([0.000776375048, 0.081081732849]), **EXACT)
    assert float(weighted_mean(rows, torch.ones(2))) == pytest.approx(0.040929053949, abs=1e-12)
    assert float(weighted_mean(rows, torch.tensor([9 / 11, 1.0]))) == pytest.approx(0.044944321839, abs=1e-12)
    contrast = own_view_rows(s, torch.tensor([0, 1]))
    assert float(contrast.mean()) == pytest.approx(0.513015252400, abs=1e-12)


@given(st.integers(0, 10_000), st.integers(2, 6), st.sampled_from([0.1, 0.5]))
@settings(max_examples=25, deadline=None)
def test_relations_equal_a_slow_loop(seed: int, rows: int, temperature: float) -> None:
    generator = np.random.default_rng(seed)
    z, z_adv = generator.normal(size=(2, rows, 5))
    h, h_adv = generator.normal(size=(2, rows, 3))
    labels = generator.integers(0, 3, size=rows)

    def similarity(adversarial: np.ndarray, clean: np.ndarray) -> np.ndarray:
        found = np.zeros((rows, rows))
        for i in range(rows):
            for j in range(rows):
                lengths = np.linalg.norm(adversarial[i]) * np.linalg.norm(clean[j])
                found[i, j] = adversarial[i] @ clean[j] / lengths / temperature
        return found

    s, r = similarity(z_adv, z), similarity(h_adv, h)
    relation, contrast = np.zeros(rows), np.zeros(rows)
    for i in range(rows):
        q, p = (np.exp(row) / np.exp(row).sum() for row in (r[i], s[i]))
        relation[i] = (q * (np.log(q) - np.log(p))).sum()
        others = sum(np.exp(s[i, j]) for j in range(rows) if labels[j] != labels[i])
        contrast[i] = -np.log(np.exp(s[i, i]) / (np.exp(s[i, i]) + others))
    ours = cross_view_similarity(torch.tensor(z_adv), torch.tensor(z), temperature=temperature)
    theirs = cross_view_similarity(torch.tensor(h_adv), torch.tensor(h), temperature=temperature)
    close = {"rtol": 0, "atol": 1e-10}
    assert torch.allclose(ours, torch.tensor(s), **close)
    assert torch.allclose(relation_rows(ours, theirs), torch.tensor(relation), **close)
    assert torch.allclose(own_view_rows(ours, torch.tensor(labels)), torch.tensor(contrast), **close)


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_equal_relations_cost_nothing() -> None:
    s = cross_view_similarity(draws(5, 4), draws(5, 4, seed=1), temperature=0.5).requires_grad_()
    value = relation_rows(s, s.detach().clone()).sum()
    assert float(value.detach()) == pytest.approx(0, abs=1e-14)
    assert float(torch.autograd.grad(value, s)[0].abs().max()) < 1e-14


def test_lengths_and_order_do_not_matter() -> None:
    adversarial, clean, theirs, labels = draws(6, 4), draws(6, 4, seed=1), draws(6, 6, seed=2), torch.arange(6) % 3
    s = cross_view_similarity(adversarial, clean, temperature=0.5)
    lengths = draws(6, 1, seed=3).exp()
    assert torch.allclose(cross_view_similarity(adversarial * lengths, clean / lengths, temperature=0.5), s, **EXACT)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    mixed = cross_view_similarity(adversarial[order], clean[order], temperature=0.5)
    relation = relation_rows(mixed, theirs[order][:, order])
    assert torch.allclose(relation, relation_rows(s, theirs)[order], **EXACT)
    assert torch.allclose(own_view_rows(mixed, labels[order]), own_view_rows(s, labels)[order], **EXACT)


def test_samples_of_the_same_class_take_no_part_in_the_contrast() -> None:
    s, labels = draws(6, 6).requires_grad_(), torch.tensor([0, 0, 1, 1, 2, 0])
    (gradient,) = torch.autograd.grad(own_view_rows(s, labels).sum(), s)
    same = (labels[:, None] == labels) & ~torch.eye(6, dtype=torch.bool)
    assert bool((gradient[same] == 0).all())
    assert bool((gradient[~same] != 0).all())
    alone = own_view_rows(s, torch.zeros(6, dtype=torch.long))
    assert float(alone.detach().abs().max()) == 0


def test_no_gradient_reaches_the_teacher() -> None:
    s, r = draws(4, 4).requires_grad_(), draws(4, 4, seed=1).requires_grad_()
    relation_rows(s, r).sum().backward()
    assert r.grad is None
    assert s.grad is not None


def test_gradients_by_finite_differences() -> None:
    a, b = draws(4, 3).requires_grad_(), draws(4, 3, seed=1).requires_grad_()
    theirs, labels = draws(4, 4, seed=2), torch.tensor([0, 1, 1, 2])
    assert gradcheck(lambda a, b: relation_rows(cross_view_similarity(a, b, temperature=0.5), theirs), (a, b))
    assert gradcheck(lambda a, b: own_view_rows(cross_view_similarity(a, b, temperature=0.5), labels), (a, b))


def test_similarities_are_not_taken_in_half_precision() -> None:
    a, b = draws(8, 64).float(), draws(8, 64, seed=1).float()
    exact = cross_view_similarity(a, b, temperature=0.07)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(cross_view_similarity(a, b, temperature=0.07), exact)
    assert cross_view_similarity(a.bfloat16(), b.bfloat16(), temperature=0.07).dtype == torch.float32
    zero = torch.zeros(2, 3, dtype=torch.float32, requires_grad=True)
    found = cross_view_similarity(zero, a[:2, :3], temperature=0.5).sum()
    assert bool(torch.autograd.grad(found, zero)[0].isfinite().all())
