"""Options of robust training: what is attacked with, what is kept, what is filed; and what is refused."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from understudy.attacks import Attack
from understudy.data import ImageSet, as_float
from understudy.data.images import UNLABELLED
from understudy.errors import ConfigError, DataError, IntegrityError, ShapeError
from understudy.methods.robust.adaad import AdaAD
from understudy.methods.robust.crdnd import CRDND
from understudy.methods.robust.iad import IAD
from understudy.methods.robust.pgd_at import PGDAT
from understudy.methods.robust.rslad import RSLAD
from understudy.models import Classifier
from understudy.runs.run import Run
from understudy.runs.tensors import digest
from understudy.training import Recipe, adversarial, watch

MakeRun = Callable[..., Run]
Student = Callable[..., Classifier]
Counting = Callable[[], AbstractContextManager[Any]]

SMALL: dict[str, Any] = {
    "epsilon": 0.1, "step_size": 0.04, "attack_steps": 2, "crop_padding": 1, "flip": True,
    "fit": Recipe(epochs=2, batch_size=16, learning_rate=0.05),
}  # fmt: skip


def test_single_steps_are_those_of_their_papers() -> None:
    whole = PGDAT(epsilon=0.1, step_size=0.02, attack_steps=7).attack()
    assert whole == Attack(epsilon=0.1, step=0.02, steps=7, start="uniform")
    assert PGDAT(epsilon=0.1, single_step="fgsm_rs").attack() == Attack(
        epsilon=0.1, step=0.125, steps=1, start="uniform"
    )
    assert PGDAT(epsilon=0.1, single_step="n_fgsm").attack() == Attack(
        epsilon=0.1, step=0.1, steps=1, start="wide", project=False
    )
    safe = PGDAT(epsilon=0.1, single_step="fgsm_rs", guard=True).safe_attack()
    assert (safe.steps, safe.step, safe.start) == (3, pytest.approx(0.05), "uniform")


def test_radii_are_read_from_text_and_8_is_asked_about() -> None:
    text = PGDAT.checked({"epsilon": "8/255", "step_size": "2/255"}, where="options")
    assert text.attack() == PGDAT().attack() == Attack(epsilon=8 / 255, step=2 / 255, steps=10, start="uniform")
    assert PGDAT(epsilon=0.12).attack().step == pytest.approx(0.03)  # a quarter of the radius where no step is given
    with pytest.raises(ConfigError, match=r"epsilon 8 is larger than the whole pixel range(.|\n)*did you mean 8/255\?"):
        PGDAT.checked({"epsilon": 8}, where="options")
    assert PGDAT.checked({"epsilon": 8, "norm": "l2"}, where="options").epsilon == 8


@pytest.mark.parametrize(
    ("cls", "values", "message"),
    [
        (PGDAT, {"keep": "best"}, "keep best has no images"),
        (PGDAT, {"guard": True}, "guard watches single-step training alone"),
        (AdaAD, {"single_step": "n_fgsm"}, "single_step is not for attacks in which the teacher moves"),
        (PGDAT, {"norm": "l2", "epsilon": 8 / 255}, "epsilon 8/255 is a radius for linf"),
        (PGDAT, {"step_size": 2}, "did you mean 2/255"),
        (PGDAT, {"warm_start": True, "norm": "l2", "epsilon": 0.5}, "warm_start is for linf"),
        (PGDAT, {"warm_start": True, "single_step": "n_fgsm"}, "n_fgsm needs its noise"),
        (
            PGDAT,
            {"warm_start": True, "warm_start_reset": 1},
            "warm_start_reset: Input should be greater than or equal to 2",
        ),
        (IAD, {"warm_up": 5, "fit": {"epochs": 5}}, "warm_up of 5 epochs leaves nothing of 5"),
    ],
)
def test_options_that_do_not_go_together(cls: Any, values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        cls.checked(values, where="options")


def test_what_is_held_out_is_not_trained_on(
    run: Run, few: ImageSet, student: Student, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every image is either trained on or measured, and the one or the other only."""
    trained: list[Tensor] = []
    measured: list[Tensor] = []
    real_attack, real_measure = adversarial.perturb, watch.robust_accuracy

    def attack(model: Any, x: Tensor, *rest: Any, **more: Any) -> Tensor:
        trained.extend(x)
        return real_attack(model, x, *rest, **more)

    def measure(mirror: Any, data: ImageSet, *rest: Any) -> float:
        measured.extend(as_float(data.images))
        return real_measure(mirror, data, *rest)

    monkeypatch.setattr(adversarial, "perturb", attack)
    monkeypatch.setattr(watch, "robust_accuracy", measure)
    recipe = Recipe(epochs=2, batch_size=19)
    PGDAT(**{**SMALL, "crop_padding": 0, "flip": False, "fit": recipe}, held_out=10).run(
        model=student(), data=few, run=run
    )

    def rows(images: list[Tensor]) -> set[bytes]:
        return {image.numpy().tobytes() for image in images}

    assert (len(rows(trained)), len(rows(measured))) == (38, 10)
    assert not rows(trained) & rows(measured)


