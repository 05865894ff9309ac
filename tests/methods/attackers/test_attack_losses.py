"""The attackers' losses against golden numbers, slow float64 loops and finite differences."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from understudy.methods.attackers.averaging import Averaging
from understudy.methods.attackers.centred import Centred
from understudy.methods.attackers.composition import Composition
from understudy.methods.attackers.disagreement import Disagreement
from understudy.methods.attackers.hard_label import HardLabel
from understudy.methods.attackers.no_teacher import NoTeacher
from understudy.methods.attackers.regression import Regression
from understudy.methods.attackers.uniform_tail import UniformTail
from understudy.methods.distiller import Distiller, Knowledge, Taught

MakeTaught = Callable[..., Taught]
Prepared = Callable[[Distiller, Taught], Taught]
Array = npt.NDArray[np.float64]

# The specification's golden example D: at T = 2 the teacher's softened rows are (4, 2, 1, 1) / 8 and (1, 4, 2, 1) / 8.
STUDENT = torch.tensor([[1.0, 4, 4, 1], [1, 1, 1, 1]], dtype=torch.float64).log()
TEACHER = torch.tensor([[16.0, 4, 1, 1], [1, 16, 4, 1]], dtype=torch.float64).log()
SPARSE = torch.tensor([[0.8, 0.2, 0, 0], [0, 0.8, 0.2, 0]], dtype=torch.float64)
LABELS = [0, 2]
KD_LOSS, STINGY_LOSS = 1.0702392829263805, 3.1976015531347053
KL_ROWS, CE_ROWS = [0.318821710538, 0.173286795140], [np.log(10), np.log(4)]

SOFTENED: list[type[Any]] = [Centred, Averaging, Disagreement, UniformTail]
EVERY: dict[str, Distiller] = {
    "no_teacher": NoTeacher(),
    "smoothed": NoTeacher(smoothing=0.1),
    "hard_label": HardLabel(),
    "hard_label_smoothed": HardLabel(smoothing=0.1),
    "uniform_tail": UniformTail(),
    "centred": Centred(),
    "without_square": Centred(squared_factor=False, temperature=20.0),
    "disagreement": Disagreement(),
    "disagreement_label": Disagreement(mode="label"),
    "composition": Composition(),
    "averaging": Averaging(),
    "regression": Regression(),
}


def equals(value: float | Array) -> Any:
    return pytest.approx(value, rel=0, abs=1e-10)


def softmax(row: Array, temperature: float = 1.0) -> Array:
    powers = np.exp((row - row.max()) / temperature)
    return powers / powers.sum()


def cross_entropy(row: Array, target: Array) -> float:
    return float(-(target * np.log(softmax(row))).sum())


def onehot(label: int, classes: int = 4) -> Array:
    return np.eye(classes)[label]


def kl(target: Array, row: Array, temperature: float) -> float:
    ours = softmax(row, temperature)
    return sum(t * float(np.log(t / p)) for t, p in zip(target, ours, strict=True) if t > 0)


@pytest.fixture
def prepared(knowledge: Callable[..., Knowledge]) -> Callable[[Distiller, Taught], Taught]:
    """Return a function that gives what a method makes of a batch, if that batch is all there is."""

    def prepared(method: Distiller, batch: Taught) -> Taught:
        return method.prepare(knowledge(batch.answers.values, kind=batch.answers.kind))(batch)

    return prepared


@pytest.fixture
def random_batch(taught: MakeTaught) -> tuple[Tensor, Taught]:
    """Seven rows of four classes, of which some labels are unknown: there the label is the answer's class."""
    rng = np.random.default_rng(5)
    student, teacher = (torch.from_numpy(rng.normal(0, 3, (7, 4))) for _ in range(2))
    known = [True, False, True, True, False, True, True]
    top = teacher.argmax(dim=1).tolist()
    labels = [label if sure else first for label, sure, first in zip([0, 0, 1, 2, 0, 3, 1], known, top, strict=True)]
    return student, taught(teacher, labels, known=known)


