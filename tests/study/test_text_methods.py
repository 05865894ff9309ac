"""Methods and attacks of a study of text, as command lines name them."""

from typing import Any

import pytest

from understudy.errors import ConfigError
from understudy.study.text_job import make_settings
from understudy.study.text_methods import choose_methods, split_methods
from understudy.study.text_run import model_rows

GIVEN = {"backbone": "tiny", "data": "reviews"}


def test_options_are_set_and_become_part_of_the_key() -> None:
    specs = split_methods("adapter_soup, adpmixup:rule=pairwise:epochs=3,quantile=0,adpmixup:clean_epochs=5")
    assert specs == ["adapter_soup", "adpmixup:rule=pairwise:epochs=3:quantile=0", "adpmixup:clean_epochs=5"]
    soup, pairwise, longer = choose_methods(specs)
    assert soup.key == "adapter_soup"
    assert pairwise.key == "adpmixup:rule=pairwise:epochs=3:quantile=0"
    assert pairwise.label == "AdpMixup (rule pairwise, epochs 3, quantile 0)"
    assert pairwise.method.fit.epochs == 3
    assert pairwise.method.clean_epochs != 5
    assert longer.method.clean_epochs == 5
    assert longer.method.fit.epochs != 3


def test_common_options_and_presets_reach_every_method_that_has_them() -> None:
    chosen = choose_methods(["adversarial_training", "adpmixup", "adpmixup:preset=paper"], preset="reviews",
                            options={"n_adv": 7, "fit": {"epochs": 2}, "anchor_ratio": 0.5})  # fmt: skip
    assert [one.method.n_adv for one in chosen] == [7, 7, 7]
    assert [one.method.fit.epochs for one in chosen] == [2, 2, 2]
    assert [one.preset for one in chosen] == ["reviews", "reviews", "paper"]
    assert chosen[2].key == "adpmixup:preset=paper"
    assert chosen[2].method.model_dump()["gate"]["rule"] == "pairwise"


@pytest.mark.parametrize(
    ("specs", "words"),
    [
        (["adpmixdown"], "there is no method 'adpmixdown'"),
        (["kd"], "no method of `understudy adapt`"),
        (["adpmixup:rule"], "cannot read 'rule'"),
        (["adpmixup:roole=hard"], "'roole' is no option"),
        (["adpmixup:rule=hardest"], "rule"),
        (["adpmixup:beta=1.5"], "beta"),
        (["adpmixup:rule=hard:rule=hard"], "given twice"),
        (["adpmixup", "adpmixup:rule=clean_range"], "listed twice"),
        (["adpmixup:preset=none_such"], "no preset"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_is_wrong(specs: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        choose_methods(specs)


def test_an_empty_method_and_a_preset_that_nothing_has_are_refused() -> None:
    with pytest.raises(ConfigError, match="empty method"):
        split_methods("adpmixup,,adapter_soup")
    with pytest.raises(ConfigError, match="none of the methods has a preset"):
        choose_methods(["adpmixup"], preset="imagenet")


def test_slot_0_comes_first_whether_or_not_it_was_asked_for() -> None:
    alone = model_rows(choose_methods(["adpmixup:rank=4"]))
    assert [key for key, _ in alone] == ["clean", "adpmixup:rank=4"]
    assert alone[0][1].method.adapter.rank == 4  # the one that the first method starts from
    asked = model_rows(choose_methods(["adpmixup", "clean_adapter"]))
    assert [key for key, _ in asked] == ["clean", "adpmixup"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"known": "deepwordbag"}, "deepwordbag"),
        ({"known": "deepwordbug", "unknown": "deepwordbug"}, "known and unknown at once"),
        ({"known": "deepwordbug,deepwordbug"}, "twice"),
        ({"rows": 10}, "adaptive"),
        ({"clean_rows": 100}, "clean accuracy"),
        ({"rows": 0}, "rows"),
        ({"backbone": None}, "--backbone is missing"),
        ({"data": None}, "--data is missing"),
        ({"attacks": "deepwordbug"}, "no option here"),
    ],
)
def test_settings_that_mean_nothing_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_settings({**GIVEN, **values})


def test_the_budget_of_the_study_is_that_of_attacks_without_their_own() -> None:
    settings = make_settings({**GIVEN, "known": "deepwordbug,textbugger:queries=9", "queries": 50})
    known, unknown = settings.attacks()
    assert [one.queries for one in known] == [50, 9]
    assert unknown == ()
