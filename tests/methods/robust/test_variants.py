"""Variants in a run of their own: further teachers, learned parts, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from understudy.data import ImageSet
from understudy.errors import ConfigError
from understudy.methods.robust.akd import AKD
from understudy.methods.robust.crdnd import CRDND
from understudy.methods.robust.iad import IAD
from understudy.methods.robust.mtard import MTARD
from understudy.models import Classifier, save_model
from understudy.runs.run import Run
from understudy.runs.tensors import digest
from understudy.training import Recipe

MakeRun = Callable[..., Run]
Student = Callable[..., Classifier]

QUICK: dict[str, Any] = {
    "epsilon": 0.1, "attack_steps": 1, "crop_padding": 0, "flip": False,
    "fit": Recipe(epochs=2, batch_size=24, learning_rate=0.05),
}  # fmt: skip


@pytest.fixture
def second(student: Student, tmp_path: Path) -> str:
    """A further teacher on file."""
    save_model(student(seed=7), tmp_path / "second", about={})
    return str(tmp_path / "second")


def test_mtard_asks_for_its_second_teacher(student: Student, digits_teacher: Classifier) -> None:
    with pytest.raises(ConfigError, match="learns from two teachers") as error:
        MTARD(**QUICK).check_teacher(digits_teacher, student())
    assert "--natural-teacher" in str(error.value)


def test_weights_of_two_teachers_leave_the_labels_something() -> None:
    with pytest.raises(ConfigError, match="sum to more than 1"):
        IAD.checked({"robust_weight": 0.8, "natural_weight": 0.3}, where="options")


def test_further_teachers_teach(
    make_run: MakeRun, few: ImageSet, student: Student, digits_teacher: Classifier, second: str
) -> None:
    """With a second teacher the student becomes another one."""
    for alone, both in (
        (AKD(**QUICK), AKD(further_teachers=(second,), **QUICK)),
        (IAD(warm_up=0, **QUICK), IAD(warm_up=0, natural_teacher=second, **QUICK)),
    ):
        outcomes = []
        for place, method in enumerate((alone, both)):
            run = make_run(f"{type(method).__name__}-{place}")
            outcomes.append(method.run(teacher=digits_teacher, student=student(), data=few, run=run))
        first, other = (digest(outcome.model.state_dict()) for outcome in outcomes)
        assert first != other


def test_the_matrix_of_instability_is_learned_without_decay(
    make_run: MakeRun, few: ImageSet, student: Student, digits_teacher: Classifier
) -> None:
    """It is trained along with the student, logged as "stability", and not part of the model."""
    run = make_run(log_every=1)
    outcome = CRDND(compensation="transition", **QUICK).run(
        teacher=digits_teacher, student=student(), data=few, run=run
    )
    stability = [entry["metrics"]["stability"] for entry in run.events if entry["phase"] == "fit"]
    assert stability[0] == pytest.approx(0.9, abs=1e-6)
    assert len(set(stability)) == len(stability)
    assert outcome.model.state_dict().keys() == student().state_dict().keys()
