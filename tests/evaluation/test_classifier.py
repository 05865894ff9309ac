import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from understudy.data import ImageSet
from understudy.errors import ConfigError, DataError, DivergenceError, ShapeError
from understudy.evaluation import agreement, evaluate, predict


class Table(nn.Module):
    """A network that looks its logits up by the grey level of the first pixel."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.register_buffer("logits", logits)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits[(x[:, 0, 0, 0] * 255).round().long()]


def rows(labels: list[int], classes: int = 3) -> ImageSet:
    """Images that carry their row number as grey level."""
    images = torch.arange(len(labels), dtype=torch.uint8).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2).contiguous()
    return ImageSet("toy", "test", images, torch.tensor(labels), tuple("abcdefgh"[:classes]))


def random_case(n: int, classes: int, seed: int) -> tuple[Tensor, Tensor, list[int]]:
    random = np.random.default_rng(seed)
    student, teacher = (torch.from_numpy(random.normal(0, 3, (n, classes))).float() for _ in range(2))
    return student, teacher, random.integers(0, classes, n).tolist()


def slow_scores(logits: np.ndarray, labels: list[int], teacher: np.ndarray) -> dict[str, float]:
    """Every score again, by hand: float64, one row at a time."""

    def log_probs(row: np.ndarray) -> list[float]:
        top = max(row)
        total = math.log(sum(math.exp(value - top) for value in row)) + top
        return [value - total for value in row]

    nll = kl = 0.0
    bins: list[list[tuple[float, float]]] = [[] for _ in range(15)]
    for row, label, teacher_row in zip(logits.astype(float), labels, teacher.astype(float), strict=True):
        ours, theirs = log_probs(row), log_probs(teacher_row)
        nll -= ours[label] / len(labels)
        kl += sum(math.exp(t) * (t - o) for t, o in zip(theirs, ours, strict=True)) / len(labels)
        confidence = math.exp(max(ours))
        place = next(b for b in range(15) if confidence <= (b + 1) / 15 or b == 14)
        bins[place].append((confidence, float(ours.index(max(ours)) == label)))
    ece = 0.0
    for held in bins:
        if held:
            mean_confidence = sum(confidence for confidence, _ in held) / len(held)
            accuracy = sum(hit for _, hit in held) / len(held)
            ece += len(held) / len(labels) * abs(accuracy - mean_confidence)
    return {"nll": nll, "kl": kl, "ece": ece}


@given(n=st.integers(2, 60), classes=st.integers(2, 6), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_scores_equal_a_slow_float64_loop(n: int, classes: int, seed: int) -> None:
    student, teacher, labels = random_case(n, classes, seed)
    scores = evaluate(Table(student), rows(labels, classes), teacher_logits=teacher, batch_size=7)
    slow = slow_scores(student.numpy(), labels, teacher.numpy())
    assert scores.nll == pytest.approx(slow["nll"], abs=1e-12)
    assert scores.kl_from_teacher == pytest.approx(slow["kl"], abs=1e-12)
    assert scores.ece == pytest.approx(slow["ece"], abs=1e-12)
    assert scores.rows == n


def test_golden_values() -> None:
    """Logits log(p), so that each score is read off the probabilities."""
    student = torch.tensor([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]).log()
    teacher = torch.tensor([[0.9, 0.05, 0.05], [0.6, 0.3, 0.1], [0.4, 0.3, 0.3], [0.25, 0.25, 0.5]]).log()
    scores = evaluate(Table(student), rows([0, 1, 1, 0]), teacher_logits=teacher)
    assert (scores.accuracy.value, scores.accuracy.n) == (0.5, 4)
    assert scores.agreement is not None
    assert scores.agreement.value == 0.75
    assert scores.nll == pytest.approx(-math.log(0.7 * 0.6 * 0.3 * 0.1) / 4, abs=1e-6)
    assert scores.ece == pytest.approx((0.3 + 0.4 + 0.5 + 0.8) / 4, abs=1e-6)  # four bins of one row
    assert scores.kl_from_teacher == pytest.approx(0.1464202, abs=1e-6)
    assert scores.confusion == ((1, 0, 1), (1, 1, 0), (0, 0, 0))
    assert scores.per_class == (0.5, 0.5, None)  # no row of the third class


def test_perfect_and_certain_answers_score_perfectly() -> None:
    labels = [0, 1, 2, 1]
    scores = evaluate(Table(200 * torch.eye(3)[labels]), rows(labels))
    assert (scores.accuracy.value, scores.nll, scores.ece) == (1.0, 0.0, 0.0)
    assert scores.per_class == (1.0, 1.0, 1.0)
    assert scores.agreement is scores.kl_from_teacher is None


def test_a_network_agrees_with_itself() -> None:
    student, _, labels = random_case(40, 4, seed=1)
    scores = evaluate(Table(student), rows(labels, 4), teacher=Table(student))
    assert scores.agreement is not None
    assert (scores.agreement.value, scores.agreement.high, scores.kl_from_teacher) == (1.0, 1.0, 0.0)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_agreement_is_symmetric_and_blind_to_the_order_of_rows(seed: int) -> None:
    student, teacher, _ = random_case(30, 3, seed)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(30))
    assert agreement(student, teacher) == agreement(teacher, student) == agreement(student[order], teacher[order])


def test_the_json_is_plain_and_holds_no_nan() -> None:
    student, teacher, labels = random_case(10, 3, seed=0)
    scores = evaluate(Table(student), rows(labels), teacher=Table(teacher)).to_json()
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores
    assert scores.keys() == {
        "accuracy", "agreement", "kl_from_teacher", "nll", "ece", "per_class", "confusion", "rows",
    }  # fmt: skip
    assert evaluate(Table(student), rows(labels)).to_json()["agreement"] is None


def test_predict_keeps_rows_in_order_whatever_the_batch() -> None:
    student, _, labels = random_case(11, 3, seed=0)
    for batch_size in (1, 4, 11, 100):
        assert torch.equal(predict(Table(student), rows(labels), batch_size=batch_size), student)


def test_predict_restores_every_modules_mode_and_asks_in_eval_mode() -> None:
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 3))
    model.train()
    model[1].eval()  # a frozen BatchNorm inside a network in training
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first, second = predict(model, rows([0, 1, 2])), predict(model, rows([0, 1, 2]))
    assert torch.equal(first, second)  # no dropout
    assert [module.training for module in model.modules()] == [True, True, False, True, True]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_mode_is_restored_after_a_failure() -> None:
    class Broken(nn.Module):
        def forward(self, _: Tensor) -> Tensor:
            raise RuntimeError("out of order")

    model = Broken()
    with pytest.raises(RuntimeError, match="out of order"):
        predict(model, rows([0, 1]))
    assert model.training


def test_predicted_logits_can_be_trained_against() -> None:
    student, _, labels = random_case(4, 3, seed=0)
    targets = predict(Table(student), rows(labels))
    logits = torch.zeros(4, 3, requires_grad=True)
    (logits * targets).sum().backward()
    assert torch.equal(logits.grad, student)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_answers_that_are_not_finite_are_refused(value: float) -> None:
    student, _, labels = random_case(5, 3, seed=0)
    student[2, 1] = value
    with pytest.raises(DivergenceError, match="answers 1 of 5 images with NaN or infinity"):
        evaluate(Table(student), rows(labels))


def test_a_teacher_with_nan_weights_is_refused() -> None:
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    nn.init.constant_(teacher[1].weight, float("nan"))
    student, _, labels = random_case(5, 3, seed=0)
    with pytest.raises(DivergenceError, match="answers 5 of 5 images"):
        evaluate(Table(student), rows(labels), teacher=teacher)


def test_data_that_do_not_fit_are_refused_before_the_first_forward() -> None:
    model = Table(torch.zeros(2, 3))
    model.input_shape, model.classes = (3, 8, 8), 3
    with pytest.raises(ShapeError, match=r"images of shape \(1, 2, 2\) do not fit the network"):
        evaluate(model, rows([0, 1]))
    model.input_shape, model.classes = (1, 2, 2), 2
    with pytest.raises(DataError, match="label 2 lies outside the 2 classes of the network"):
        evaluate(model, rows([0, 2]))


def test_labels_beyond_the_answers_are_refused() -> None:
    with pytest.raises(DataError, match="label 3 lies outside the 3 classes"):
        evaluate(Table(torch.zeros(2, 3)), rows([0, 3], classes=4))


def test_networks_of_different_class_counts_cannot_be_compared() -> None:
    with pytest.raises(ShapeError, match=r"student logits of shape \(2, 3\), teacher's \(2, 4\)"):
        evaluate(Table(torch.zeros(2, 3)), rows([0, 1]), teacher=Table(torch.zeros(2, 4)))


def test_answers_of_another_shape_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"answers with shape \(2, 3, 1\)"):
        predict(Table(torch.zeros(2, 3, 1)), rows([0, 1]))


def test_a_teacher_and_its_logits_are_one_too_many() -> None:
    table = Table(torch.zeros(2, 3))
    with pytest.raises(ConfigError, match="both a teacher and its logits"):
        evaluate(table, rows([0, 1]), teacher=table, teacher_logits=torch.zeros(2, 3))
