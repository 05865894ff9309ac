"""Recovery: means of consistent draws, the regression, and whether clean answers come back."""

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from understudy.data import ImageSet
from understudy.errors import ConfigError
from understudy.methods.attackers._recover import Regressor, consistent_mean
from understudy.methods.attackers.contrastive_sequence import ContrastiveSequence
from understudy.methods.attackers.recovery import Recovery
from understudy.methods.attackers.skeptical import Skeptical
from understudy.methods.baseline.kd import KD
from understudy.methods.distiller import Distiller, Knowledge, Taught
from understudy.models import Classifier, build_model
from understudy.runs.run import Run
from understudy.runs.tensors import digest
from understudy.training import Recipe
from understudy.training.answers import Answers

MakeRun = Callable[..., Run]

RECIPE = Recipe(epochs=2, batch_size=32, learning_rate=0.05)
LONG = Recipe(epochs=25, batch_size=32, learning_rate=0.05)


def slow_mean(answers: np.ndarray, served: np.ndarray, clean: np.ndarray, neighbours: int) -> np.ndarray:
    rows = []
    for answer in answers:
        distances = np.abs(served - answer).sum(axis=1)
        limit = np.sort(distances)[min(neighbours, len(served)) - 1]
        rows.append(np.mean([row for row, far in zip(clean, distances, strict=True) if far <= limit + 1e-6], axis=0))
    return np.array(rows)


@given(seed=st.integers(0, 2**32 - 1), neighbours=st.integers(1, 40), decimals=st.integers(0, 2))
def test_means_of_consistent_draws_equal_a_slow_loop(seed: int, neighbours: int, decimals: int) -> None:
    random = np.random.default_rng(seed)
    clean = random.dirichlet(np.full(4, 0.7), size=30)
    served, answers = clean.round(decimals), random.dirichlet(np.full(4, 0.7), size=5).round(decimals)
    tensors = [torch.from_numpy(rows) for rows in (answers, served, clean)]
    found = consistent_mean(*tensors, neighbours=neighbours).numpy()
    assert found == pytest.approx(slow_mean(answers, served, clean, neighbours), abs=1e-12)


def test_all_draws_of_a_label_count_where_labels_alone_are_served() -> None:
    clean = torch.tensor([[0.7, 0.2, 0.1], [0.5, 0.1, 0.4], [0.1, 0.8, 0.1]], dtype=torch.float64)
    served = torch.nn.functional.one_hot(clean.argmax(dim=1), 3).double()
    found = consistent_mean(served[:1], served, clean, neighbours=1)
    assert found[0].tolist() == pytest.approx([0.6, 0.15, 0.25], abs=1e-15)


