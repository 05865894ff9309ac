"""Skeptical student: golden K, a slow loop, whom the teacher reaches, and the epochs before it is let in."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck

from understudy.data import ImageSet
from understudy.errors import ConfigError
from understudy.methods.attackers.skeptical import Skeptical, skeptical_loss
from understudy.methods.baseline.supervised import Supervised
from understudy.methods.distiller import Taught
from understudy.models import Classifier, build_model
from understudy.models.exits import Exits
from understudy.runs.run import Run
from understudy.runs.tensors import digest
from understudy.training import Recipe
from understudy.training.answers import Answers

MakeTaught = Callable[..., Taught]
MakeRun = Callable[..., Run]

RECIPE = Recipe(epochs=2, batch_size=32, learning_rate=0.05)

# The specification's golden example K.
MAIN = torch.tensor([[16.0, 4, 1, 1]], dtype=torch.float64).log()
DEEP = torch.tensor([[1.0, 4, 4, 1]], dtype=torch.float64).log()
SHALLOW = torch.zeros(1, 4, dtype=torch.float64)
TEACHER = torch.tensor([[1.0, 16, 4, 1]], dtype=torch.float64).log()
TOTAL = 2.788371707991758
CE_MAIN, CE_DEEP, CE_SHALLOW = 0.31845373111853464, 2.302585092994046, 1.3862943611198906
KL_SHALLOW, KL_DEEP = 0.17328679513998638, 0.3188217105381712


def equals(value: float) -> Any:
    return pytest.approx(value, rel=0, abs=1e-10)


def log_softmax(row: np.ndarray) -> np.ndarray:
    return row - np.log(np.exp(row).sum())


def slow(main: np.ndarray, shallow: np.ndarray, deep: np.ndarray | None, target: np.ndarray, labels: list[int],
         known: list[bool], temperature: float, alpha: float, factor: float) -> float:  # fmt: skip
    """Every term of every row on its own."""
    total = 0.0
    for row, label in enumerate(labels):
        total -= log_softmax(main[row])[label]
        ours = log_softmax(shallow[row] / temperature)
        softened = factor * sum(t * (np.log(t) - o) for t, o in zip(target[row], ours, strict=True) if t > 0)
        labelled = -log_softmax(shallow[row])[label]
        total += (1 - alpha) * labelled + alpha * softened if known[row] else softened
        if deep is not None:
            itself, there = log_softmax(main[row] / temperature), log_softmax(deep[row] / temperature)
            total += 0.3 * (np.exp(itself) * (itself - there)).sum() - 0.7 * log_softmax(deep[row])[label]
    return total / len(labels)


def test_golden_loss_of_both_exits(taught: MakeTaught) -> None:
    method = Skeptical(temperature=2.0, alpha=0.9, deep_exit=True, delay=1)
    batch = taught(TEACHER, [0])
    later = Taught(batch.x, batch.rows, batch.labels, batch.known, batch.answers, epoch=1)
    assert float(method.loss((MAIN, SHALLOW, DEEP), later)) == equals(TOTAL)
    assert float(method.loss((MAIN, SHALLOW, DEEP), batch)) == equals(CE_MAIN)  # in the epoch of delay
    without = method.model_copy(update={"squared_factor": False})
    assert float(without.loss((MAIN, SHALLOW, DEEP), later)) == equals(TOTAL - 0.9 * 3 * KL_SHALLOW)


def test_golden_loss_of_one_exit(taught: MakeTaught) -> None:
    found = float(Skeptical(temperature=2.0, alpha=0.9).loss((MAIN, SHALLOW), taught(TEACHER, [0])))
    assert found == equals(CE_MAIN + 0.9 * 4 * KL_SHALLOW + 0.1 * CE_SHALLOW)
    assert found == equals(TOTAL - 0.3 * KL_DEEP - 0.7 * CE_DEEP)


def test_without_a_label_the_exit_sees_the_answer_alone(taught: MakeTaught) -> None:
    batch = taught(TEACHER, [1], known=[False])
    found = float(Skeptical(temperature=2.0).loss((MAIN, SHALLOW), batch))
    assert found == equals(-log_softmax(MAIN[0].numpy())[1] + 4 * KL_SHALLOW)


@given(
    seed=st.integers(0, 2**32 - 1), temperature=st.floats(0.5, 30), alpha=st.floats(0, 1), squared=st.booleans(),
    deep=st.booleans(), zero=st.booleans(),
)  # fmt: skip
def test_the_loss_equals_a_slow_loop(
    seed: int, temperature: float, alpha: float, squared: bool, deep: bool, zero: bool
) -> None:
    random = np.random.default_rng(seed)
    main, shallow, deeper, answers = random.normal(0, 3, (4, 5, 6))
    target = np.exp(answers) * (random.random((5, 6)) > 0.4 * zero)  # served answers may hold zeros
    target[:, 0] += 0.1
    target /= target.sum(axis=1, keepdims=True)
    labels, known = random.integers(0, 6, 5).tolist(), (random.random(5) > 0.5).tolist()
    found = skeptical_loss(
        torch.from_numpy(main),
        torch.from_numpy(shallow),
        torch.from_numpy(deeper) if deep else None,
        torch.from_numpy(target),
        torch.tensor(labels),
        torch.tensor(known),
        temperature=temperature,
        alpha=alpha,
        squared_factor=squared,
    )
    factor = temperature**2 if squared else 1.0
    expected = slow(main, shallow, deeper if deep else None, target, labels, known, temperature, alpha, factor)
    assert float(found) == pytest.approx(expected, rel=1e-10, abs=1e-10)


def test_gradients_by_finite_differences_and_into_the_output_as_a_target(taught: MakeTaught) -> None:
    method, batch = Skeptical(temperature=2.0, deep_exit=True), taught(TEACHER, [0])
    main, shallow, deep = (logits.clone().requires_grad_() for logits in (MAIN, SHALLOW, DEEP))
    assert gradcheck(lambda *outputs: method.loss(outputs, batch), (main, shallow, deep))
    alone = Skeptical(temperature=2.0)
    (both,) = torch.autograd.grad(method.loss((main, shallow, deep), batch), main)
    (one,) = torch.autograd.grad(alone.loss((main, shallow), batch), main)
    assert not torch.allclose(both, one)  # the term of 0.3 is not detached


def new_student(data: ImageSet, spec: str = "mlp:widths=12-12") -> Classifier:
    return build_model(spec, input_shape=data.shape, classes=10, mean=data.mean, std=data.std, seed=1)


def test_the_teacher_reaches_the_layers_below_its_exit_alone(few: ImageSet) -> None:
    """One step on other answers moves the first layer elsewhere, and the layers above the exit to the same place."""
    x, labels = few.images.float() / 255, few.labels
    rows, known = torch.arange(len(few)), torch.ones(len(few), dtype=torch.bool)

    def gradients(seed: int) -> dict[str, Tensor]:
        answers = torch.randn(len(few), 10, generator=torch.Generator().manual_seed(seed))
        student = new_student(few)
        module = Exits(student, at=[1 / 3], classes=10, generator=torch.Generator().manual_seed(0))
        loss = Skeptical().loss(module(x), Taught(x, rows, labels, known, Answers(answers, "logits")))
        loss.backward()
        return {name: parameter.grad for name, parameter in student.named_parameters() if parameter.grad is not None}

    one, two = gradients(1), gradients(2)
    same = {name for name, gradient in one.items() if torch.equal(gradient, two[name])}
    assert same == {"net.hidden.2.weight", "net.hidden.2.bias", "net.head.weight", "net.head.bias"}


@pytest.mark.parametrize("deep", [False, True])
def test_a_delay_as_long_as_the_training_is_supervised_training(
    make_run: MakeRun, few: ImageSet, digits_teacher: Classifier, deep: bool
) -> None:
    skeptical, supervised = new_student(few), new_student(few)
    method = Skeptical(delay=RECIPE.epochs, deep_exit=deep, fit=RECIPE)
    method.run(teacher=digits_teacher, student=skeptical, data=few, run=make_run("skeptical"))
    Supervised(fit=RECIPE).run(model=supervised, data=few, run=make_run("supervised"))
    assert digest(skeptical.state_dict()) == digest(supervised.state_dict())
    short = Skeptical(delay=1, deep_exit=deep, fit=RECIPE)
    short.run(teacher=digits_teacher, student=(late := new_student(few)), data=few, run=make_run("late"))
    assert digest(late.state_dict()) != digest(supervised.state_dict())


def test_a_run_leaves_a_plain_student_that_answers_with_its_own_output(
    make_run: MakeRun, few: ImageSet, digits_teacher: Classifier
) -> None:
    run, student = make_run("run", log_every=4), new_student(few)
    names = list(student.state_dict())
    recipe = Recipe(epochs=25, batch_size=32, learning_rate=0.1)
    outcome = Skeptical(deep_exit=True, temperature=4.0, fit=recipe).run(
        teacher=digits_teacher, student=student, data=few, run=run
    )
    assert outcome.model is student
    assert list(student.state_dict()) == names
    assert not any(module._forward_hooks for module in student.modules())
    right = (student(few.images.float() / 255).argmax(dim=1) == few.labels).float().mean()
    assert float(right) > 0.8
    assert list(run.events)[-1]["metrics"]["accuracy"] == pytest.approx(float(right), abs=0.1)


def test_students_without_room_for_exits_are_refused(run: Run, few: ImageSet, digits_teacher: Classifier) -> None:
    with pytest.raises(ConfigError, match="too shallow for two exits"):
        Skeptical(deep_exit=True).check_teacher(digits_teacher, new_student(few, "mlp:widths=12"))
    Skeptical().check_teacher(digits_teacher, new_student(few, "mlp:widths=12"))
    assert not (run.folder / "checkpoint").exists()


@pytest.mark.parametrize("wrong", [{"exit": 0.0}, {"exit": 1.0}, {"temperature": 0.0}, {"alpha": 1.1}, {"delay": -1}])
def test_values_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Skeptical.checked(wrong, where="options")
