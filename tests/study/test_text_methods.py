"""Methods and attacks of a study of text, as command lines name them."""

from typing import Any

import pytest

from understudy import catalogue
from understudy.errors import ConfigError
from understudy.study.text_job import make_settings
from understudy.study.text_methods import choose_methods, split_methods
from understudy.study.text_run import model_rows
from understudy.study.withstand_job import make_withstand

GIVEN = {"backbone": "tiny", "data": "reviews"}


def test_options_are_set_and_become_part_of_the_key() -> None:
    specs = split_methods("adapter_soup, adpmixup:rule=pairwise:epochs=3,quantile=0,adpmixup:clean_epochs=5")
    assert specs == ["adapter_soup", "adpmixup:rule=pairwise:epochs=3:quantile=0", "adpmixup:clean_epochs=5"]
    soup, pairwise, longer = choose_methods(specs)
    assert soup.key == "adapter_soup"
    assert pairwise.key == "adpmixup:rule=pairwise:epochs=3:quantile=0"
    assert pairwise.label == "AdpMixup (pairwise, epochs 3, quantile 0)"
    assert pairwise.method.fit.epochs == 3
    assert pairwise.method.clean_epochs != 5
    assert longer.method.clean_epochs == 5
    assert longer.method.fit.epochs != 3


@pytest.mark.parametrize(
    ("spec", "label"),
    [
        ("adversarial_adapter:attack=deepwordbug", "Adversarial adapter (deepwordbug)"),
        ("adversarial_training:preset=reviews", "Adversarial training (reviews)"),
        ("adversarial_training:iterative=true", "Adversarial training (iterative)"),
        ("adpmixup:head_policy=clean", "AdpMixup (head policy clean)"),
        ("adapter_soup", "Adapter soup"),
        ("amda:mix=smix", "MixADA (smix)"),
        ("freelb", "FreeLB"),
        ("mixkd", "MixKD"),
    ],
)
def test_tables_call_methods_by_plain_words(spec: str, label: str) -> None:
    assert choose_methods([spec])[0].label == label


def test_every_method_on_text_has_a_label() -> None:
    assert all(one.label for one in catalogue.METHODS.values() if one.verb == "adapt")


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
    with pytest.raises(ConfigError, match=r"none of the methods has a preset(.|\n)*did you mean 'reviews'"):
        choose_methods(["clean_adapter", "adpmixup"], preset="reveiws")


@pytest.mark.parametrize(
    ("options", "flag", "expected"),
    [
        ({"fit": {"learning_rate": -1.0}}, "--learning-rate", "greater than 0"),
        ({"gate": {"beta": 1.5}}, "--beta", "less than or equal to 1"),
        ({"n_adv": "many"}, "--n-adv", "a valid integer"),
        ({"adapter": {"kind": "pfeifer"}}, "--kind", "'lora', 'pfeiffer' or 'houlsby'"),
    ],
)
def test_a_value_out_of_range_is_told_by_its_flag(options: dict[str, Any], flag: str, expected: str) -> None:
    with pytest.raises(ConfigError) as told:
        choose_methods(["adpmixup"], options=options)
    assert f"{flag} cannot be" in str(told.value)
    assert f"where:    {flag}\n" in str(told.value)
    assert f"expected: {expected}" in str(told.value)


def test_a_value_out_of_range_of_a_spec_or_of_the_settings_is_told_where_it_stands() -> None:
    with pytest.raises(ConfigError, match=r"beta cannot be '1.5'\n  where:    --methods, 'adpmixup:beta=1.5'"):
        choose_methods(["adpmixup:beta=1.5"])
    with pytest.raises(ConfigError, match=r"--max-length cannot be 0\n  where:    --max-length\n  expected: greater"):
        make_settings({**GIVEN, "max_length": 0})
    with pytest.raises(ConfigError, match="--seeds cannot be -1"):
        make_withstand({"methods": ["adpmixup"], "seeds": [-1], "text": GIVEN})


def test_a_seed_that_is_named_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"seed 1 is named twice\n  where:    --seeds"):
        make_withstand({"methods": ["adpmixup"], "seeds": [0, 1, 1], "text": GIVEN})


def test_numbers_of_sentences_that_were_not_given_make_room_for_those_that_were() -> None:
    few, many = make_settings({**GIVEN, "rows": 5}), make_settings({**GIVEN, "rows": 100000})
    assert (few.adaptive_rows, few.clean_rows) == (5, 1000)
    assert (many.adaptive_rows, many.clean_rows) == (60, 100000)
    assert make_settings(GIVEN).adaptive_rows == 60


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
        ({"known": "deepwordbug", "unknown": "deepwordbug:queries=100"}, "known and unknown at once"),
        ({"known": "pwws:max_candidates=8:queries=9", "unknown": "pwws:max_candidates=8"}, "known and unknown at once"),
        ({"known": "deepwordbug,deepwordbug"}, "twice"),
        ({"rows": 10, "adaptive_rows": 11}, "adaptive"),
        ({"wordnet": "none_such"}, "no attack asked for uses --wordnet"),
        ({"known": "textfooler", "vectors": "v.txt", "synonyms": "s.json"}, "no attack asked for uses --synonyms"),
        ({"similarity_encoder": "all-mini"}, "--similarity-encoder"),
        ({"known": "deepwordbag"}, "where:    --known"),
        ({"unknown": "textbugger:queries=0"}, "where:    --unknown textbugger:queries=0"),
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


def test_an_attack_with_other_options_is_another_attack() -> None:
    known, unknown = make_settings({**GIVEN, "known": "pwws:max_candidates=8", "unknown": "pwws"}).attacks()
    assert [one.spec for one in (*known, *unknown)] == ["pwws:max_candidates=8", "pwws"]


def test_the_budget_of_the_study_is_that_of_attacks_without_their_own() -> None:
    settings = make_settings({**GIVEN, "known": "deepwordbug,textbugger:queries=9", "queries": 50})
    known, unknown = settings.attacks()
    assert [one.queries for one in known] == [50, 9]
    assert unknown == ()
