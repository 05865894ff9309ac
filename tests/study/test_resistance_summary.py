"""What follows from the cells of a study: choices on validation alone, paired differences, and the worst case."""

import copy
import math
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy import stats

STUDENT = "mlp:widths=12-12"


def _students(record: dict[str, Any], teacher: str = "protected") -> dict[str, Any]:
    found: dict[str, Any] = record["summary"][teacher]["regimes"]["labelled"]["students"][STUDENT]
    return found


class TestChoice:
    """Attackers choose among their variants on validation images, and on nothing else."""

    def test_the_best_by_validation_is_chosen_each_time_anew(self, records: ModuleType) -> None:
        record = records.made_up()
        groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        for cell in record["cells"]:
            if cell["attack"] != "no_teacher":
                key = tuple(cell[name] for name in ("teacher", "student", "regime", "attack", "seed"))
                groups.setdefault(key, []).append(cell)
        for cells in groups.values():
            (chosen,) = [cell for cell in cells if cell["chosen"]]
            assert chosen["validation"]["value"] == max(cell["validation"]["value"] for cell in cells)

    def test_test_scores_have_no_part_in_it(self, records: ModuleType) -> None:
        record = records.made_up()
        before = [cell["chosen"] for cell in record["cells"]]
        rng = np.random.default_rng(0)
        for cell in record["cells"]:
            cell["accuracy"] = float(rng.random())
        assert [cell["chosen"] for cell in records.completed(record)["cells"]] == before

    def test_another_validation_score_chooses_another_variant(self, records: ModuleType) -> None:
        record = records.made_up()
        for cell in record["cells"]:
            if (cell["attack"], cell["variant"], cell["seed"]) == ("kd", "temperature=20,squared_factor=false", 1):
                cell["validation"]["value"] = 1.0
        counts = _students(records.completed(record))["attacks"]["kd"]["variant_counts"]
        assert counts == {"temperature=1,squared_factor=true": 2, "temperature=20,squared_factor=false": 1}

    def test_of_equals_the_first_is_taken(self, records: ModuleType) -> None:
        record = records.made_up()
        for cell in record["cells"]:
            cell["validation"] = None
        chosen = {
            cell["variant"] for cell in records.completed(record)["cells"] if cell["chosen"] and cell["attack"] == "kd"
        }
        assert chosen == {"temperature=1,squared_factor=true"}

    def test_both_students_without_a_teacher_are_kept(self, records: ModuleType) -> None:
        cells = [cell for cell in records.made_up()["cells"] if cell["attack"] == "no_teacher"]
        assert all(cell["chosen"] for cell in cells)
        assert len(cells) == 6