@pytest.mark.parametrize("attacker", SOFTENED)
def test_golden_losses_of_answers_as_they_come(attacker: type[Any], taught: MakeTaught) -> None:
    """What these attackers distil, they distil as plain distillation does: goldens D and S1."""
    method = attacker(temperature=2.0, alpha=0.9)
    assert float(method.loss(STUDENT, taught(TEACHER, LABELS))) == equals(KD_LOSS)
    assert float(method.loss(STUDENT, taught(SPARSE, LABELS, kind="probabilities"))) == equals(STINGY_LOSS)


def test_hard_labels_by_hand(taught: MakeTaught) -> None:
    """The classes answered in D are 0 and 1, whatever the labels; smoothing takes a share of 0.2 to all four."""
    batch = taught(TEACHER, LABELS)
    assert float(HardLabel().loss(STUDENT, batch)) == equals((np.log(10) + np.log(4)) / 2)
    first = 0.8 * np.log(10) + 0.2 * (np.log(10) + np.log(2.5)) / 2
    assert float(HardLabel(smoothing=0.2).loss(STUDENT, batch)) == equals((first + np.log(4)) / 2)


def test_answers_that_contradict_the_label(taught: MakeTaught, prepared: Prepared) -> None:
    """The second answer of D does: its logits are swapped, or its label alone is learnt, if that is known."""
    batch = taught(TEACHER, LABELS)
    swapped = prepared(Disagreement(), batch).answers.values
    assert swapped.exp().numpy() == equals(np.array([[16.0, 4, 1, 1], [1, 4, 16, 1]]))
    method = Disagreement(mode="label", temperature=2.0, alpha=0.9)
    first = 0.1 * CE_ROWS[0] + 0.9 * 4 * KL_ROWS[0]
    assert prepared(method, batch) is batch
    assert float(method.loss(STUDENT, batch)) == equals((first + CE_ROWS[1]) / 2)
    unknown = taught(TEACHER, [0, 1], known=[True, False])
    assert torch.equal(prepared(Disagreement(), unknown).answers.values, TEACHER)
    assert float(method.loss(STUDENT, unknown)) == equals((first + 4 * KL_ROWS[1]) / 2)


def test_where_all_answers_agree_nothing_is_filtered(
    random_batch: tuple[Tensor, Taught], taught: MakeTaught, prepared: Prepared
) -> None:
    student, batch = random_batch
    agreed = taught(batch.answers.values, batch.answers.top1().tolist())
    plain = float(Centred().loss(student, agreed))
    assert float(Disagreement(mode="label").loss(student, agreed)) == equals(plain)
    assert float(Disagreement().loss(student, prepared(Disagreement(), agreed))) == equals(plain)


def test_the_filter_equals_a_slow_loop(random_batch: tuple[Tensor, Taught], prepared: Prepared) -> None:
    student, batch = random_batch
    slow = {"swap": 0.0, "label": 0.0}
    for s, t, label, known in zip(
        student.numpy(), batch.answers.values.numpy(), batch.labels.tolist(), batch.known.tolist(), strict=True
    ):
        hard, top = cross_entropy(s, onehot(label)), int(t.argmax())
        mended = t.copy()
        mended[[label, top]] = t[[top, label]]
        for mode, row in (("swap", mended), ("label", t)):
            soft = 16 * kl(softmax(row, 4.0), s, 4.0)
            mixed = 0.1 * hard + 0.9 * soft if known else soft
            slow[mode] += hard if mode == "label" and label != top else mixed
    assert {bool(k) for k in (batch.answers.top1() != batch.labels)} == {True, False}
    for mode, expected in slow.items():
        method = Disagreement.model_validate({"mode": mode})
        assert float(method.loss(student, prepared(method, batch))) == equals(expected / 7)


