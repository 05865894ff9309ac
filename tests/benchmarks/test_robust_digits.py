"""The toy transfer table: a teacher that errs as it is meant to, thresholds that can fail, and cells that are kept."""

import copy
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from understudy.data import ImageSet, as_float
from understudy.models import Penultimate, build_model, freeze

Program = Callable[[str], ModuleType]

# row: clean %, robust %, mean diagonal, as the specification measured them
MEASURED = {
    "teacher itself | intact": (98.7, 83.1),
    "teacher itself | errs": (98.7, 83.1),
    "natural | none": (97.0, 26.9),
    "PGD-AT | none": (97.2, 71.4),
    "ARD | intact": (97.2, 71.6),
    "RSLAD | intact": (97.1, 71.2),
    "AdaAD | intact": (97.5, 71.8),
    "DGAD | intact": (97.2, 71.6),
    "CRDND denoise | intact": (97.4, 70.7),
    "CRDND denoise, transition | intact": (97.3, 71.0, 0.96),
    "ARD | errs": (94.4, 61.6),
    "RSLAD | errs": (83.5, 59.3),
    "AdaAD | errs": (81.6, 55.6),
    "DGAD | errs": (97.2, 68.6),
    "CRDND denoise | errs": (95.4, 68.2),
    "CRDND denoise, transition | errs": (95.7, 67.4, 0.55),
}


@pytest.fixture
def found() -> dict[str, list[dict[str, float]]]:
    names = ("clean", "robust", "diagonal")
    scale = {"clean": 100, "robust": 100, "diagonal": 1}
    return {
        row: [{name: score / scale[name] for name, score in zip(names, scores, strict=False)}]
        for row, scores in MEASURED.items()
    }


@pytest.fixture(scope="module")
def properties(program: Program) -> ModuleType:
    return program("robust_digits_properties")


@pytest.fixture(scope="module")
def teachers(program: Program) -> ModuleType:
    return program("robust_digits_teacher")


@pytest.fixture(scope="module")
def digits(program: Program) -> ImageSet:
    return program("robust_digits").shuffled_digits().take(range(60))


def test_the_measured_numbers_meet_every_threshold(properties: ModuleType, found) -> None:
    checked = list(properties.properties(found))
    assert len(checked) == 5
    assert [one.text for one in checked if not one.holds] == []


@pytest.mark.parametrize(
    ("name", "row", "score", "value"),
    [
        ("intact teacher, robust at all", "natural | none", "robust", 0.36),
        ("intact teacher, near PGD-AT", "AdaAD | intact", "robust", 0.76),
        ("intact teacher, near PGD-AT", "RSLAD | intact", "robust", 0.67),
        ("erring teacher, compensation", "RSLAD | errs", "robust", 0.64),
        ("erring teacher, compensation", "RSLAD | errs", "clean", 0.88),
        ("erring teacher, label swap", "AdaAD | errs", "robust", 0.62),
        ("transition measures the errors", "CRDND denoise, transition | intact", "diagonal", 0.89),
        ("transition measures the errors", "CRDND denoise, transition | errs", "diagonal", 0.76),
    ],
)
def test_a_worse_number_is_found(properties: ModuleType, found, name: str, row: str, score: str, value: float) -> None:
    worse = copy.deepcopy(found)
    worse[row][0][score] = value
    assert name in [one.name for one in properties.properties(worse) if not one.holds]


def test_the_teachers_scores_are_no_students(properties: ModuleType, found) -> None:
    """The teacher is 12 points above PGD-AT, and no threshold is about it."""
    found["teacher itself | intact"][0]["robust"] = 0.1
    assert all(one.holds for one in properties.properties(found))


def test_the_table_shows_both_teachers_and_the_spread(properties: ModuleType, found) -> None:
    found["RSLAD | errs"].append({"clean": 0.855, "robust": 0.613})
    (line,) = (line for line in properties.table(found) if line.startswith("| RSLAD |"))
    assert line == "| RSLAD | – | – | 97.1 | 71.2 | 84.5 ± 1.4 | 60.3 ± 1.4 |"


def test_the_teacher_errs_everywhere_in_the_balls_and_nowhere_else(teachers: ModuleType, digits: ImageSet) -> None:
    radius = 0.12
    teacher = build_model("mlp:widths=16", input_shape=digits.shape, classes=10, mean=[0.0], std=[1.0], seed=0)
    errors = teachers.draw_errors(digits, share=0.4, radius=radius, seed=0)
    assert len(errors.rows) == len(set(errors.rows.tolist())) == 24
    assert not (errors.wrong == digits.labels[errors.rows]).any()
    erring = freeze(teachers.make_err(teacher, digits, errors, radius=radius))
    x = as_float(digits.images)
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)).sub(0.5).sign() * radius * 0.999
    wrong = torch.full((len(digits),), -1)
    wrong[errors.rows] = errors.wrong
    for near in (x, x + noise):
        right, answers = teacher(near), erring(near)
        top = right.argmax(dim=1)
        expected = right.clone()
        for row in range(len(digits)):
            if wrong[row] >= 0:
                expected[row, top[row]], expected[row, wrong[row]] = right[row, wrong[row]], right[row, top[row]]
        assert torch.equal(answers, expected.detach())
    assert (answers.argmax(dim=1) == wrong)[errors.rows].all()
    far = x + 3 * noise
    torch.testing.assert_close(erring(far), teacher(far).detach(), rtol=0, atol=0)


