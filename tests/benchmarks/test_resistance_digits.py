"""The digits study of resistance: the specification's table, thresholds that can fail, data as told, cells kept."""

import copy
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

Program = Callable[[str], ModuleType]
Found = dict[str, list[dict[str, float]]]


@pytest.fixture(scope="module")
def table(program: Program) -> ModuleType:
    return program("resistance_digits_table")


@pytest.fixture(scope="module")
def properties(program: Program) -> ModuleType:
    return program("resistance_digits_properties")


@pytest.fixture(scope="module")
def cells(program: Program) -> ModuleType:
    return program("resistance_digits_cells")


@pytest.fixture
def found(table: ModuleType) -> Found:
    """The specification's own numbers, two seeds half a point to both sides, with what its table does not have."""
    rows: Found = {}
    for (row, score), value in table.specified().items():
        scores = rows.setdefault(row, [{}, {}])
        for one, sign in zip(scores, (-1, 1), strict=True):
            one[score] = (value + 0.5 * sign) / 100 if score == "accuracy" else value + 0.01 * sign
    for teacher, score, values in (
        ("AST released, alpha 0.05", "support", (1.0, 0.99)),
        ("Nasty, omega 0.02", "divergence", (0.47, 0.50)),
        ("Nasty, omega 0", "divergence", (0.012, 0.015)),
    ):
        row = rows.setdefault(f"labelled | {teacher} | the teacher itself", [{}, {}])
        for one, value in zip(row, values, strict=True):
            one[score] = value
    return rows


def test_the_specifications_table_is_whole(table: ModuleType) -> None:
    """Its three tables, less the two cells that it leaves out; three students alone, and the hard label of each row."""
    known = table.specified()
    assert len(known) == (35 - 1) + (20 - 1) + 25 + 3 + 7
    assert known["labelled | Nasty, omega 0.04 | KD T=20, centred logits", "accuracy"] == 70.4
    assert known["unlabelled | AST released, alpha 0.05 | KD T=20", "accuracy"] == 73.3
    assert known["labelled | AST paired, alpha 0.05 | the teacher itself", "entropy 4"] == 0.42
    assert known["labelled | Stingy k=2 | hard label", "accuracy"] == 92.7


def test_the_specifications_numbers_have_every_property(properties: ModuleType, found: Found) -> None:
    checked = list(properties.properties(found))
    assert [one.number for one in checked] == [14, 15, 16, 17, 18]
    assert [one.text for one in checked if not one.holds] == []


@pytest.mark.parametrize(
    ("number", "row", "score", "value"),
    [
        (14, "Stingy k=2 | KD T=20", "accuracy", 0.905),
        (14, "Stingy k=2 | KD T=1", "accuracy", 0.90),
        (14, "Stingy k=2 | the teacher itself", "accuracy", 0.955),
        (15, "AST released, alpha 0.05 | KD T=20", "accuracy", 0.85),
        (15, "AST released, alpha 0.05 | KD T=1", "accuracy", 0.90),
        (15, "AST released, alpha 0.05 | the teacher itself", "support", 0.94),
        (16, "AST paired, alpha 0.05 | the teacher itself", "entropy 4", 0.70),
        (17, "Nasty, omega 0.02 | the teacher itself", "entropy 4", 1.66),
        (17, "Nasty, omega 0 | the teacher itself", "divergence", 0.05),
        (18, "AST released, alpha 0.05 | KD T=20, centred logits", "accuracy", 0.84),
        (18, "Stingy k=2 | KD T=20 without T²", "accuracy", 0.865),
    ],
)
def test_one_worse_seed_is_found(
    properties: ModuleType, found: Found, number: int, row: str, score: str, value: float
) -> None:
    worse = copy.deepcopy(found)
    worse[f"labelled | {row}"][0][score] = value
    assert number in [one.number for one in properties.properties(worse) if not one.holds]


def test_a_difference_is_measured_in_its_standard_errors(table: ModuleType) -> None:
    """Means of 4 and of 4 seeds of deviation 0.8 differ by 1.2; and the other's last digit is rounded."""
    one = table.Compared("row", "accuracy", 94.0, 0.8, 92.8, 4)
    assert one.errors == pytest.approx(1.2 / np.sqrt(2 * 0.8**2 / 4 + 0.1**2 / 12))
    assert table.Compared("row", "entropy 4", 1.0, 0.0, 0.99, 4).errors == pytest.approx(np.sqrt(12))
    assert table.Compared("row", "accuracy", 94.0, 0.8, None, 4).errors is None
    assert table.Compared("row", "accuracy", 94.0, 0.0, 92.8, 1).errors is None


def test_the_table_marks_what_is_off_and_counts_it(table: ModuleType, found: Found) -> None:
    assert "**off**" not in "\n".join(table.table(found))
    row = "labelled | ordinary | KD T=4"
    found[row] = [{"accuracy": 0.90}, {"accuracy": 0.91}]
    (line,) = (line for line in table.table(found) if line.startswith(f"| {row} |"))
    assert line.startswith("| labelled | ordinary | KD T=4 | 90.5 ± 0.7 | 94.5 | -6.5 **off** |")
    cells = len(table.specified())
    assert table.verdict(found).startswith(f"{cells - 1} of {cells} cells within two standard errors")
    assert table.verdict({row: [{"accuracy": 0.9}]}) == "one seed has no spread: nothing is compared"