def test_the_regression_starts_as_the_identity_and_standardises() -> None:
    log_probs = torch.randn(50, 4, generator=torch.Generator().manual_seed(1)).mul(3).log_softmax(dim=1)
    regressor = Regressor(4, 8, generator=torch.Generator().manual_seed(0))
    regressor.standardise(log_probs)
    assert torch.equal(regressor(log_probs), log_probs)
    scaled = (log_probs - regressor.mean) / regressor.deviation
    torch.testing.assert_close(scaled.mean(dim=0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(scaled.std(dim=0, correction=0), torch.ones(4))


def test_a_class_that_is_never_served_does_not_break_the_regression() -> None:
    regressor = Regressor(3, 8, generator=torch.Generator().manual_seed(0))
    same = torch.tensor([[0.0, -13.8, -13.8]]).expand(5, 3)
    regressor.standardise(same)
    assert bool(regressor(same).isfinite().all())


class Learnt(Exception):
    """Ends a run where the student's own training would begin."""


class Watched(Recovery):
    """Hands out what was known, and what is done to a batch."""

    def prepare(self, knowledge: Knowledge) -> Callable[[Taught], Taught]:
        raise Learnt(knowledge, super().prepare(knowledge))


def recovered(method: Recovery, teacher: Classifier, data: ImageSet, run: Run) -> list[Tensor]:
    """Return softened probabilities: of the teacher, as they are served, and as they are recovered."""
    student = build_model("mlp:widths=64-64", input_shape=data.shape, classes=10, mean=data.mean, std=data.std, seed=1)
    with pytest.raises(Learnt) as caught:
        method.run(teacher=teacher, student=student, data=data, run=run)
    knowledge, found = caught.value.args
    served = knowledge.served.at(knowledge.rows, torch.full_like(knowledge.rows, knowledge.augment.plain))
    x = data.images.float() / 255
    with torch.no_grad():
        clean = Answers(teacher(x), "logits")
        answers = found(Taught(x, torch.arange(len(data)), data.labels, knowledge.known, served)).answers
    return [each.softened(method.temperature) for each in (clean, served, answers)]


def apart(one: Tensor, two: Tensor) -> float:
    return float((one - two).abs().sum(dim=1).mean())


@pytest.mark.parametrize(
    ("mode", "defence", "temperature"),
    [
        ("regress", "reverse_sigmoid:0.5,gamma=0.4", 1.0),
        ("regress", "top_k:1", 4.0),
        ("bayes", "reverse_sigmoid:0.5,gamma=0.4", 4.0),
        ("bayes", "rounding:1", 4.0),
    ],
)
def test_clean_answers_come_nearer(
    run: Run, few: ImageSet, digits_teacher: Classifier, mode: str, defence: str, temperature: float
) -> None:
    method = Watched(mode=mode, defence=defence, temperature=temperature, regression_steps=150, fit=LONG)
    clean, served, found = recovered(method, digits_teacher, few, run)
    assert found.sum(dim=1).numpy() == pytest.approx(1, abs=1e-5)
    assert bool((found > 0).all())  # nothing that was withheld stays at 0
    assert apart(found, clean) < 0.9 * apart(served, clean)


def test_without_a_defence_pairs_are_what_was_served_and_what_the_shadow_says(
    run: Run, few: ImageSet, digits_teacher: Classifier
) -> None:
    """A teacher that calls each class by the next one's name is led back to the labels."""
    turned = copy.deepcopy(digits_teacher)
    head = turned.net.head
    with torch.no_grad():
        head.weight.copy_(head.weight.roll(1, dims=0))
        head.bias.copy_(head.bias.roll(1))
    clean, served, found = recovered(Watched(regression_steps=600, fit=LONG), turned, few, run)
    assert torch.equal(clean.argmax(dim=1), served.argmax(dim=1))
    right = [float((each.argmax(dim=1) == few.labels).float().mean()) for each in (served, found)]
    assert right[0] < 0.1
    assert right[1] > 0.9


def test_there_is_nothing_to_average_without_a_defence(
    make_run: MakeRun, few: ImageSet, student: Callable[..., Classifier], digits_teacher: Classifier
) -> None:
    one, two = student(), student()
    Recovery(mode="bayes", fit=RECIPE).run(teacher=digits_teacher, student=one, data=few, run=make_run("bayes"))
    KD(fit=RECIPE).run(teacher=digits_teacher, student=two, data=few, run=make_run("kd"))
    assert digest(one.state_dict()) == digest(two.state_dict())


def test_the_way_back_is_learnt_in_phases_of_its_own_that_resume(
    make_run: MakeRun, few: ImageSet, student: Callable[..., Classifier], digits_teacher: Classifier,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    method = Recovery(defence="top_k:2", regression_steps=20, fit=RECIPE)
    run, cut = make_run("run", log_every=1), make_run("cut", log_every=1, checkpoint_seconds=1e-9)
    whole = method.run(teacher=digits_teacher, student=student(), data=few, run=run).model
    phases = list(dict.fromkeys(entry["phase"] for entry in run.events))
    assert [phase for phase in phases if phase != "ask"] == ["shadow", "regression", "fit"]
    real, calls = torch.optim.Adam.step, []

    def power_cut(self: torch.optim.Adam, *arguments: object) -> object:
        calls.append(1)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return real(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", power_cut)
        with pytest.raises(KeyboardInterrupt):
            method.run(teacher=digits_teacher, student=student(), data=few, run=cut)
    resumed = method.run(teacher=digits_teacher, student=student(), data=few, run=cut).model
    assert digest(resumed.state_dict()) == digest(whole.state_dict())


@pytest.mark.parametrize(
    "method",
    [
        Recovery(regression_steps=10, labels_frac=0.0, defence="top_k:2", fit=RECIPE),
        ContrastiveSequence(labels_frac=0.0, defence="top_k:2", fit=RECIPE),
        Skeptical(labels_frac=0.0, defence="top_k:2", deep_exit=True, fit=RECIPE),
    ],
    ids=lambda method: type(method).__name__,
)
def test_without_labels_none_is_looked_at(
    method: Distiller, make_run: MakeRun, few: ImageSet, student: Callable[..., Classifier], digits_teacher: Classifier
) -> None:
    """With a defence that leaves two classes, so that most of each answer is zero; networks on the way included."""
    weights = set()
    for name, labels in (("true", few.labels), ("other", (few.labels + 3) % 10)):
        data = replace(few, labels=labels)
        model = method.run(teacher=digits_teacher, student=student(), data=data, run=make_run(name)).model
        assert all(bool(value.isfinite().all()) for value in model.state_dict().values())
        weights.add(digest(model.state_dict()))
    assert len(weights) == 1


def test_what_it_costs_and_what_is_refused(student: Callable[..., Classifier]) -> None:
    steps = RECIPE.steps(128)
    assert Recovery(fit=RECIPE).cost(student(), rows=128)["training_steps"] == 2 * steps + 2000
    assert Recovery(mode="bayes", fit=RECIPE).cost(student(), rows=128)["training_steps"] == steps
    for wrong in ({"draws": 0}, {"neighbours": 0}, {"concentration": 0.0}, {"mode": "regres"}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            Recovery.checked(wrong, where="options")
