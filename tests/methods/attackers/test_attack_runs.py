"""Attackers at work: what they ask, which labels they look at, what they see through, and what they refuse."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from understudy import catalogue
from understudy.data import Augment, ImageSet
from understudy.data.batches import seen_as
from understudy.errors import ConfigError
from understudy.methods.attackers.averaging import Averaging
from understudy.methods.attackers.centred import Centred
from understudy.methods.attackers.hard_label import HardLabel
from understudy.methods.attackers.no_teacher import NoTeacher
from understudy.methods.attackers.regression import Regression
from understudy.methods.baseline.supervised import Supervised
from understudy.methods.distiller import Distiller, Knowledge, Taught
from understudy.models import Classifier
from understudy.runs.run import Run
from understudy.runs.seeds import stream
from understudy.runs.tensors import digest
from understudy.training import Recipe
from understudy.training.knowledge import choose_rows

MakeRun = Callable[..., Run]
MakeStudent = Callable[..., Classifier]

RECIPE = Recipe(epochs=2, batch_size=32, learning_rate=0.05)
ASKING = ("hard_label", "uniform_tail", "centred", "disagreement", "composition", "averaging", "regression")


def weights(network: Classifier) -> str:
    return digest(network.state_dict())


def changed(teacher: Classifier, *, factor: float = 1.0, decoy: float = 0.0) -> Classifier:
    """Return a copy of the teacher with its logits multiplied, and one class raised on every image."""
    copy = deepcopy(teacher)
    head: nn.Linear = copy.net.head  # type: ignore[assignment]
    with torch.no_grad():
        head.weight *= factor
        head.bias *= factor
        head.bias[4] += decoy
    return copy


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_without_a_teacher_it_is_supervised_training(
    smoothing: float, make_run: MakeRun, few: ImageSet, student: MakeStudent, digits_teacher: Classifier
) -> None:
    """The same batches, the same weights, bit for bit; and nobody is asked."""
    alone, trained = student(), student()
    outcome = NoTeacher(smoothing=smoothing, crop_padding=1, flip=True, fit=RECIPE).run(
        teacher=digits_teacher, student=alone, data=few, run=make_run("alone")
    )
    Supervised(label_smoothing=smoothing, crop_padding=1, flip=True, fit=RECIPE).run(
        model=trained, data=few, run=make_run("supervised")
    )
    assert weights(alone) == weights(trained)
    assert outcome.facts["teacher_evaluations"] == outcome.facts["queries"] == 0
    assert not (make_run("alone").folder / "bank").exists()


def test_with_few_labels_it_takes_as_many_steps_and_sees_no_other_label(
    make_run: MakeRun, few: ImageSet, student: MakeStudent, digits_teacher: Classifier
) -> None:
    fit = RECIPE.model_copy(update={"schedule": "multi_step", "milestones": (1,)})
    method = NoTeacher(labels_frac=0.25, held_out_frac=0.5, fit=fit)
    first, second, run = student(), student(), make_run("first")
    facts = method.run(teacher=digits_teacher, student=first, data=few, run=run).facts
    assert facts["labels"] == {"known": 32, "of": 128}
    assert facts["validation"]["n"] == 16
    assert [entry["step"] for entry in run.events][-1] == RECIPE.steps(128 - 16) == 6
    assert method.cost(first, rows=128)["training_steps"] == 6
    rates = [fit.model_copy(update={"epochs": 6, "milestones": (3,)}).rate(step, 6) for step in range(6)]
    assert rates == [fit.rate(step, 6) for step in range(6)]
    known = choose_rows(128, labels_frac=0.25, held_out_frac=0.5, only_known=True, seed=run.seed).known
    others = few.labels.clone()
    others[~known] = (others[~known] + 1) % 10
    method.run(teacher=digits_teacher, student=second, data=replace(few, labels=others), run=make_run("second"))
    assert weights(first) == weights(second)


def test_the_class_alone_counts_for_hard_labels(
    make_run: MakeRun, few: ImageSet, student: MakeStudent, digits_teacher: Classifier
) -> None:
    """Neither what else a teacher says nor the labels that the attacker holds change anything."""
    first, second = student(), student()
    HardLabel(fit=RECIPE).run(teacher=digits_teacher, student=first, data=few, run=make_run("first"))
    other = replace(few, labels=(few.labels + 1) % 10)
    HardLabel(fit=RECIPE).run(
        teacher=changed(digits_teacher, factor=0.5), student=second, data=other, run=make_run("second")
    )
    assert weights(first) == weights(second)


@pytest.mark.parametrize("name", ASKING)
def test_without_labels_none_is_looked_at(
    name: str, make_run: MakeRun, few: ImageSet, student: MakeStudent, digits_teacher: Classifier
) -> None:
    """With a defence before the teacher that leaves two classes, so that most of each answer is zero."""
    method = catalogue.load(name)(labels_frac=0.0, defence="top_k:2", held_out_frac=0.25, crop_padding=1, fit=RECIPE)
    found, facts = [], []
    for number, data in enumerate((few, replace(few, labels=few.labels.flip(0)))):
        network = student()
        run = make_run(f"run-{number}")
        facts.append(method.run(teacher=digits_teacher, student=network, data=data, run=run).facts)
        found.append(weights(network))
    assert found[0] == found[1] != weights(student())
    assert facts[0] == facts[1]
    assert facts[0]["validation"]["by"] == "answers"
    assert facts[0]["labels"] == {"known": 0, "of": 128}


def targets(method: Distiller, knowledge: Knowledge, batch: Taught) -> Tensor:
    return method.prepare(knowledge)(batch).answers.values


def test_a_constant_decoy_is_centred_away(knowledge: Callable[..., Knowledge], taught: Callable[..., Taught]) -> None:
    logits = torch.randn(50, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = logits.argmax(dim=1).tolist()
    decoyed = logits.clone()
    decoyed[:, 3] += 40
    plain, seen_through = (targets(Centred(), knowledge(z), taught(z, labels)) for z in (logits, decoyed))
    assert torch.allclose(plain, seen_through, atol=1e-5, rtol=0)
    assert plain.mean(dim=0).abs().max() < 1e-6
    unseen = targets(Centred(), knowledge(logits), taught(decoyed, labels))
    assert (unseen - plain).abs().max() > 30


def test_a_decoy_for_each_class_is_centred_away_by_class(
    knowledge: Callable[..., Knowledge], taught: Callable[..., Taught]
) -> None:
    """Class k + 1 is raised wherever k is predicted: gone by class, and the class itself still comes first."""
    generator = torch.Generator().manual_seed(0)
    top = torch.arange(60) % 6
    logits = torch.randn(60, 6, generator=generator, dtype=torch.float64) + 20 * nn.functional.one_hot(top, 6)
    decoyed = logits + 10 * nn.functional.one_hot((top + 1) % 6, 6)
    method = Centred(per_class=True)
    plain, seen_through = (targets(method, knowledge(z), taught(z, top.tolist())) for z in (logits, decoyed))
    wrong = nn.functional.one_hot(top, 6) == 0
    assert torch.allclose(plain[wrong], seen_through[wrong], atol=1e-5, rtol=0)
    assert torch.equal(seen_through.argmax(dim=1), top)
    kept = targets(Centred(), knowledge(decoyed), taught(decoyed, top.tolist()))
    assert (kept[wrong] - targets(Centred(), knowledge(logits), taught(logits, top.tolist()))[wrong]).abs().max() > 5


def test_a_decoy_of_a_network_is_seen_through(
    make_run: MakeRun, few: ImageSet, student: MakeStudent, digits_teacher: Classifier
) -> None:
    """Students of a teacher with a decoy and of one without: alike if logits are centred, else not."""

    def logits(method: Distiller, teacher: Classifier, name: str) -> Tensor:
        network = student()
        method.run(teacher=teacher, student=network, data=few, run=make_run(name))
        with torch.no_grad():
            return network(few.images.float() / 255).softmax(dim=1)

    decoy = changed(digits_teacher, decoy=20.0)
    apart = {
        name: float(
            (logits(method, digits_teacher, f"{name}-plain") - logits(method, decoy, f"{name}-decoy")).abs().max()
        )
        for name, method in (
            ("centred", Centred(alpha=1.0, fit=RECIPE)),
            ("plain", Averaging(alpha=1.0, views=1, fit=RECIPE)),
        )
    }
    assert apart["centred"] < 0.02
    assert apart["plain"] > 0.2


def test_the_mean_is_that_of_the_copies(
    make_run: MakeRun, few: ImageSet, student: MakeStudent, digits_teacher: Classifier
) -> None:
    """Asked for by hand, image by image: the image itself and two drawn copies."""
    seen: list[Taught] = []

    class Watched(Averaging):
        def loss(self, outputs: Tensor, taught: Taught) -> Tensor:
            seen.append(taught)
            return super().loss(outputs, taught)

    run, augment = make_run("run"), Augment(crop_padding=2, flip=True)
    method = Watched(views=3, ask_padding=2, ask_flip=True, crop_padding=1, fit=RECIPE)
    facts = method.run(teacher=digits_teacher, student=student(), data=few, run=run).facts
    drawn = augment.number(*augment.draw(256, stream(run.seed, "averaging")))
    numbers = torch.cat([torch.full((128,), augment.plain), drawn]).view(3, 128)
    digits_teacher.eval()
    with torch.no_grad():
        copies = [seen_as(few, torch.arange(128), view, augment) for view in numbers]
        mean = torch.stack([digits_teacher(copy).softmax(dim=1) for copy in copies]).mean(dim=0)
    assert torch.equal(copies[0], few.images.float() / 255)
    for batch in seen:
        assert torch.allclose(batch.answers.values, mean[batch.rows], atol=2e-3)
    distinct = sum(len(set(column.tolist())) for column in numbers.T)
    single = Averaging(views=1, ask_padding=2, crop_padding=1, fit=RECIPE)
    plain = single.run(teacher=digits_teacher, student=student(), data=few, run=make_run("plain")).facts
    assert facts["queries"] - plain["queries"] == distinct - 128 > 128
    assert facts["teacher_evaluations"] == facts["queries"]


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("no_teacher", {"labels_frac": 0.0}, "nothing to learn from"),
        ("no_teacher", {"smoothing": 1.0}, "smoothing: .*less than 1"),
        ("hard_label", {"smoothing": -0.1}, "smoothing: .*greater than or equal to 0"),
        ("uniform_tail", {"temperature": 0.0}, "temperature: .*greater than 0"),
        ("centred", {"alpha": 1.1}, "alpha: .*less than or equal to 1"),
        ("centred", {"alpha": -0.1}, "alpha: .*greater than or equal to 0"),
        ("disagreement", {"mode": "drop"}, "mode: .*'swap' or 'label'"),
        ("composition", {"beta": 1.5}, "beta: .*less than or equal to 1"),
        ("averaging", {"views": 0}, "views: .*greater than or equal to 1"),
        ("averaging", {"ask_padding": 0}, "all one image: raise ask_padding"),
        ("regression", {"rank_top": 1}, "rank_top: .*greater than or equal to 2"),
        ("hard_label", {"defence": "top_k:0"}, "defence"),
        ("hard_label", {"defence": "topk:2"}, "did you mean"),
    ],
)
def test_values_out_of_range_are_refused(name: str, values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        catalogue.load(name).checked(values, where="options")


@pytest.mark.parametrize(
    ("method", "classes", "words"),
    [
        (Regression(rank_top=11), 10, "rank_top is 11, of 10 classes"),
        (Averaging(ask_padding=8), 10, "ask_padding is 8 on images of 8 pixels"),
        (HardLabel(defence="top_k:11"), 10, "10"),
        *[(catalogue.load(name)(), 7, "a student of 7 classes") for name in (*ASKING, "no_teacher")],
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_asked(
    method: Distiller,
    classes: int,
    words: str,
    run: Run,
    few: ImageSet,
    student: MakeStudent,
    digits_teacher: Classifier,
) -> None:
    with pytest.raises(ConfigError, match=words):
        method.run(teacher=digits_teacher, student=student(classes=classes), data=few, run=run)
    assert not (run.folder / "bank").exists()
    assert not (run.folder / "checkpoint").exists()
