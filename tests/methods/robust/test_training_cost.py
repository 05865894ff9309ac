"""Forward passes a step against the table of costs (section 8.1 of the specification), counted as they are made."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from understudy import catalogue
from understudy.data import ImageSet
from understudy.models import Classifier, save_model
from understudy.runs.run import Run
from understudy.training import Recipe

MakeRun = Callable[..., Run]

K = 3
ONE_STEP = Recipe(epochs=1, batch_size=48, learning_rate=0.01)

# Costs of student and teacher, in forward passes; both student passes in training cost 3 each, with their gradients.
COSTS: dict[str, tuple[dict[str, object], int, int]] = {
    "pgd_at": ({}, 2 * K + 3, 0),
    "trades": ({}, 2 * K + 7, 0),
    "mart": ({}, 2 * K + 6, 0),
    "ard": ({"alpha": 1.0}, 2 * K + 3, 1),
    "ard, labels too": ({"alpha": 0.9}, 2 * K + 6, 1),
    "iad": ({"warm_up": 0}, 2 * K + 6, 2),
    "rslad": ({}, 2 * K + 6, 1),
    "akd": ({}, 2 * K + 3, 1),
    "gacd": ({}, 2 * K + 3, 1),
    "adaad": ({"alpha": 1.0}, 2 * K + 3, 2 * K + 1),
    "adaad, clean too": ({"alpha": 0.5}, 2 * K + 6, 2 * K + 2),
    "mtard": ({}, 2 * K + 6, 2),
    "dgad": ({}, 2 * K + 6, 2 * K + 2),
    "crdnd": ({}, 2 * K + 6, 2),
    "crdnd, clean view": ({"teacher_view": "clean", "relation_weight": 0.0}, 2 * K + 6, 1),
    "rslad, igdm": ({"igdm": 1.0}, 2 * K + 9, 3),
}
ROBUST = sorted(name for name, entry in catalogue.METHODS.items() if entry.family == "robust")


def test_every_robust_method_is_in_the_table() -> None:
    assert {case.partition(",")[0] for case in COSTS} == set(ROBUST)


@pytest.mark.parametrize("case", COSTS)
def test_a_step_costs_what_the_table_says(
    case: str,
    make_run: MakeRun,
    few: ImageSet,
    student: Callable[..., Classifier],
    digits_teacher: Classifier,
    passes: Callable[[], AbstractContextManager[Any]],
    tmp_path: Path,
) -> None:
    """Weight gradients once a pass in training, none in attacks; the teacher's gradient in adaad and dgad alone."""
    options, student_cost, teacher_cost = COSTS[case]
    name = case.partition(",")[0]
    given: dict[str, Any] = {"attack_steps": K, "crop_padding": 0, "flip": False, "fit": ONE_STEP, **options}
    if name == "mtard":
        save_model(digits_teacher, tmp_path / "natural", about={})
        given["natural_teacher"] = str(tmp_path / "natural")
    method = catalogue.load(name)(**given)
    network = student()
    things = {"model": network} if catalogue.entry(name).verb == "train" else {}
    things = things or {"teacher": digits_teacher, "student": network}
    with passes() as counted:
        outcome = method.run(data=few, run=make_run(), **things)
    assert counted.cost() == (student_cost, teacher_cost)
    assert counted.backward["student"] == counted.forward["student"]
    if things.keys() == {"teacher", "student"}:
        assert outcome.facts["teacher_evaluations"] == counted.forward["teacher"] * len(few)
        assert method.cost(network, rows=len(few))["teacher_evaluations"] == outcome.facts["teacher_evaluations"]