def test_cells_that_move_together_count_as_one(table: ModuleType, found: Found) -> None:
    """Two seeds one point apart in every cell, about the specification: no shift, and an error of √(1/2 + 1/4) · √½."""
    labelled, unlabelled = table.shifts(found)
    assert labelled.startswith("labelled: all ")
    assert "+0.00 points" in labelled.replace("-0.00", "+0.00")
    assert labelled.endswith("standard errors of 0.61")
    for scores in found.values():
        for one in scores:
            one["accuracy"] = one.get("accuracy", 0.0) + 0.0122
    assert "unlabelled: all 26 accuracies together +1.22 points, +2.0 standard errors" in list(table.shifts(found))[1]
    assert unlabelled != list(table.shifts(found))[1]


def test_chance_counts_the_few_seeds_behind_a_spread(table: ModuleType) -> None:
    assert table.by_chance(4) == pytest.approx(0.1393, abs=1e-4)  # Student's t, three degrees of freedom
    assert table.by_chance(1000) == pytest.approx(0.0455, abs=5e-4)


def test_every_specified_cell_has_a_row_of_the_study(table: ModuleType, cells: ModuleType) -> None:
    names = [row.name for row in cells.rows()]
    assert len(names) == len(set(names))
    assert {row for row, _ in table.specified()} <= set(names)
    extra = {name for name in names if (name, "accuracy") not in table.specified()}
    assert {name.split(" | ")[1] for name in extra} == {"Nasty, omega 0", cells.SAME_START}


def test_the_digits_are_noisy_and_in_the_order_of_their_seed(cells: ModuleType) -> None:
    first, again, other = (cells.noisy_digits(seed) for seed in (0, 0, 1))
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.labels, other.labels)
    assert torch.equal(first.labels.bincount(), other.labels.bincount())
    middle = first.images[:, 0, 3:5, 3:5].float() / 255
    assert len(first) == 1797
    # At the corners the digits are white paper: what is there is the positive half of the noise.
    corner = first.images[:, 0, 3, 0].float() / 255
    assert float((corner > 0).float().mean()) == pytest.approx(0.5, abs=0.04)
    assert float(corner[corner > 0].square().mean().sqrt()) == pytest.approx(0.15, abs=0.01)
    assert float(middle.mean()) > 0.4


def test_the_parts_do_not_overlap(cells: ModuleType, tmp_path: Path) -> None:
    study = cells.Study(tmp_path, 0, epochs=1)
    sizes = {
        regime: (len(study.owners[regime]), len(study.attackers[regime]), len(study.test[regime]))
        for regime in cells.PARTS
    }
    assert sizes == {"labelled": (898, 898, 899), "unlabelled": (700, 598, 499)}
    whole = cells.noisy_digits(0)
    parts = [study.owners["unlabelled"], study.attackers["unlabelled"], study.test["unlabelled"]]
    assert torch.equal(torch.cat([part.images for part in parts]), whole.images)
    assert torch.equal(torch.cat([study.owners["labelled"].labels, study.test["labelled"].labels]), whole.labels)


def test_the_recipe_is_that_of_the_specification(cells: ModuleType, tmp_path: Path) -> None:
    recipe = cells.Study(tmp_path, 0, epochs=60).recipe
    rates = [recipe.rate(step, 60) for step in (0, 29, 30, 44, 45, 59)]
    assert rates == pytest.approx([0.05, 0.05, 0.005, 0.005, 0.0005, 0.0005])
    assert (recipe.batch_size, recipe.momentum, recipe.weight_decay) == (64, 0.9, 5e-4)


def test_cells_are_measured_once_and_kept(program: Program, cells: ModuleType, tmp_path: Path) -> None:
    """One epoch of a student of each kind; the teachers' files and the filed answers are used again."""
    main = program("resistance_digits")
    study = cells.Study(tmp_path, 0, epochs=1)
    wanted = {
        "labelled | none | alone",
        "labelled | ordinary | the teacher itself",
        "labelled | ordinary | hard label",
        "labelled | Nasty, omega 0 | the teacher itself",
        "labelled | AST released, alpha 0.05 | the teacher itself",
        "labelled | Stingy k=2 | the teacher itself",
        "labelled | Stingy k=2 | KD T=20",
        "unlabelled | ordinary | KD T=4",
    }
    kept = main.Cells(tmp_path / "cells.jsonl", {"a": 1})
    for row in cells.rows():
        if row.name in wanted:
            kept.fill(row.name, lambda row=row: study.cell(row))
    assert set(kept.found) == wanted
    assert not (tmp_path / "cell").exists()
    itself = {name.split(" | ")[1]: scores for name, scores in kept.found.items() if name.endswith("itself")}
    assert itself["Stingy k=2"]["accuracy"] == itself["ordinary"]["accuracy"]
    assert itself["Nasty, omega 0"]["divergence"] > 0
    assert 0.2 <= itself["AST released, alpha 0.05"]["support"] <= 1
    assert 0 < itself["ordinary"]["entropy 1"] < itself["ordinary"]["entropy 20"] < np.log(10)
    again = main.Cells(tmp_path / "cells.jsonl", {"a": 1})
    again.fill("labelled | none | alone", lambda: pytest.fail("measured twice"))
    assert again.found == kept.found
    assert main.Cells(tmp_path / "cells.jsonl", {"a": 2}).found == {}