def test_best_and_last_are_both_left_behind(make_run: MakeRun, few: ImageSet, student: Student) -> None:
    digests: dict[str, tuple[str, str]] = {}
    for keep in ("last", "best"):
        network = student()
        outcome = PGDAT(**{**SMALL, "fit": Recipe(epochs=4, batch_size=16)}, held_out=10, keep=keep).run(
            model=network, data=few, run=make_run(keep)
        )
        (name,) = outcome.controls
        assert name == {"last": "best", "best": "last"}[keep]
        assert outcome.model is network
        kept, other = digest(network.state_dict()), digest(outcome.controls[name].state_dict())
        digests[keep] = (kept, other) if keep == "last" else (other, kept)
        facts = outcome.facts["held_out"]
        assert facts["rows"] == 10
        assert 0 <= facts["last"] <= facts["best"] <= 1
        assert not any(module.training for module in outcome.controls[name].modules())
    assert digests["last"] == digests["best"]


def test_training_without_what_is_optional_leaves_no_trace_of_it(run: Run, few: ImageSet, student: Student) -> None:
    outcome = PGDAT(**SMALL).run(model=student(), data=few, run=run)
    assert outcome.facts == {"threat": {"norm": "linf", "epsilon": 0.1}}
    assert outcome.controls == {}
    assert {entry["phase"] for entry in run.events} == {"fit"}
    assert not (run.folder / "bank").exists()


@pytest.mark.parametrize("options", [{"single_step": "n_fgsm"}, {"single_step": "fgsm_rs"}, {"norm": "l2"}, {}])
def test_perturbations_keep_their_bounds(
    options: dict[str, Any], run: Run, few: ImageSet, student: Student, monkeypatch: pytest.MonkeyPatch
) -> None:
    """N-FGSM alone may leave the ball; nothing leaves the box."""
    lengths: list[Tensor] = []
    real = adversarial.perturb

    def attack(model: Any, x: Tensor, *rest: Any, **more: Any) -> Tensor:
        found = real(model, x, *rest, **more)
        assert found.min() >= 0
        assert found.max() <= 1
        delta = (found - x).flatten(1)
        lengths.append(delta.norm(dim=1).max() if options.get("norm") == "l2" else delta.abs().max())
        return found

    monkeypatch.setattr(adversarial, "perturb", attack)
    PGDAT(**SMALL, **options).run(model=student(), data=few, run=run)
    longest = float(torch.stack(lengths).max())
    if options.get("single_step") == "n_fgsm":
        assert 0.1 < longest <= 0.3 + 1e-6
    else:
        assert 0.03 < longest <= 0.1 + 1e-6


