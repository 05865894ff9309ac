"""Distillation with data: its loss by hand, its limits, and what it learns."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch.autograd import gradcheck

from understudy.data import ImageSet
from understudy.methods.baseline.kd import KD
from understudy.methods.baseline.supervised import Supervised
from understudy.methods.distiller import Answers, Taught
from understudy.models import Classifier, build_model
from understudy.runs.run import Run
from understudy.runs.tensors import digest
from understudy.training import Recipe

MakeRun = Callable[..., Run]

STUDENT, TEACHER, LABELS = [[1.0, 0.0, 0.0], [0.0, 0.0, 2.0]], [[2.0, 0.0, -1.0], [0.0, 1.0, 1.0]], [0, 1]
RECIPE = Recipe(epochs=3, batch_size=64, learning_rate=0.05)


def taught(logits: torch.Tensor) -> Taught:
    """A batch of two rows with these answers, both labels known."""
    rows, known = torch.arange(2), torch.ones(2, dtype=torch.bool)
    return Taught(torch.zeros(2, 1, 1, 1), rows, torch.tensor(LABELS), known, Answers(logits, "logits"))


def slow_loss(alpha: float, temperature: float, *, squared: bool) -> float:
    """(1 − α)·CE + α·T²·KL, one row at a time."""

    def log_softmax(row: list[float], t: float) -> list[float]:
        return [value / t - math.log(sum(math.exp(other / t) for other in row)) for value in row]

    total = 0.0
    for ours, theirs, label in zip(STUDENT, TEACHER, LABELS, strict=True):
        log_p, log_q = log_softmax(ours, temperature), log_softmax(theirs, temperature)
        divergence = sum(math.exp(q) * (q - p) for p, q in zip(log_p, log_q, strict=True))
        factor = temperature**2 if squared else 1.0
        total += -(1 - alpha) * log_softmax(ours, 1.0)[label] + alpha * factor * divergence
    return total / 2


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
@pytest.mark.parametrize("squared", [True, False])
def test_the_loss_equals_a_slow_loop(alpha: float, temperature: float, squared: bool) -> None:
    method = KD(alpha=alpha, temperature=temperature, squared_factor=squared)
    h, f = (torch.tensor(rows, dtype=torch.float64) for rows in (STUDENT, TEACHER))
    found = float(method.loss(h, taught(f)))
    assert found == pytest.approx(slow_loss(alpha, temperature, squared=squared), abs=1e-12)


def test_golden_loss() -> None:
    """From golden example G6: with α = 1 the loss is T²·KL, 0.3443263572440616 at T = 4."""
    h, f = (torch.tensor(rows, dtype=torch.float64) for rows in (STUDENT, TEACHER))
    assert float(KD(alpha=1.0).loss(h, taught(f))) == pytest.approx(0.3443263572440616, abs=1e-12)


def test_golden_d() -> None:
    """Section 6.2 of the specification of resistance, through the method."""
    ln4, ln16 = math.log(4), math.log(16)
    ours = torch.tensor([[0.0, ln4, ln4, 0.0], [0.0] * 4], dtype=torch.float64)
    theirs = torch.tensor([[ln16, ln4, 0.0, 0.0], [0.0, ln16, ln4, 0.0]], dtype=torch.float64)
    method = KD(temperature=2.0, alpha=0.9)
    found = method.loss(ours, replace(taught(theirs), labels=torch.tensor([0, 2])))
    assert float(found) == pytest.approx(1.0702392829263805, abs=1e-12)


def test_where_no_label_is_known_the_answers_have_all_the_weight() -> None:
    h, f = (torch.tensor(rows, dtype=torch.float64) for rows in (STUDENT, TEACHER))
    unknown = replace(taught(f), known=torch.zeros(2, dtype=torch.bool))
    assert float(KD(alpha=0.1).loss(h, unknown)) == pytest.approx(0.3443263572440616, abs=1e-12)


def test_gradient_by_finite_differences() -> None:
    h = torch.tensor(STUDENT, dtype=torch.float64, requires_grad=True)
    f = torch.tensor(TEACHER, dtype=torch.float64)
    assert gradcheck(lambda logits: KD().loss(logits, taught(f)), h)


def new_student(data: ImageSet) -> Classifier:
    return build_model("cnn:widths=4-8", input_shape=data.shape, classes=10, mean=data.mean, std=data.std, seed=1)


def test_a_student_comes_to_agree_with_its_teacher(
    run: Run, digits: tuple[ImageSet, ImageSet], digits_teacher: Classifier
) -> None:
    before = digest(digits_teacher.state_dict())
    KD(fit=RECIPE).run(teacher=digits_teacher, student=new_student(digits[0]), data=digits[0], run=run)
    assert digest(digits_teacher.state_dict()) == before
    agreements = [entry["metrics"]["agreement"] for entry in run.events]
    assert agreements[-1] > max(agreements[0] + 0.2, 0.6)


def test_without_weight_on_the_teacher_it_is_supervised_training(
    make_run: MakeRun, digits: tuple[ImageSet, ImageSet], digits_teacher: Classifier
) -> None:
    """A control with the teacher turned off: the same batches, the same weights, bit for bit."""
    data, short = digits[0], RECIPE.model_copy(update={"epochs": 1})
    distilled, trained = new_student(data), new_student(data)
    KD(alpha=0.0, crop_padding=1, flip=True, fit=short).run(
        teacher=digits_teacher, student=distilled, data=data, run=make_run("kd")
    )
    Supervised(crop_padding=1, flip=True, fit=short).run(model=trained, data=data, run=make_run("supervised"))
    assert digest(distilled.state_dict()) == digest(trained.state_dict())
