"""The verdict on a defended teacher follows from the numbers: made-up studies for each case."""

from types import ModuleType
from typing import Any

import pytest


def _verdict(record: dict[str, Any]) -> dict[str, Any]:
    (summary,) = record["summary"].values()
    verdict: dict[str, Any] = summary["verdict"]
    return verdict


class TestTheFourCases:
    """Protects, fails to an adaptive attacker, only worsens the teacher, inconclusive."""

    def test_it_protects(self, records: ModuleType) -> None:
        found = _verdict(records.made_up())
        assert found["case"] == "protects"
        assert "Composition takes the student to 92.9 %" in found["words"]
        assert "1.9 points (1.7 to 2.1) below the best student of the ordinary teacher" in found["words"]
        assert found["words"].endswith("The owner loses 0.1 points of accuracy.")

    def test_plain_distillation_respects_it_and_an_adaptive_attacker_breaks_it(self, records: ModuleType) -> None:
        record = records.made_up({"nasty": (0.96, records.FAILS)})
        found = _verdict(record)
        student = record["summary"]["nasty"]["regimes"]["labelled"]["students"]["mlp:widths=12-12"]
        assert student["plain"]["protection"]["low"] > 0.05
        assert student["best"]["against_alone"]["high"] < 0
        assert found["case"] == "fails"
        assert "Composition takes the student to 94.5 %" in found["words"]
        assert "above a student without a teacher" in found["words"]
        assert "plain distillation loses 6.4 points" in found["words"]

    def test_teacher_and_students_get_worse_alike(self, records: ModuleType) -> None:
        found = _verdict(records.made_up({"worse": (0.925, records.WORSENS)}))
        assert found["case"] == "only_worsens"
        assert "It has only become a worse teacher" in found["words"]
        assert "The owner loses 4.0 points" in found["words"]

    def test_seeds_that_lie_too_far_apart_decide_nothing(self, records: ModuleType) -> None:
        found = _verdict(records.made_up(spread=0.02))
        assert found["case"] == "inconclusive"
        assert "which may be chance" in found["words"]


def test_a_worse_teacher_is_no_protected_one_even_if_no_student_gains(records: ModuleType) -> None:
    """Students fall to the level of those without a teacher, and the owner has paid three times what they lost."""
    reached = dict.fromkeys(records.ORDINARY, 0.929)
    found = _verdict(records.made_up({"worse": (0.905, reached)}))
    assert found["case"] == "only_worsens"


@pytest.mark.parametrize(("owner", "students"), [(0.765, 0.743), (0.858, 0.828)])
def test_a_worse_teacher_is_no_protected_one_if_students_lose_a_little_more(
    records: ModuleType, owner: float, students: float
) -> None:
    """An owner who loses 20 points to make students lose 20.5 has protected nothing."""
    reached = {name: value - (0.948 - students) for name, value in records.ORDINARY.items()}
    found = _verdict(records.made_up({"worse": (owner, reached)}, regimes=("unlabelled",)))
    assert found["case"] == "only_worsens"


def test_what_costs_the_owner_next_to_nothing_is_no_worse_teacher(records: ModuleType) -> None:
    found = _verdict(records.made_up({"idle": (0.964, records.ORDINARY)}))
    assert found["case"] == "fails"


class TestAttackersThatAreNotThere:
    """Without them a teacher may fail, and is never called protected."""

    def test_one_that_failed_in_training(self, records: ModuleType) -> None:
        record = records.made_up()
        gone = {"attack": "composition", "teacher": "protected", "seed": 1}
        cells = [cell for cell in record["cells"] if any(cell[name] != value for name, value in gone.items())]
        assert len(cells) == len(record["cells"]) - 1
        record = records.completed({**record, "cells": cells})
        student = record["summary"]["protected"]["regimes"]["labelled"]["students"]["mlp:widths=12-12"]
        assert student["unfinished"] == ["composition"]
        assert student["best"]["attack"] != "composition"
        found = _verdict(record)
        assert found["case"] == "inconclusive"
        assert "these may do better, and are not there or not finished: Composition" in found["words"]

    @pytest.mark.parametrize("name", ["uniform_tail", "centred", "composition", "skeptical", "averaging", "cake"])
    def test_one_that_was_not_asked_for(self, records: ModuleType, name: str) -> None:
        record = records.made_up(attacks=tuple(one for one in records.ATTACKS if one != name))
        found = _verdict(record)
        assert found["case"] == "inconclusive"
        assert name.replace("_", " ") in found["words"]
        assert name.replace("_", " ") in record["notes"][-1]

    def test_a_teacher_fails_all_the_same(self, records: ModuleType) -> None:
        record = records.made_up(
            {"nasty": (0.96, {**records.FAILS, "hard_label": 0.945})}, attacks=("no_teacher", "kd", "hard_label")
        )
        assert _verdict(record)["case"] == "fails"


