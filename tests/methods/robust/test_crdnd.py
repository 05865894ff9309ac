"""CRDND-style distillation: its golden numbers, what its rectifier promises, and the methods that it contains."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from understudy.attacks import CrossEntropy, KLFrom
from understudy.losses import kl_rows, kl_rows_from_probs
from understudy.methods.robust.adaad import AdaAD
from understudy.methods.robust.crdnd import (
    CRDND,
    Transition,
    confidence_compensation,
    margin_compensation,
    rectified,
    shortfall,
)
from understudy.methods.robust.rslad import RSLAD
from understudy.models import build_model
from understudy.training.seen import Clean, Seen

P_CLEAN, P_ADV = [[0.6, 0.3, 0.1], [0.2, 0.5, 0.3]], [[0.45, 0.35, 0.2], [0.35, 0.4, 0.25]]
Q_CLEAN, Q_ADV = [[0.7, 0.2, 0.1], [0.5, 0.3, 0.2]], [[0.4, 0.5, 0.1], [0.3, 0.6, 0.1]]
Z, Z_ADV = [[1.0, 0.0], [0.0, 1.0]], [[0.8, 0.6], [0.6, 0.8]]
H, H_ADV = [[1.0, 0.0], [0.6, 0.8]], [[0.96, 0.28], [0.28, 0.96]]
IMAGES, Y = torch.zeros(2, 1, 1, 1), torch.tensor([0, 1])
DENOISE: dict[str, Any] = {"relation_weight": 0.0, "contrast_weight": 0.0}


def double(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def seen(**replaced: Any) -> Seen:
    parts: dict[str, Any] = {
        "student_clean": double(P_CLEAN).log(), "student_adversarial": double(P_ADV).log(),
        "teacher_clean": double(Q_CLEAN).log(), "teacher_adversarial": double(Q_ADV).log(),
        "student_clean_features": double(Z), "student_adv_features": double(Z_ADV),
        "teacher_clean_features": double(H), "teacher_adv_features": double(H_ADV),
    }  # fmt: skip
    return Seen(x=IMAGES, x_adv=IMAGES, labels=Y, **{**parts, **replaced})


def loss(method: CRDND, batch: Seen | None = None, extras: Any = None) -> float:
    return float(method.loss(seen() if batch is None else batch, extras)["loss"].detach())


def equals(value: Any) -> Any:
    return pytest.approx(value, rel=0, abs=1e-12)


def test_golden_compensations() -> None:
    clean, adversarial = double(Q_CLEAN), double(Q_ADV)
    assert shortfall(clean, Y).tolist() == equals([-0.5, 0.2])
    assert shortfall(adversarial, Y).tolist() == equals([0.1, -0.3])
    for margin, on_clean, on_adversarial in ((0.0, [0, 1 / 6], [1 / 11, 0]), (0.1, [0, 1 / 4], [2 / 11, 0])):
        assert margin_compensation(clean, Y, margin=margin).tolist() == equals(on_clean)
        assert margin_compensation(adversarial, Y, margin=margin).tolist() == equals(on_adversarial)
    method = CRDND()
    target, amount = method.compensated(clean.log(), Y, temperature=1.0)
    assert amount.tolist() == equals([0, 1 / 4])
    assert target[1].tolist() == equals([0.375, 0.475, 0.15])
    assert target[0].tolist() == equals(Q_CLEAN[0])
    assert kl_rows_from_probs(target, double(P_CLEAN).log()).tolist() == equals([0.026812454257, 0.107391855365])
    target, _ = method.compensated(adversarial.log(), Y, temperature=1.0)
    assert target[0].tolist() == equals([5.6 / 11, 4.5 / 11, 0.9 / 11])
    assert kl_rows_from_probs(target, double(P_ADV).log()).tolist() == equals([0.053500504384, 0.105404787729])
    by_confidence = CRDND(compensation="confidence")
    target, amount = by_confidence.compensated(clean.log(), Y, temperature=1.0)
    assert amount.tolist() == equals([0.3, 0.7])
    assert target.tolist() == [equals([0.79, 0.14, 0.07]), equals([0.15, 0.79, 0.06])]
    target, amount = CRDND(compensation="swap").compensated(clean.log(), Y, temperature=1.0)
    assert amount.tolist() == [0, 1]
    assert target.tolist() == [equals([0.7, 0.2, 0.1]), equals([0.3, 0.5, 0.2])]


def test_golden_losses() -> None:
    assert loss(CRDND(**DENOISE)) == equals(0.077394230849)
    found = CRDND().loss(seen(), None)
    assert float(found["loss"]) == equals(0.173640077928)
    assert float(found["denoised"]) == equals(0.077394230849)
    assert float(found["relation"]) == equals(0.044944321839)
    assert float(found["contrast"]) == equals(0.513015252400)
    assert loss(CRDND(margin=-1)) == equals(
        5 / 6 * 0.083657163690 + 0.125308555722 / 6 + 0.040929053949 + 0.1 * 0.513015252400
    )


def test_golden_gradient_of_the_adversarial_term() -> None:
    """It is λ(p' − q̃')/N."""
    s = double(P_ADV).log().requires_grad_()
    (gradient,) = torch.autograd.grad(CRDND(**DENOISE).loss(seen(student_adversarial=s), None)["loss"], s)
    expected = [
        [-0.024621212121, -0.024621212121, 0.049242424242],
        [0.020833333333, -0.083333333333, 0.0625],
    ]
    assert gradient.tolist() == [equals(row) for row in expected]
    target, _ = CRDND().compensated(double(Q_ADV).log(), Y, temperature=1.0)
    assert torch.allclose(gradient, 5 / 6 * (double(P_ADV) - target) / 2, rtol=0, atol=1e-14)


def matrix(probs: list[list[float]]) -> Transition:
    transition = Transition(len(probs)).double()
    transition.load_state_dict({"scores": double(probs).log()})
    return transition


def test_golden_transition() -> None:
    transition = matrix([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
    assert transition.matrix().tolist() == [equals(row) for row in [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]]
    student, teacher = double(P_CLEAN).log(), double(Q_CLEAN)
    assert (double(P_CLEAN) @ transition.matrix()).tolist() == [equals([0.52, 0.31, 0.17]), equals([0.24, 0.45, 0.31])]
    rows = transition.divergence_rows(teacher, student, temperature=1.0)
    assert float(rows.mean().detach()) == equals(0.112528162028)
    method = CRDND(compensation="transition", **DENOISE)
    found = method.loss(seen(), transition)
    adversarial = transition.divergence_rows(double(Q_ADV), double(P_ADV).log(), temperature=1.0).mean()
    expected = 5 / 6 * float(adversarial.detach()) + 0.112528162028 / 6 + 0.5 * 0.857399214046
    assert float(found["loss"].detach()) == equals(expected)
    assert float(found["stability"].detach()) == equals(0.8)


def test_the_learned_matrix_starts_near_the_identity_and_is_not_decayed() -> None:
    transition = CRDND(compensation="transition").extras(
        build_model("mlp:widths=4", input_shape=(1, 2, 2), classes=5, mean=[0.0], std=[1.0], seed=0),
        None,
        torch.Generator(),
    )
    assert isinstance(transition, Transition)
    found = transition.matrix().detach()
    assert torch.allclose(found.diagonal(), torch.tensor(0.9))
    assert torch.allclose(found.sum(dim=1), torch.tensor(1.0))
    assert float(found[0, 1]) == pytest.approx(0.1 / 4)
    assert [getattr(parameter, "no_weight_decay", False) for parameter in transition.parameters()] == [True]
    exact = matrix([[1.0, 1e-30, 1e-30], [1e-30, 1.0, 1e-30], [1e-30, 1e-30, 1.0]])
    rows = exact.divergence_rows(double(Q_CLEAN), double(P_CLEAN).log(), temperature=1.0)
    assert torch.allclose(rows, kl_rows(double(Q_CLEAN).log(), double(P_CLEAN).log()), rtol=0, atol=1e-12)


@given(st.integers(0, 100_000), st.sampled_from([0.0, 0.1, 0.3]), st.integers(2, 6), st.floats(0.2, 8))
@settings(max_examples=60, deadline=None)
def test_the_rectifier_keeps_its_promises(seed: int, margin: float, classes: int, scale: float) -> None:
    """A distribution; the label leads by m; the other ratios stay; nothing where nothing is needed, and no more."""
    generator = torch.Generator().manual_seed(seed)
    q = (torch.randn(16, classes, generator=generator, dtype=torch.float64) * scale).softmax(dim=1)
    labels = torch.randint(classes, (16,), generator=generator)
    amount = margin_compensation(q, labels, margin=margin)
    target = rectified(q, labels, amount)
    assert float(target.min()) >= 0
    assert torch.allclose(target.sum(dim=1), torch.ones(16, dtype=torch.float64), rtol=0, atol=1e-12)
    assert float(-shortfall(target, labels).max()) >= margin - 1e-12
    assert bool((-shortfall(target, labels) >= margin - 1e-12).all())
    wrong = torch.ones_like(q).scatter(1, labels[:, None], 0.0).bool()
    ratio = (target / q)[wrong].view(16, -1)
    assert torch.allclose(ratio, (1 - amount)[:, None].expand_as(ratio), rtol=1e-12, atol=0)
    enough = -shortfall(q, labels) >= margin
    assert torch.equal(amount == 0, enough)
    less = rectified(q, labels, 0.99 * amount)
    assert bool((-shortfall(less, labels) < margin)[~enough].all())


def test_a_sure_teacher_is_left_alone_or_turned_round_without_nan() -> None:
    sure = torch.eye(3, dtype=torch.float64)
    for margin in (-1.0, 0.0, 0.1, 0.9):
        assert margin_compensation(sure, torch.arange(3), margin=margin).tolist() == [0, 0, 0]
    found = margin_compensation(sure, torch.tensor([1, 2, 0]), margin=0.1)
    assert found.tolist() == equals([0.55] * 3)
    assert margin_compensation(sure, torch.tensor([1, 2, 0]), margin=-1.0).tolist() == [0, 0, 0]
    assert confidence_compensation(sure, torch.tensor([0, 2, 0]), scale=0.5, power=2.0).tolist() == [0, 0.5, 0.5]


def test_without_compensation_and_relations_it_is_rslad_or_adaad() -> None:
    off = CRDND(margin=-1, teacher_view="clean", **DENOISE)
    assert loss(off) == equals(float(RSLAD().loss(seen(), None)["loss"]))
    assert off.uses() == RSLAD().uses()
    outer = CRDND(margin=-1, adversarial_weight=1.0, **DENOISE)
    assert loss(outer) == equals(float(AdaAD().loss(seen(), None)["loss"]))


@pytest.mark.parametrize("mode", ["margin", "confidence", "swap", "transition"])
@pytest.mark.parametrize("view", ["same", "clean"])
@pytest.mark.parametrize("tau", [1.0, 2.5])
def test_every_mode_equals_a_slow_loop(mode: Any, view: Any, tau: float) -> None:
    """The denoised loss with the trusted relation, a sample and a class at a time, in NumPy."""
    generator = np.random.default_rng(3)
    s, s_adv, t, t_adv = generator.normal(size=(4, 5, 4)) * 2
    z, z_adv, h, h_adv = generator.normal(size=(4, 5, 3))
    labels, n = [0, 1, 2, 1, 3], 5
    t[0, 0] += 5  # of what is drawn, the teacher is right on no clean image
    t[3, 1] += 5
    start = np.log(np.where(np.eye(4) == 1, 0.9, 0.1 / 3))

    def softmax(row: np.ndarray) -> np.ndarray:
        return np.exp(row - row.max()) / np.exp(row - row.max()).sum()

    def corrected(row: np.ndarray, label: int) -> tuple[np.ndarray, float]:
        q = softmax(row / tau)
        g = max(q[k] for k in range(4) if k != label) - q[label]
        if mode == "swap":
            if g > 0:
                top = int(q.argmax())
                q[label], q[top] = q[top], q[label]
            return q, float(g > 0)
        a = {"margin": min(max((0.1 + g) / (1 + g), 0), 1), "confidence": 1 - q[label], "transition": 0.0}[mode]
        return (1 - a) * q + a * np.eye(4)[label], a

    def divergence(target: np.ndarray, row: np.ndarray) -> float:
        p = softmax(row / tau)
        p = p @ np.stack([softmax(line) for line in start]) if mode == "transition" else p
        return float(sum(target[k] * (np.log(target[k]) - np.log(p[k])) for k in range(4)))

    total, weights, relation, contrast = 0.0, 0.0, 0.0, 0.0
    cosine = lambda a, b: a @ b / np.linalg.norm(a) / np.linalg.norm(b) / 0.5  # noqa: E731
    for i in range(n):
        target, amount = corrected(t_adv[i] if view == "same" else t[i], labels[i])
        clean_target, _ = corrected(t[i], labels[i])
        both = 5 / 6 * divergence(target, s_adv[i]) + divergence(clean_target, s[i]) / 6
        total += tau**2 * both / n
        if mode == "transition":
            total -= 0.5 * np.log(softmax(s_adv[i])[labels[i]]) / n
        ours = np.array([cosine(z_adv[i], z[j]) for j in range(n)])
        p, q = softmax(ours), softmax(np.array([cosine(h_adv[i], h[j]) for j in range(n)]))
        relation += (1 - amount) * float((q * np.log(q / p)).sum())
        weights += 1 - amount
        others = sum(np.exp(ours[j]) for j in range(n) if labels[j] != labels[i])
        contrast -= np.log(np.exp(ours[i]) / (np.exp(ours[i]) + others)) / n
    names = ["student_clean", "student_adversarial", "teacher_clean", "teacher_adversarial", "student_clean_features",
             "student_adv_features", "teacher_clean_features", "teacher_adv_features"]  # fmt: skip
    parts = dict(zip(names, map(torch.tensor, (s, s_adv, t, t_adv, z, z_adv, h, h_adv)), strict=True))
    images = torch.zeros(n, 1, 1, 1)
    batch = Seen(x=images, x_adv=images, labels=torch.tensor(labels), **parts)
    method = CRDND(compensation=mode, teacher_view=view, temperature=tau)
    found = loss(method, batch, Transition(4).double() if mode == "transition" else None)
    start_error = 1e-7 if mode == "transition" else 0  # the matrix starts in float32
    assert found == pytest.approx(total + relation / weights + 0.1 * contrast, rel=0, abs=1e-12 + start_error)


def test_a_single_sample_has_no_relations() -> None:
    one = Seen(
        x=IMAGES[:1], x_adv=IMAGES[:1], labels=Y[:1], student_clean=double(P_CLEAN[:1]).log(),
        student_adversarial=double(P_ADV[:1]).log(), teacher_clean=double(Q_CLEAN[:1]).log(),
        teacher_adversarial=double(Q_ADV[:1]).log(),
    )  # fmt: skip
    assert loss(CRDND(), one) == equals(loss(CRDND(**DENOISE), one))


def test_relations_of_logits_need_no_features() -> None:
    method = CRDND(embedding="logits")
    assert not {name for name in method.uses() if "features" in name}
    with_logits = seen(
        student_clean_features=double(P_CLEAN).log(), student_adv_features=double(P_ADV).log(),
        teacher_clean_features=double(Q_CLEAN).log(), teacher_adv_features=double(Q_ADV).log(),
    )  # fmt: skip
    assert loss(method) == equals(loss(CRDND(), with_logits))


@pytest.mark.parametrize(
    ("fields", "missing"),
    [
        ({}, set()),
        (DENOISE, {"student_features", "teacher_features"}),
        ({**DENOISE, "teacher_view": "clean"}, {"student_features", "teacher_features", "teacher_adversarial"}),
        ({"relation_weight": 0.0, "teacher_view": "clean"}, {"teacher_features", "teacher_adversarial"}),
        ({"teacher_view": "clean"}, set()),
        (
            {**DENOISE, "adversarial_weight": 1.0, "attack_target": "ce"},
            {"student_features", "teacher_features", "teacher_clean", "student_clean"},
        ),
    ],
)
def test_what_is_left_out_is_not_asked_for(fields: dict[str, Any], missing: set[str]) -> None:
    everything = {"student_clean", "student_features", "teacher_clean", "teacher_adversarial", "teacher_features"}
    method = CRDND(**fields)
    assert method.uses() == everything - missing
    absent = {
        "student_clean": ["student_clean", "student_clean_features"],
        "student_features": ["student_clean_features", "student_adv_features"],
        "teacher_clean": ["teacher_clean", "teacher_clean_features"],
        "teacher_adversarial": ["teacher_adversarial", "teacher_adv_features"],
        "teacher_features": ["teacher_clean_features", "teacher_adv_features"],
    }
    batch = seen(**{part: None for name in missing for part in absent[name]})
    assert loss(method, batch) == equals(loss(method))


def test_what_the_attack_leads_away_from() -> None:
    known = Clean(x=IMAGES, labels=Y, teacher_clean=double(Q_CLEAN).log())
    plain = CRDND().inner_objective(known)
    assert isinstance(plain, KLFrom)
    assert torch.equal(plain.target_logits, double(Q_CLEAN).log())
    corrected = CRDND(attack_target="rectified").inner_objective(known)
    assert isinstance(corrected, KLFrom)
    assert corrected.target_logits.softmax(dim=1)[1].tolist() == equals([0.375, 0.475, 0.15])
    assert isinstance(CRDND(attack_target="ce").inner_objective(known), CrossEntropy)
    sure = Clean(x=IMAGES, labels=Y, teacher_clean=torch.tensor([[0.0, 1e4, 0.0], [0.0, 1e4, 0.0]]))
    assert bool(CRDND(attack_target="rectified").inner_objective(sure).target_logits.isfinite().all())  # type: ignore[attr-defined]