def test_the_uniform_tail_equals_a_slow_loop(random_batch: tuple[Tensor, Taught], prepared: Prepared) -> None:
    """With no label in it by default: the cross-entropy against the answer with its tail made even, less a constant."""
    student, batch = random_batch
    slow = 0.0
    for s, t in zip(student.numpy(), batch.answers.values.numpy(), strict=True):
        probs = softmax(t)
        even = np.full(4, (1 - probs.max()) / 3)
        even[probs.argmax()] = probs.max()
        slow += kl(even, s, 1.0)
    assert float(UniformTail().loss(student, prepared(UniformTail(), batch))) == equals(slow / 7)


def test_the_composition_equals_a_slow_loop(random_batch: tuple[Tensor, Taught]) -> None:
    student, batch = random_batch
    rows = zip(student.numpy(), batch.answers.values.numpy(), batch.labels.tolist(), strict=True)
    slow = sum(cross_entropy(s, 0.5 * onehot(label) + 0.5 * softmax(t, 50.0)) for s, t, label in rows)
    assert float(Composition().loss(student, batch)) == equals(slow / 7)
    assert float(Composition(beta=0.0).loss(student, batch)) == equals(float(NoTeacher().loss(student, batch)))


def test_the_regression_equals_a_slow_loop(random_batch: tuple[Tensor, Taught]) -> None:
    student, batch = random_batch
    slow = 0.0
    for s, t, label, known in zip(
        student.numpy(), batch.answers.values.numpy(), batch.labels.tolist(), batch.known.tolist(), strict=True
    ):
        error = float((((s - s.mean()) - (t - t.mean())) ** 2).mean())
        i, j, k = np.argsort(-t)[:3]
        order = float(np.log1p(np.exp([s[j] - s[i], s[k] - s[i], s[k] - s[j]])).mean())
        answered = error + 0.1 * order
        slow += 0.1 * cross_entropy(s, onehot(label)) + 0.9 * answered if known else answered
    assert float(Regression().loss(student, batch)) == equals(slow / 7)


@pytest.mark.parametrize("name", EVERY)
def test_gradients_by_finite_differences(name: str, random_batch: tuple[Tensor, Taught]) -> None:
    student, batch = random_batch
    assert gradcheck(lambda logits: EVERY[name].loss(logits, batch), student.clone().requires_grad_())


@pytest.mark.parametrize("name", EVERY)
def test_sparse_and_one_hot_answers_give_finite_losses_and_gradients(
    name: str, taught: MakeTaught, prepared: Prepared
) -> None:
    """A defence may leave a single class: no logarithm of a 0 is ever taken."""
    method = EVERY[name]
    for values in (SPARSE, torch.eye(4, dtype=torch.float64)[:2]):
        student = STUDENT.clone().requires_grad_()
        batch = taught(values, LABELS, kind="probabilities")
        loss = method.loss(student, batch if name == "averaging" else prepared(method, batch))
        loss.backward()
        assert loss.isfinite()
        assert student.grad is not None
        assert student.grad.isfinite().all()


@pytest.mark.parametrize("name", EVERY)
def test_half_precision_is_widened(name: str, random_batch: tuple[Tensor, Taught]) -> None:
    student, batch = random_batch
    assert EVERY[name].loss(student.bfloat16(), batch).dtype in (torch.float32, torch.float64)


@pytest.mark.parametrize("name", EVERY)
def test_a_batch_is_the_mean_of_its_rows(name: str, random_batch: tuple[Tensor, Taught], taught: MakeTaught) -> None:
    student, batch = random_batch
    values, labels, known = batch.answers.values, batch.labels.tolist(), batch.known.tolist()
    alone = [
        float(EVERY[name].loss(student[k : k + 1], taught(values[k : k + 1], [labels[k]], known=[known[k]])))
        for k in range(7)
    ]
    assert float(EVERY[name].loss(student, batch)) == equals(sum(alone) / 7)
