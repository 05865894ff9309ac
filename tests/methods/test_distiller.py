"""What all distillers on images share: labels that are known, answers that are asked, and what is held out."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from understudy.data import ImageSet
from understudy.errors import ConfigError, DataError, IntegrityError, ShapeError
from understudy.evaluation import predict
from understudy.methods.baseline.kd import KD
from understudy.methods.distiller import Distiller, Knowledge, Taught
from understudy.methods.method import Fidelity
from understudy.models import Classifier, build_model
from understudy.runs.run import Run
from understudy.runs.tensors import digest
from understudy.training import Recipe
from understudy.training.knowledge import choose_rows

MakeRun = Callable[..., Run]
RECIPE = Recipe(epochs=2, batch_size=64, learning_rate=0.05)
SHORT = KD(fit=RECIPE)


@pytest.fixture(scope="module")
def images(digits: tuple[ImageSet, ImageSet]) -> ImageSet:
    return digits[0].take(torch.arange(300))


def new_student(data: ImageSet, *, classes: int = 10, shape: tuple[int, ...] | None = None) -> Classifier:
    facts: Mapping[str, Any] = {"mean": data.mean, "std": data.std, "seed": 1}
    return build_model("mlp:widths=12", input_shape=shape or data.shape, classes=classes, **facts)


class Distil:
    """Runs a method on the digits with one teacher, each time with the same new student."""

    def __init__(self, teacher: Classifier, images: ImageSet, make_run: MakeRun) -> None:
        self.teacher, self.images, self.make_run = teacher, images, make_run
        self.facts: dict[str, Any] = {}

    def __call__(self, method: Distiller, name: str, **changes: Any) -> Classifier:
        options = {key: changes.pop(key) for key in ("seed",) if key in changes}
        given = {"teacher": self.teacher, "student": new_student(self.images), "data": self.images, **changes}
        outcome = method.run(run=self.make_run(name, **options), **given)
        self.facts = outcome.facts
        assert isinstance(outcome.model, Classifier)
        return outcome.model

    def weights(self, method: Distiller, name: str, **changes: Any) -> str:
        return digest(self(method, name, **changes).state_dict())


@pytest.fixture
def distil(digits_teacher: Classifier, images: ImageSet, make_run: MakeRun) -> Distil:
    return Distil(digits_teacher, images, make_run)


class Listening(Distiller):
    """A distiller that remembers what it was shown."""

    fidelity: ClassVar[Fidelity] = "instantiation"
    batches: ClassVar[list[Taught]] = []
    known: ClassVar[list[Knowledge]] = []

    def prepare(self, knowledge: Knowledge) -> Callable[[Taught], Taught]:
        self.batches.clear()
        self.known[:] = [knowledge]

        def note(taught: Taught) -> Taught:
            self.batches.append(taught)
            return taught

        return note

    def loss(self, outputs: Tensor, taught: Taught) -> Tensor:
        return nn.functional.cross_entropy(outputs, taught.labels)


class Unasked(Listening):
    """One that asks nothing."""

    asks: ClassVar[bool] = False


def permuted(data: ImageSet) -> ImageSet:
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(9))
    return replace(data, labels=data.labels[order])


@pytest.mark.parametrize("defence", ["none", "labels"])
def test_without_labels_none_is_read(distil: Distil, images: ImageSet, defence: str, tmp_path: Path) -> None:
    method = KD(fit=RECIPE, labels_frac=0.0, held_out_frac=0.2, defence=defence, alpha=0.5)
    one = distil.weights(method, "one", data=images)
    assert one == distil.weights(method, "two", data=permuted(images))
    foreign = replace(images, labels=images.labels + 90, classes=tuple(f"thing {k}" for k in range(100)))
    assert one == distil.weights(method, "three", data=foreign)
    unlabelled = replace(images, labels=torch.zeros_like(images.labels), classes=("unlabelled",))
    assert one == distil.weights(method, "four", data=unlabelled)
    assert distil.facts["labels"] == {"known": 0, "of": 300}
    assert distil.facts["validation"]["by"] == "answers"
    for name in ("checkpoint/fit.safetensors", "bank/manifest.json", "bank/shard-00000.safetensors"):
        each = [(tmp_path / folder / name).read_bytes() for folder in ("one", "two", "three", "four")]
        assert len(set(each)) == 1, name
    labelled = method.model_copy(update={"labels_frac": 1.0})
    assert distil.weights(labelled, "five") != distil.weights(labelled, "six", data=permuted(images))


def test_labels_outside_the_known_share_are_not_read(distil: Distil, images: ImageSet) -> None:
    method = Listening(fit=RECIPE, labels_frac=0.3)
    one = distil.weights(method, "one")
    known = choose_rows(300, labels_frac=0.3, held_out_frac=0.0, only_known=False, seed=0).known
    other = replace(images, labels=torch.where(known, images.labels, (images.labels + 1) % 10))
    assert distil.weights(method, "two", data=other) == one
    assert distil.facts["labels"] == {"known": 90, "of": 300}
    answers = predict(distil.teacher, images).argmax(dim=1)
    for taught in Listening.batches:
        rows = Listening.known[0].rows[taught.rows]
        assert torch.equal(taught.known, known[rows])
        assert torch.equal(taught.labels, torch.where(known, images.labels, answers)[rows])
        assert torch.equal(taught.x, images.take(rows).images.float() / 255)
    labels = torch.where(known, images.labels, answers)
    assert torch.equal(Listening.known[0].labels, labels)
    assert torch.equal(Listening.known[0].data.labels, labels)


def test_batches_come_with_the_answers_to_the_very_crops(distil: Distil) -> None:
    distil(Listening(fit=RECIPE, crop_padding=1, flip=True), "run")
    with torch.no_grad():
        for taught in Listening.batches:
            asked = distil.teacher(taught.x)
            torch.testing.assert_close(taught.answers.values, asked, rtol=2e-3, atol=2e-3)
    assert [taught.epoch for taught in Listening.batches] == [0] * 4 + [1] * 4


@pytest.mark.parametrize("labels_frac", [0.0, 0.4, 1.0])
def test_what_is_held_out_is_never_trained_on(distil: Distil, images: ImageSet, labels_frac: float) -> None:
    method = Listening(fit=RECIPE, labels_frac=labels_frac, held_out_frac=0.25)
    student = distil(method, "run")
    rows = choose_rows(300, labels_frac=labels_frac, held_out_frac=0.25, only_known=False, seed=0)
    pool = 300 if labels_frac in (0.0, 1.0) else 120
    assert len(rows.held) == pool // 4
    assert not set(rows.held.tolist()) & set(rows.train.tolist())
    assert len(rows.held) + len(rows.train) == 300
    assert torch.equal(Listening.known[0].rows, rows.train)
    if labels_frac:
        assert rows.known[rows.held].all()
    held = images.take(rows.held)
    truth = held.labels if labels_frac else predict(distil.teacher, held).argmax(dim=1)
    right = (predict(student, held).argmax(dim=1) == truth).float().mean()
    found = distil.facts["validation"]
    assert found["value"] == pytest.approx(float(right))
    assert (found["n"], found["by"]) == (pool // 4, "labels" if labels_frac else "answers")
    assert 0 <= found["low"] <= found["value"] <= found["high"] <= 1


def test_rows_depend_on_the_seed_alone_and_a_larger_share_holds_the_smaller() -> None:
    def chosen(frac: float, seed: int) -> set[int]:
        rows = choose_rows(500, labels_frac=frac, held_out_frac=0.0, only_known=False, seed=seed)
        return set(rows.known.nonzero().flatten().tolist())

    assert chosen(0.1, 0) < chosen(0.5, 0)
    assert chosen(0.1, 0) != chosen(0.1, 1)
    assert len(chosen(0.001, 0)) == 1  # a share above 0 is not nothing


def test_who_asks_nothing_learns_from_known_labels_alone(distil: Distil, tmp_path: Path) -> None:
    distil(Unasked(fit=RECIPE, labels_frac=0.5), "run")
    assert all(bool(taught.known.all()) for taught in Listening.batches)
    assert len(Listening.known[0].rows) == 150
    assert not (tmp_path / "run" / "bank").exists()
    assert distil.facts["teacher_evaluations"] == distil.facts["queries"] == 0
    assert distil.facts["answers"] == {"asked": 0, "served": 0}
    for taught in Listening.batches:
        assert torch.equal(taught.answers.top1(), taught.labels)


@pytest.mark.parametrize(
    "options", [{"labels_frac": 0.0}, {"labels_frac": 0.001, "held_out_frac": 0.9}], ids=["no label", "all held out"]
)
def test_where_nothing_is_left_to_train_on_it_says_so(distil: Distil, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="none is left to train on"):
        distil(Unasked(fit=RECIPE, **options), "run")


def test_answers_are_shared_by_students_attacks_and_defences(distil: Distil, tmp_path: Path) -> None:
    """One folder for all: the second run asks nothing, whatever it makes of the answers."""
    store = tmp_path / "store"
    crops: dict[str, Any] = {"crop_padding": 1, "fit": RECIPE}
    alone = distil.weights(KD(**crops), "alone")
    assert distil.weights(KD(**crops), "first", store=store) == alone
    asked = distil.facts["answers"]["asked"]
    assert asked == distil.facts["queries"] == distil.facts["teacher_evaluations"] > 300
    assert distil.facts["answers"]["served"] == 2 * 4 * 64 + 300 - asked
    assert not (tmp_path / "first" / "bank").exists()
    for name, method in (
        ("cold", KD(temperature=1.0, **crops)),
        ("defended", KD(defence="top_k:2", **crops)),
        ("partial", KD(labels_frac=0.1, **crops)),
    ):
        distil(method, name, store=store)
        assert distil.facts["answers"]["asked"] == 0, name
    distil(KD(**crops), "other seed", store=store, seed=1)
    assert 0 < distil.facts["answers"]["asked"] < asked  # plain images, and some crops, are there already
    assert len(list(store.iterdir())) == 1
    distil(KD(crop_padding=2, fit=RECIPE), "other crops", store=store)
    assert len(list(store.iterdir())) == 2


def test_a_bank_of_another_run_is_taken_over(distil: Distil, tmp_path: Path) -> None:
    first = distil.weights(SHORT, "first")
    assert distil.weights(SHORT, "second", bank=tmp_path / "first") == first
    assert distil.facts["answers"] == {"asked": 0, "served": 2 * 4 * 64 + 300}
    other = build_model("mlp:widths=8", input_shape=(1, 8, 8), classes=10, mean=[0.5], std=[0.5], seed=5)
    with pytest.raises(ConfigError, match="another teacher"):
        distil(SHORT, "third", bank=tmp_path / "first", teacher=other)
    (tmp_path / "first" / "bank" / "shard-00000.safetensors").write_bytes(b"nothing")
    with pytest.raises(IntegrityError):
        distil(SHORT, "fourth", bank=tmp_path / "first")


def test_a_defence_of_none_changes_nothing_and_one_of_labels_leaves_labels(distil: Distil) -> None:
    distil(Listening(fit=RECIPE), "none")
    assert Listening.batches[0].answers.kind == "logits"
    clean = Listening.batches[0].answers.top1()
    distil(Listening(fit=RECIPE, defence="labels"), "labels")
    answers = Listening.batches[0].answers
    assert answers.kind == "probabilities"
    assert torch.equal(answers.values, nn.functional.one_hot(clean, 10).float())
    assert distil.facts["defence"] == "labels"
    assert [each.name for each in Listening.known[0].defence] == ["labels"]


def test_further_queries_are_filed_and_counted(distil: Distil, tmp_path: Path) -> None:
    class Curious(Listening):
        def prepare(self, knowledge: Knowledge) -> Callable[[Taught], Taught]:
            from understudy.data import Augment

            augment = Augment(crop_padding=2, flip=True)
            positions, views = torch.tensor([7, 3, 7]), torch.tensor([1, augment.plain, 1])
            answers = knowledge.ask(positions, views, augment)
            again = knowledge.ask(torch.tensor([3]), torch.tensor([knowledge.augment.plain]), knowledge.augment)
            assert torch.equal(answers.values[0], answers.values[2])
            assert torch.equal(answers.values[1], again.values[0])  # the same image, whatever its number
            with torch.no_grad():
                asked = distil.teacher(knowledge.data.take([3]).images.float() / 255)
            torch.testing.assert_close(again.values, asked, rtol=2e-3, atol=2e-3)
            return super().prepare(knowledge)

    for name, known in (("one", {"held_out_frac": 0.1}), ("two", {"held_out_frac": 0.1, "labels_frac": 0.5})):
        distil(Curious(fit=RECIPE, **known), name)
        assert distil.facts["teacher_evaluations"] == 300 + 2
        assert distil.facts["queries"] == 300 + 2 + 1
        folders = [path.name for path in (tmp_path / name).iterdir() if path.name.startswith("bank")]
        assert sorted(folders) == ["bank", "bank-padding2"]


def test_a_method_may_train_a_network_around_the_student(distil: Distil) -> None:
    class Doubled(Listening):
        ended: ClassVar[list[bool]] = []

        def trained(self, student: Classifier, knowledge: Knowledge) -> nn.Module:  # noqa: ARG002
            class Two(nn.Module):
                def __init__(self) -> None:
                    super().__init__()
                    self.student, self.exit = student, nn.Linear(64, 10)
                    nn.init.zeros_(self.exit.weight)

                def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
                    return self.student(x), self.exit(x.flatten(1))

            return Two()

        def loss(self, outputs: tuple[Tensor, Tensor], taught: Taught) -> Tensor:
            return sum((nn.functional.cross_entropy(each, taught.labels) for each in outputs), torch.zeros(()))

        def main(self, outputs: tuple[Tensor, Tensor]) -> Tensor:
            return outputs[0]

        def done(self, module: nn.Module) -> None:
            self.ended.append(not module.training)

    with torch.random.fork_rng():
        alone = distil.weights(Listening(fit=RECIPE), "alone")
        assert distil.weights(Doubled(fit=RECIPE), "doubled") == alone  # the exit shares nothing with the student
    assert Doubled.ended == [True]


@pytest.mark.parametrize("spec", ["top-k:2", "top_k:0", "rounding", "noise:epsilon=-1"])
def test_a_defence_that_makes_no_sense_is_refused_by_name(spec: str) -> None:
    with pytest.raises(ConfigError, match="defence"):
        KD.checked({"defence": spec}, where="options")


def test_what_does_not_fit_is_refused(distil: Distil, images: ImageSet, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a student of 9 classes"):
        distil(SHORT, "one", student=new_student(images, classes=9))
    with pytest.raises(ConfigError, match="a student of 10 classes for inputs"):
        distil(SHORT, "two", student=new_student(images, shape=(1, 9, 9)))
    with pytest.raises(ConfigError, match="11"):
        distil(KD(fit=RECIPE, defence="top_k:11"), "three")
    with pytest.raises(DataError, match="have no labels"):
        distil(SHORT, "four", data=replace(images, labels=images.labels * 0, classes=("unlabelled",)))
    many = tuple(map(str, range(20)))
    with pytest.raises(DataError, match="outside the 10 classes"):
        distil(SHORT, "five", data=replace(images, labels=images.labels + 10, classes=many))
    wide = replace(images, images=torch.zeros(300, 1, 9, 9, dtype=torch.uint8))
    with pytest.raises(ShapeError, match=r"\(1, 9, 9\) do not fit the teacher"):
        distil(KD(fit=RECIPE, labels_frac=0.0), "six", data=wide)
    assert not any((tmp_path / name / "bank").exists() for name in ("one", "two", "three", "four", "five", "six"))


def test_costs_are_bounds(distil: Distil, images: ImageSet) -> None:
    for method in (SHORT, KD(fit=RECIPE, crop_padding=1, held_out_frac=0.2), Unasked(fit=RECIPE, labels_frac=0.5)):
        cost = method.cost(new_student(images), rows=300)
        distil(method, f"run {cost['training_steps']} {cost['teacher_evaluations']}")
        assert distil.facts["teacher_evaluations"] <= cost["teacher_evaluations"]
    assert SHORT.cost(new_student(images), rows=300)["teacher_evaluations"] == 300