def test_who_has_images_can_do_without_them(records: ModuleType) -> None:
    """The data-free attacker counts in every regime, and has a row of its own beside."""
    ordinary, reached = {**records.ORDINARY, "cake": 0.955}, {**records.PROTECTS, "cake": 0.95}
    record = records.made_up({"protected": (0.964, reached)}, ordinary=ordinary)
    best = record["summary"]["protected"]["regimes"]["labelled"]["students"]["mlp:widths=12-12"]["best"]
    assert (best["attack"], best["ordinary_best"]["attack"]) == ("cake", "cake")
    assert _verdict(record)["case"] == "fails"
    assert "CAKE takes the student to 95.0 %" in _verdict(record)["words"]


def test_where_labels_are_scarce_the_class_alone_is_a_yardstick(records: ModuleType) -> None:
    record = records.made_up(regimes=("partial:0.1",), alone={"ce": 0.80, "ls": 0.81})
    student = record["summary"]["protected"]["regimes"]["partial:0.1"]["students"]["mlp:widths=12-12"]
    assert student["alone_kind"] == "hard_label"
    assert _verdict(record)["case"] == "protects"


def test_what_costs_the_owner_more_than_the_best_attacker_fails_where_plain_distillation_suffers(
    records: ModuleType,
) -> None:
    """Nasty at the higher weight on the digits: plain distillation loses far more than the owner, the best does not."""
    reached = {"kd": 0.83, "hard_label": 0.927, "composition": 0.936, "skeptical": 0.927}
    found = _verdict(records.made_up({"nasty": (0.891, reached)}))
    assert found["case"] == "fails"


def test_it_fails_where_part_of_the_gain_is_left(records: ModuleType) -> None:
    ordinary = {**records.ORDINARY, "kd": 0.99}
    reached = {**records.PROTECTS, "composition": 0.95}
    found = _verdict(records.made_up({"half": (0.965, reached)}, ordinary=ordinary))
    assert found["case"] == "fails"
    assert "4.0 points (3.8 to 4.2) below the best student of the ordinary teacher" in found["words"]


def test_there_is_nothing_to_protect_where_the_ordinary_teacher_helps_nobody(records: ModuleType) -> None:
    useless = dict.fromkeys(records.ORDINARY, 0.931)
    found = _verdict(records.made_up({"worse": (0.925, records.WORSENS)}, ordinary=useless))
    assert found["case"] == "inconclusive"
    assert found["words"].startswith("There is nothing to protect here: the best student of the ordinary teacher is")


def test_a_student_who_surely_gains_shows_that_there_was_something(records: ModuleType) -> None:
    """Whether or not the ordinary teacher's students gain as surely."""
    useless = dict.fromkeys(records.ORDINARY, 0.931)
    found = _verdict(records.made_up({"worse": (0.96, records.FAILS)}, ordinary=useless))
    assert found["case"] == "fails"


def test_a_gain_within_the_margin_is_none(records: ModuleType) -> None:
    """Half a point above a student alone, surely, is not what a teacher fails by."""
    reached = {**records.PROTECTS, "composition": 0.937}
    found = _verdict(records.made_up({"half": (0.964, reached)}))
    assert found["case"] != "fails"


def test_one_seed_shows_no_spread(records: ModuleType) -> None:
    record = records.made_up({"nasty": (0.96, records.FAILS)}, seeds=(4,))
    best = record["summary"]["nasty"]["regimes"]["labelled"]["students"]["mlp:widths=12-12"]["best"]
    assert best["against_alone"]["low"] == best["against_alone"]["value"] == best["against_alone"]["high"]
    found = _verdict(record)
    assert found["case"] == "inconclusive"
    assert "one seed shows no spread" in found["words"]


def test_the_worst_student_and_regime_decide(records: ModuleType) -> None:
    record = records.made_up(students=("small", "large"), regimes=("labelled", "unlabelled"))
    assert [one["case"] for one in _verdict(record)["findings"]] == ["protects"] * 4
    for cell in record["cells"]:
        if (cell["teacher"], cell["regime"], cell["student"]) == ("protected", "unlabelled", "large"):
            cell["accuracy"] += 0.015
    found = _verdict(records.completed(record))
    assert [one["case"] for one in found["findings"]] == ["protects", "protects", "protects", "fails"]
    assert (found["case"], found["regime"], found["student"]) == ("fails", "unlabelled", "large")
    assert "regime unlabelled, student large, and alike in 1 of 4" in found["words"]


