"""The verdict on a method under attack follows from the numbers: made-up studies for each case."""

from typing import Any

import pytest

from understudy.report._format import NBSP, points
from understudy.study.withstand_verdict import CASES, subject, verdict


def _verdict(record: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = record["verdict"]
    assert found["case"] in CASES
    assert found["words"] == " ".join(found["sentences"])
    return found


class TestCases:
    """Static gains alone, gains that hold, none at all, and those that clean accuracy pays for."""

    def test_the_adaptive_attacker_takes_the_static_gain_away(self, studies: Any) -> None:
        found = _verdict(studies.made_up(studies.STATIC_ONLY))
        assert found["case"] == "static_only"
        assert found["sentences"][:3] == [
            "An attacker who adapts takes the gain of AdpMixup away.",
            "Mean of clean and attacked accuracy against the clean adapter, on the same 60 sentences: static +20.9 "
            "points (+19.5 to +22.3), adaptive \N{MINUS SIGN}0.3 points (\N{MINUS SIGN}1.7 to +1.1).",
            "Clean accuracy against it: \N{MINUS SIGN}0.5 points (\N{MINUS SIGN}0.9 to \N{MINUS SIGN}0.1).",
        ]

    def test_a_small_rest_is_most_of_it_taken_away(self, studies: Any) -> None:
        rest = (0.858, (0.493, 0.500, 0.507), (0.183, 0.350, 0.200))
        found = _verdict(studies.made_up(rest))
        assert found["case"] == "static_only"
        assert "takes most of the gain" in found["sentences"][0]

    def test_it_holds(self, studies: Any) -> None:
        found = _verdict(studies.made_up(studies.HOLDS))
        assert found["case"] == "holds_adaptive"
        assert found["sentences"][0].endswith("holds against an attacker who adapts.")

    def test_clean_accuracy_pays(self, studies: Any) -> None:
        found = _verdict(studies.made_up(studies.COSTLY))
        assert found["case"] == "costs_clean"
        assert "Clean accuracy against it: \N{MINUS SIGN}11.8 points" in found["words"]

    def test_that_the_gain_is_gone_comes_before_what_it_costs(self, studies: Any) -> None:
        clean, static, _ = studies.COSTLY
        found = _verdict(studies.made_up((clean, static, studies.SLOT_0[2])))
        assert found["case"] == "static_only"
        assert "11.8 points" in found["words"]

    def test_no_gain(self, studies: Any) -> None:
        found = _verdict(studies.made_up(studies.IDLE))
        assert found["case"] == "no_gain"
        assert "gains nothing over the clean adapter" in found["words"]

    def test_the_margin_decides_what_counts_as_a_gain(self, studies: Any) -> None:
        little = (0.863, (0.207, 0.300, 0.213), (0.103, 0.270, 0.110))
        record = studies.made_up(little, spread=0.0)
        assert verdict(record, margin=0.02)["case"] == "no_gain"
        assert verdict(record, margin=0.01)["case"] == "holds_adaptive"


class TestUndecided:
    """What has one seed, too much chance, or no attacker who adapts, is not decided."""

    def test_one_seed(self, studies: Any) -> None:
        found = _verdict(studies.made_up(studies.HOLDS, seeds=(0,)))
        assert found["case"] == "inconclusive"
        assert found["sentences"][0] == "One seed decides nothing on AdpMixup."

    def test_one_seed_still_tells_that_the_gain_is_gone(self, studies: Any) -> None:
        found = _verdict(studies.made_up(studies.STATIC_ONLY, seeds=(0,)))
        assert found["case"] == "inconclusive"
        assert "an attacker who adapts takes the gain away" in found["sentences"][0]

    def test_one_seed_with_an_interval_over_sentences_is_still_one(self, studies: Any) -> None:
        record = studies.made_up(studies.HOLDS, seeds=(0,))
        record["gains"]["clean"]["adaptive_mean"] = {"value": 0.2, "low": 0.15, "high": 0.25, "n": 60}
        assert verdict(record)["case"] == "inconclusive"

    def test_seeds_at_which_the_method_failed_do_not_count(self, studies: Any) -> None:
        record = studies.made_up(studies.HOLDS)
        subject = verdict(record)["subject"]
        for seed in list(record["per_seed"])[1:]:
            record["per_seed"][seed][subject] = None
        assert verdict(record)["case"] == "inconclusive"

    def test_seeds_that_lie_too_far_apart(self, studies: Any) -> None:
        found = _verdict(studies.made_up(spread=0.2))
        assert found["case"] == "inconclusive"
        assert "may be chance" in found["sentences"][0]

    def test_a_sure_static_gain_and_an_unsure_adaptive_one(self, studies: Any) -> None:
        record = studies.made_up(studies.HOLDS)
        record["gains"]["clean"]["adaptive_mean"] |= {"low": -0.05, "high": 0.4}
        found = verdict(record)
        assert found["case"] == "inconclusive"
        assert "left open" in found["words"]

    def test_no_attacker_who_adapts(self, studies: Any) -> None:
        found = _verdict(studies.made_up(adaptive=False))
        assert found["case"] == "inconclusive"
        assert "No attacker who adapts was let loose" in found["words"]
        assert "against the clean adapter: static +20.9 points (+19.5 to +22.3) on 150 sentences." in found["words"]
        assert "adaptive" not in found["words"]

    def test_no_attack(self, studies: Any) -> None:
        found = _verdict(studies.made_up(attacks=()))
        assert found["case"] == "no_attacks"
        assert "nothing can be said of robustness" in found["words"]

    def test_no_gains_on_file(self, studies: Any) -> None:
        found = verdict(studies.made_up() | {"gains": {}})
        assert found["case"] == "inconclusive"
        assert "Nothing was measured" in found["words"]


class TestChance:
    """A clean adapter that is not surely better than chance leaves nothing to judge."""

    @pytest.mark.parametrize(("low", "case"), [(0.55, "inconclusive"), (0.551, "holds_adaptive")])
    def test_of_two_classes(self, studies: Any, low: float, case: str) -> None:
        record = studies.made_up(studies.HOLDS)
        record["scores"]["clean"]["clean"] |= {"value": 0.6, "low": low, "high": 0.65}
        found = verdict(record)
        assert found["case"] == case
        assert found["sentences"][0].startswith("The clean adapter is not surely better than chance") == (low == 0.55)

    def test_of_more_classes(self, studies: Any) -> None:
        record = studies.made_up(studies.HOLDS)
        record["data"]["classes"] = ["a", "b", "c", "d"]
        record["scores"]["clean"]["clean"] |= {"value": 0.35, "low": 0.31, "high": 0.39}
        assert verdict(record)["case"] == "holds_adaptive"


class TestSameSentences:
    """What is left of a static gain is counted on the sentences of the adaptive attacks."""

    @pytest.mark.parametrize(("common", "case"), [(0.15, "holds_adaptive"), (0.30, "static_only")])
    def test_what_is_kept(self, studies: Any, common: float, case: str) -> None:
        record = studies.made_up(studies.HOLDS)
        gain = record["gains"]["clean"]
        gain["static_mean"] |= {"value": 0.22, "low": 0.2, "high": 0.24}
        gain["adaptive_mean"] |= {"value": 0.12, "low": 0.1, "high": 0.14}
        gain["static_common_mean"] = {"value": common, "low": 0.1, "high": 0.4, "n": 3}
        found = verdict(record)
        assert found["case"] == case
        assert f"on the same 60 sentences: static +{100 * common:.1f} points" in found["words"]

    def test_an_older_record_names_both_numbers_of_sentences(self, studies: Any) -> None:
        record = studies.made_up()
        for gain in record["gains"].values():
            del gain["static_common_mean"]
        said = verdict(record)["sentences"][1]
        assert "+22.3) on 150 sentences, adaptive" in said
        assert said.endswith(" on 60 sentences.")


@pytest.mark.parametrize("value", [-0.0125, 0.0125, 0.1245, -0.00049])
def test_points_are_rounded_as_on_the_page(studies: Any, value: float) -> None:
    record = studies.made_up()
    record["gains"]["clean"]["clean"] = {"value": value, "low": value, "high": value, "n": 3}
    shown = points(value).replace(NBSP, " ")
    assert f"Clean accuracy against it: {shown}." in verdict(record)["words"]


class TestWhom:
    """The verdict is about the first AdpMixup, else about the first method beside the clean adapter."""

    def test_adpmixup_before_others(self, studies: Any) -> None:
        record = studies.made_up()
        assert [one["key"] for one in record["methods"]][:2] == ["clean", "adpmixup"]
        turned = record | {"methods": record["methods"][::-1]}
        assert subject(turned) == "adpmixup:rule=pairwise"

    def test_another_method_alone(self, studies: Any) -> None:
        record = studies.made_up()
        alone = record | {"methods": [one for one in record["methods"] if one["key"] in ("clean", "freelb")]}
        assert subject(alone) == "freelb"

    def test_the_clean_adapter_alone(self, studies: Any) -> None:
        record = studies.made_up()
        found = verdict(record | {"methods": record["methods"][:1]})
        assert (found["case"], found["subject"]) == ("inconclusive", None)
        assert "nothing to compare" in found["words"]

    def test_it_is_called_by_its_label(self, studies: Any) -> None:
        record = studies.made_up()
        record["methods"][1]["label"] = "AdpMixup (rule pairwise)"
        assert verdict(record)["sentences"][0].endswith("the gain of AdpMixup (rule pairwise) away.")


class TestRivals:
    """The strongest other method of each protocol stands in the verdict, and whether it is ahead."""

    def test_one_behind_and_one_ahead(self, studies: Any) -> None:
        last = _verdict(studies.made_up())["sentences"][-1]
        assert last == (
            "Against the best of the others: static +4.2 points (AdpMixup, pairwise), adaptive \N{MINUS SIGN}1.4 "
            "points (Adversarial training, which may be chance)."
        )

    def test_none(self, studies: Any) -> None:
        assert "best of the others" not in _verdict(studies.made_up(rivals={}))["words"]

    @pytest.mark.parametrize("difference", [0.0, 0.0004, -0.0004])
    def test_level(self, studies: Any, difference: float) -> None:
        record = studies.made_up(studies.IDLE)
        record["gains"]["clean"]["clean"] = {"value": difference, "low": -0.01, "high": 0.01, "n": 3}
        assert "Clean accuracy against it: 0.0 points (" in verdict(record)["words"]