def test_a_warm_start_goes_on_where_the_attack_stopped(
    run: Run, few: ImageSet, student: Student, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fresh in the first epoch, and in the one after the reset; in between from what was found."""
    begun: list[bool] = []
    real = adversarial.perturb

    def attack(model: Any, x: Tensor, *rest: Any, **more: Any) -> Tensor:
        begun.append(more["begin"] is not None)
        return real(model, x, *rest, **more)

    monkeypatch.setattr(adversarial, "perturb", attack)
    recipe = Recipe(epochs=4, batch_size=24)
    PGDAT(**{**SMALL, "fit": recipe}, warm_start=True, warm_start_reset=3).run(model=student(), data=few, run=run)
    assert begun == [False, False, True, True, True, True, False, False]


def test_the_second_student_asks_nothing(
    make_run: MakeRun, few: ImageSet, student: Student, digits_teacher: Classifier, passes: Counting
) -> None:
    """The same order of crops is met again, so that every answer is on file."""
    first, second = make_run("first"), make_run("second")
    with passes() as counted:
        facts = RSLAD(**SMALL).run(teacher=digits_teacher, student=student(), data=few, run=first).facts
    assert counted.forward["teacher"] > 0
    assert facts["answers"]["asked"] + facts["answers"]["served"] == 96
    assert facts["teacher_evaluations"] == facts["answers"]["asked"]
    with passes() as counted:
        facts = (
            RSLAD(**SMALL)
            .run(teacher=digits_teacher, student=student(seed=2), data=few, run=second, bank=first.folder / "bank")
            .facts
        )
    assert counted.forward["teacher"] == 0
    assert facts["answers"] == {"asked": 0, "served": 96}
    assert facts["teacher_evaluations"] == 0


def test_held_out_rows_change_no_answers_row(
    make_run: MakeRun, few: ImageSet, student: Student, digits_teacher: Classifier
) -> None:
    """Answers are filed by the row of the whole set, so that a student with other images held out can use them."""
    first, second = make_run("first"), make_run("second", seed=1)
    small = {**SMALL, "crop_padding": 0, "flip": False, "fit": Recipe(epochs=1, batch_size=8)}
    RSLAD(**small).run(teacher=digits_teacher, student=student(), data=few, run=first)
    nets = []
    for run, bank in ((second, first.folder / "bank"), (make_run("third", seed=1), None)):
        nets.append(student())
        outcome = RSLAD(**small, held_out=8).run(teacher=digits_teacher, student=nets[-1], data=few, run=run, bank=bank)
        assert outcome.facts["answers"]["asked"] == (40 if bank is None else 0)
    for name, value in nets[1].state_dict().items():  # answers were asked in other batches: equal up to rounding
        torch.testing.assert_close(nets[0].state_dict()[name], value, rtol=1e-2, atol=1e-3)


def test_features_and_perturbed_images_are_never_filed(
    run: Run, few: ImageSet, student: Student, digits_teacher: Classifier
) -> None:
    outcome = CRDND(**SMALL).run(teacher=digits_teacher, student=student(), data=few, run=run)
    assert "answers" not in outcome.facts
    assert outcome.facts["teacher_evaluations"] == 2 * 96


def test_answers_of_another_teacher_are_refused(
    make_run: MakeRun, few: ImageSet, student: Student, digits_teacher: Classifier
) -> None:
    first = make_run("first")
    RSLAD(**SMALL).run(teacher=digits_teacher, student=student(), data=few, run=first)
    with pytest.raises(ConfigError, match="another teacher"):
        RSLAD(**SMALL).run(
            teacher=student(seed=5), student=student(), data=few, run=make_run("second"), bank=first.folder
        )
    with pytest.raises(IntegrityError, match="no finished bank"):
        RSLAD(**SMALL).run(
            teacher=digits_teacher, student=student(), data=few, run=make_run("third"), bank=make_run("no").folder
        )


class TestRefusals:
    def test_more_held_out_than_there_is(self, run: Run, few: ImageSet, student: Student) -> None:
        with pytest.raises(ConfigError, match="48 of 48 training images are held out"):
            PGDAT(**SMALL, held_out=48).run(model=student(), data=few, run=run)

    def test_several_processes(self, run: Run, few: ImageSet, student: Student) -> None:
        run.world = 2
        with pytest.raises(ConfigError, match="robust training over 2 processes"):
            PGDAT(**SMALL).run(model=student(), data=few, run=run)

    def test_images_without_labels(self, run: Run, few: ImageSet, student: Student) -> None:
        data = ImageSet("bare", "train", few.images, torch.zeros(48, dtype=torch.int64), UNLABELLED)
        with pytest.raises(DataError, match="needs labels"):
            PGDAT(**SMALL).run(model=student(), data=data, run=run)

    def test_images_of_another_shape(self, run: Run, few: ImageSet, student: Student) -> None:
        data = ImageSet("wide", "train", few.images.repeat(1, 1, 1, 2), few.labels, few.classes)
        with pytest.raises(ShapeError, match="do not fit the network"):
            PGDAT(**SMALL).run(model=student(), data=data, run=run)

    def test_a_teacher_of_other_classes(self, run: Run, few: ImageSet, student: Student) -> None:
        teacher = student(classes=11)
        for refuse in (
            lambda: RSLAD(**SMALL).check_teacher(teacher, student()),
            lambda: RSLAD(**SMALL).run(teacher=teacher, student=student(), data=few, run=run),
        ):
            with pytest.raises(ConfigError, match="the teacher has classes 11, the student 10"):
                refuse()

    def test_a_teacher_without_features_for_a_method_that_needs_them(self, student: Student) -> None:
        net = nn.Sequential(nn.Conv2d(1, 10, 8), nn.Flatten())
        teacher = Classifier(net, spec="conv", input_shape=(1, 8, 8), classes=10, mean=[0.0], std=[1.0])
        with pytest.raises(ConfigError, match="no linear layer"):
            CRDND(**SMALL).check_teacher(teacher, student())
        RSLAD(**SMALL).check_teacher(teacher, student())

    def test_a_teacher_whose_normalisation_lies_outside(
        self, run: Run, digits: tuple[ImageSet, ImageSet], student: Student, digits_teacher: Classifier
    ) -> None:
        """It takes (x − mean) / std from its caller, and is good at it; on images in [0, 1] it is lost."""
        data = digits[0].take(torch.arange(200))
        bare = Classifier(
            nn.Sequential(_Moved(), digits_teacher.net), spec="bare", input_shape=(1, 8, 8), classes=10, mean=[0.0],
            std=[1.0],
        )  # fmt: skip
        with pytest.raises(ConfigError, match="its normalisation lies outside"):
            RSLAD(**SMALL).run(teacher=bare, student=student(), data=data, run=run)

    def test_a_bad_teacher_is_no_such_teacher(self, run: Run, few: ImageSet, student: Student) -> None:
        """One that knows nothing, with no normalisation at all: its student learns little, but that is no fault."""
        net = student(seed=9).net
        teacher = Classifier(net, spec="new", input_shape=(1, 8, 8), classes=10, mean=[0.0], std=[1.0]).eval()
        RSLAD(**SMALL).run(teacher=teacher, student=student(), data=few, run=run)


class _Moved(nn.Module):
    """What makes a network useless on images in [0, 1], and leaves it as it is on normalised digits."""

    def forward(self, z: Tensor) -> Tensor:
        return torch.where(z.amin(dim=(1, 2, 3), keepdim=True) < -0.1, z, torch.zeros_like(z))