def test_a_pair_that_has_nothing_to_protect_leaves_the_verdict_to_the_others(records: ModuleType) -> None:
    record = records.made_up(students=("small", "large"))
    for cell in record["cells"]:
        if (cell["teacher"], cell["student"]) == ("ordinary", "large"):
            cell["accuracy"] -= 0.02
    found = _verdict(records.completed(record))
    assert [one["case"] for one in found["findings"]] == ["protects", "inconclusive"]
    assert found["case"] == "protects"


class TestNoHeadline:
    """Where an attacker of the least set is missing there is no worst case."""

    @pytest.mark.parametrize(
        ("gone", "words"),
        [
            ({"attack": "no_teacher", "variant": "smoothing=0"}, "students without a teacher (labelled, mlp"),
            ({"attack": "no_teacher", "variant": "smoothing=0.1"}, "students without a teacher, on smoothed labels ("),
            ({"attack": "hard_label"}, "the hard-label attack on ordinary (labelled"),
            ({"attack": "hard_label", "teacher": "protected"}, "the hard-label attack on protected (labelled"),
            (
                {"attack": "kd", "variant": "temperature=1,squared_factor=true", "teacher": "protected"},
                "plain KD at temperature 1 and at another from protected (labelled",
            ),
        ],
    )
    def test_of_what_is_missing(self, records: ModuleType, gone: dict[str, str], words: str) -> None:
        record = records.made_up()
        cells = [cell for cell in record["cells"] if any(cell[name] != value for name, value in gone.items())]
        assert len(cells) < len(record["cells"])
        record = records.completed({**record, "cells": cells})
        assert len(record["headline_missing"]) >= 1
        assert record["headline_missing"][0].startswith(words)
        assert record["summary"]["protected"]["regimes"]["labelled"]["headline"] is None
        found = _verdict(record)
        assert found["case"] == "no_headline"
        assert words in found["words"]
        assert "The owner loses" in found["words"]

    def test_unlabelled_attackers_need_no_student_alone(self, records: ModuleType) -> None:
        record = records.made_up(regimes=("unlabelled",))
        assert record["headline_missing"] == []
        student = record["summary"]["protected"]["regimes"]["unlabelled"]["students"]["mlp:widths=12-12"]
        assert student["alone_kind"] == "hard_label"
        assert student["alone"] == student["attacks"]["hard_label"]["ordinary"]


def test_data_free_attackers_are_shown_and_not_judged(records: ModuleType) -> None:
    ordinary, reached = {**records.ORDINARY, "cake": 0.7}, {**records.PROTECTS, "cake": 0.69}
    record = records.made_up(
        {"protected": (0.964, reached)},
        ordinary=ordinary,
        regimes=("labelled", "data_free"),
        attacks=(*records.ATTACKS, "cake"),
    )
    assert record["summary"]["protected"]["regimes"]["data_free"]["headline"] is None
    assert [one["regime"] for one in _verdict(record)["findings"]] == ["labelled"]
    assert _verdict(record)["case"] == "protects"


def test_one_pair_of_teachers_is_judged_over_test_images(records: ModuleType) -> None:
    record = records.made_up({"worse": (0.925, records.WORSENS)}, own_teachers=False)
    cost = record["summary"]["worse"]["cost"]
    assert (cost["n"], cost["over"]) == (1, "images")
    assert cost["low"] == pytest.approx(0.04 - 1.959964 * ((0.05 - 0.04**2) / 397) ** 0.5)  # 5 % told apart
    assert "over test images, for one pair of teachers" in _verdict(record)["words"]


def test_doubt_about_the_owner_s_loss_is_doubt_about_what_students_lose_beyond_it(records: ModuleType) -> None:
    """Students lose 1.9 points, surely; one pair of teachers on 397 images cannot tell that from the owner's loss."""
    record = records.made_up(own_teachers=False)
    best = record["summary"]["protected"]["regimes"]["labelled"]["students"]["mlp:widths=12-12"]["best"]
    assert best["protection"]["low"] > 0.015
    assert best["beyond_cost"]["low"] < 0.01
    assert _verdict(record)["case"] == "inconclusive"


def test_an_owner_who_gains_is_said_to_gain(records: ModuleType) -> None:
    assert (
        "The owner gains 0.3 points of accuracy." in _verdict(records.made_up({"x": (0.968, records.FAILS)}))["words"]
    )