class TestNumbers:
    """Differences and intervals, against a slow computation of their own."""

    def test_differences_are_paired_over_seeds(self, records: ModuleType) -> None:
        record = records.made_up()
        cells = [cell for cell in record["cells"] if cell["chosen"] and cell["attack"] == "composition"]
        by = {(cell["teacher"], cell["seed"]): cell["accuracy"] for cell in cells}
        values = np.array([by["ordinary", seed] - by["protected", seed] for seed in (0, 1, 2)])
        half = stats.t.ppf(0.975, 2) * values.std(ddof=1) / math.sqrt(3)
        found = _students(record)["attacks"]["composition"]["protection"]
        assert found == pytest.approx(
            {"value": values.mean(), "low": values.mean() - half, "high": values.mean() + half, "n": 3}
        )

    def test_the_yardstick_is_the_better_student_without_a_teacher(self, records: ModuleType) -> None:
        assert _students(records.made_up())["alone_kind"] == "ls"
        other = records.made_up(alone={"ce": 0.935, "ls": 0.93})
        assert _students(other)["alone_kind"] == "ce"
        assert _students(other)["alone"]["value"] == pytest.approx(0.935)

    def test_the_worst_case_is_the_most_of_all_attacks(self, records: ModuleType) -> None:
        record = records.made_up({"a": (0.96, records.FAILS), "b": (0.96, records.PROTECTS)})
        for teacher in ("a", "b"):
            student = _students(record, teacher)
            means = {name: one["accuracy"]["value"] for name, one in student["attacks"].items()}
            best = student["best"]
            assert best["accuracy"]["value"] == max(means.values())
            assert means[best["attack"]] == max(means.values())
            assert best["against_alone"]["value"] == pytest.approx(student["alone"]["value"] - max(means.values()))
            headline = record["summary"][teacher]["regimes"]["labelled"]["headline"]
            assert headline["against_alone"] == best["against_alone"]
            assert headline["attack"] == best["attack"]
            before = max(one["ordinary"]["value"] for one in student["attacks"].values())
            assert best["ordinary_best"]["accuracy"]["value"] == before
            assert best["protection"]["value"] == pytest.approx(before - max(means.values()))

    def test_the_headline_is_the_student_who_gains_most(self, records: ModuleType) -> None:
        record = records.made_up(students=("small", "large"))
        for cell in record["cells"]:
            if (cell["teacher"], cell["student"]) == ("protected", "large"):
                cell["accuracy"] += 0.003
        headline = records.completed(record)["summary"]["protected"]["regimes"]["labelled"]["headline"]
        assert headline["student"] == "large"

    def test_plain_distillation_is_as_it_suits_the_ordinary_teacher(self, records: ModuleType) -> None:
        """Not tuned on the defended one, and with the squared factor: who knows of no defence does so."""
        record = records.made_up()
        for cell in record["cells"]:
            if (cell["attack"], cell["teacher"], cell["variant"]) == (
                "kd",
                "ordinary",
                "temperature=20,squared_factor=true",
            ):
                cell["validation"]["value"] = 0.99
            if (cell["attack"], cell["teacher"], cell["variant"]) == (
                "kd",
                "ordinary",
                "temperature=20,squared_factor=false",
            ):
                cell["validation"]["value"] = 1.0
        plain = _students(records.completed(record))["plain"]
        assert plain["variant"] == "temperature=20,squared_factor=true"
        assert plain["protection"]["value"] == pytest.approx(plain["ordinary"]["value"] - plain["defended"]["value"])
        assert plain["protection"]["value"] == pytest.approx(0.948 - 0.925 + 0.05)

    def test_a_teacher_that_is_the_ordinary_one_protects_from_nothing_at_all(self, records: ModuleType) -> None:
        record = records.made_up({"same": (0.965, records.ORDINARY)})
        ordinary = {(c["attack"], c["variant"], c["seed"]): c for c in record["cells"] if c["teacher"] == "ordinary"}
        for cell in record["cells"]:
            if cell["teacher"] == "same":
                twin = ordinary[cell["attack"], cell["variant"], cell["seed"]]
                cell |= {name: copy.deepcopy(twin[name]) for name in ("accuracy", "validation")}
        summary = records.completed(record)["summary"]["same"]
        zero = {"value": 0.0, "low": 0.0, "high": 0.0, "n": 3}
        for one in summary["regimes"]["labelled"]["students"][STUDENT]["attacks"].values():
            assert one["protection"] == zero
        assert summary["cost"] == {**zero, "over": "seeds"}
        assert summary["verdict"]["case"] == "fails"

    def test_a_seed_that_failed_is_left_out_of_both_sides(self, records: ModuleType) -> None:
        record = records.made_up()
        cells = [
            cell
            for cell in record["cells"]
            if (cell["attack"], cell["teacher"], cell["seed"]) != ("composition", "ordinary", 2)
        ]
        one = _students(records.completed({**record, "cells": cells}))["attacks"]["composition"]
        assert (one["accuracy"]["n"], one["ordinary"]["n"], one["protection"]["n"]) == (3, 2, 2)

    def test_an_attack_that_failed_on_the_ordinary_teacher_has_no_protection(self, records: ModuleType) -> None:
        record = records.made_up()
        cells = [cell for cell in record["cells"] if (cell["attack"], cell["teacher"]) != ("composition", "ordinary")]
        one = _students(records.completed({**record, "cells": cells}))["attacks"]["composition"]
        assert one["ordinary"] is None
        assert one["protection"] is None
        assert one["against_alone"]["n"] == 3