def test_the_errors_leave_features_and_gradients_alone(teachers: ModuleType, digits: ImageSet) -> None:
    teacher = build_model("mlp:widths=16", input_shape=digits.shape, classes=10, mean=[0.0], std=[1.0], seed=0)
    errors = teachers.draw_errors(digits, share=0.4, radius=0.12, seed=0)
    erring = teachers.make_err(teacher, digits, errors, radius=0.12)
    x = as_float(digits.images[errors.rows[:4]]).requires_grad_(True)
    with Penultimate(freeze(teacher)) as plain, Penultimate(freeze(erring)) as other:
        logits, features = plain(x)
        swapped, theirs = other(x)
    assert torch.equal(features, theirs)
    assert torch.equal(logits.sort(dim=1).values, swapped.sort(dim=1).values)
    top = torch.autograd.grad(logits.amax(dim=1).sum(), x, retain_graph=True)[0]
    moved = torch.autograd.grad(swapped.gather(1, errors.wrong[:4, None]).sum(), x)[0]
    torch.testing.assert_close(top, moved)


def test_an_image_with_a_near_twin_is_spared(teachers: ModuleType, digits: ImageSet) -> None:
    twins = digits.take([*range(20), 0])
    twins.images[20, 0, 0, 0] += 20
    errors = teachers.draw_errors(twins, share=1.0, radius=0.12, seed=0)
    assert sorted(errors.rows.tolist()) == list(range(1, 20))


def test_a_teacher_that_normalises_is_refused(teachers: ModuleType, digits: ImageSet) -> None:
    teacher = build_model("mlp:widths=4", input_shape=digits.shape, classes=10, mean=[0.5], std=[1.0], seed=0)
    errors = teachers.draw_errors(digits, share=0.1, radius=0.12, seed=0)
    with pytest.raises(ValueError, match="normalises"):
        teachers.make_err(teacher, digits, errors, radius=0.12)


def test_every_row_can_be_built_and_has_the_threat_of_the_study(program: Program) -> None:
    module = program("robust_digits")
    methods = {row.name: row.build(40) for row in module.rows()}
    assert len(methods) == 12
    for name, method in methods.items():
        assert method.fit.milestones == (28, 36)
        if name != "natural":
            assert (method.epsilon, method.step_size, method.attack_steps) == (0.12, 0.03, 7)
            assert not method.flip
            assert method.crop_padding == 0
    assert methods["CRDND denoise, m = 0.3"].margin == 0.3
    assert methods["CRDND denoise"].uses() == {"student_clean", "teacher_clean", "teacher_adversarial"}
    assert methods["CRDND denoise, clean view"].uses() == {"student_clean", "teacher_clean"}
    assert "teacher_features" in methods["CRDND full"].uses()


def test_a_cell_is_measured_once_and_kept(program: Program, tmp_path: Path) -> None:
    """One epoch of a student of each kind, with the teacher on file; the same call again measures nothing."""
    module = program("robust_digits")
    study = module.Study(tmp_path, epochs=1, teacher_epochs=1)
    chosen = [row for row in module.rows() if row.name in ("natural", "CRDND denoise, transition")]
    cells = module.Cells(tmp_path / "cells.jsonl", {"a": 1})
    module.fill(study, cells, [0], chosen)
    found = cells.rows([0])
    assert list(found) == [
        "teacher itself | intact", "teacher itself | errs", "natural | none",
        "CRDND denoise, transition | intact", "CRDND denoise, transition | errs",
    ]  # fmt: skip
    intact, errs = found["teacher itself | intact"][0], found["teacher itself | errs"][0]
    assert intact["clean"] == errs["clean"]
    assert errs["train"] < 0.8 * intact["train"]
    assert all(0 <= scores[0]["robust"] <= scores[0]["clean"] <= 1 for scores in found.values())
    assert 0.85 < found["CRDND denoise, transition | intact"][0]["diagonal"] < 0.95
    assert not (tmp_path / "cell").exists()
    again = module.Cells(tmp_path / "cells.jsonl", {"a": 1})
    again.fill("natural | none", 0, lambda: pytest.fail("measured twice"))
    assert again.rows([0]) == found
    assert module.Cells(tmp_path / "cells.jsonl", {"a": 2}).rows([0]) == {}
