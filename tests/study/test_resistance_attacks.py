"""Attackers as text: suites, options, variants, and what is refused by name."""

from typing import Any

import pytest

from understudy.errors import ConfigError
from understudy.methods.attackers.hard_label import HardLabel
from understudy.study.resistance_attacks import SUITES, Attack, make_attacks, split_attacks, variant_key


def _made(*specs: str, preset: str | None = None, **tables: Any) -> dict[str, Attack]:
    given: dict[str, Any] = {"options": {}, "options_of": {}, **tables}
    return {attack.name: attack for attack in make_attacks(specs, preset=preset, **given)}


def _keys(attack: Attack) -> list[str]:
    return [one.key for one in attack.variants]


def test_commas_before_a_key_belong_to_the_spec_that_they_stand_in() -> None:
    assert split_attacks("standard, kd:temperature=1|4 , alpha=0.5,hard_label") == [
        "standard",
        "kd:temperature=1|4,alpha=0.5",
        "hard_label",
    ]


def test_bars_span_variants_with_values_of_their_type() -> None:
    kd = _made("kd:temperature=1|20,squared_factor=true|false")["kd"]
    assert [dict(one.options) for one in kd.variants] == [
        {"temperature": 1.0, "squared_factor": True},
        {"temperature": 1.0, "squared_factor": False},
        {"temperature": 20.0, "squared_factor": True},
        {"temperature": 20.0, "squared_factor": False},
    ]
    assert _keys(kd)[-1] == "temperature=20,squared_factor=false"
    assert [one.method.model_dump()["temperature"] for one in kd.variants] == [1.0, 1.0, 20.0, 20.0]


def test_an_option_of_the_training_can_be_varied_too() -> None:
    kd = _made("kd:learning_rate=0.05|0.2")["kd"]
    assert [one.method.model_dump()["fit"]["learning_rate"] for one in kd.variants] == [0.05, 0.2]


def test_a_name_that_stands_twice_has_the_variants_of_both_once() -> None:
    assert _keys(_made("kd:temperature=1|4", "kd:temperature=4|8")["kd"]) == [
        "temperature=1",
        "temperature=4",
        "temperature=8",
    ]
    assert _keys(_made("standard", "kd:temperature=8")["kd"])[-1] == "temperature=8"


def test_values_come_from_preset_common_options_own_options_and_the_spec_in_this_order() -> None:
    made = _made(
        "hard_label",
        "composition:beta=0.3",
        preset="digits",
        options={"flip": True, "fit": {"epochs": 3}},
        options_of={"hard_label": {"smoothing": 0.2}, "composition": {"beta": 0.9, "flip": False}},
    )
    hard, composed = (made[name].variants[0].method.model_dump() for name in ("hard_label", "composition"))
    digits = HardLabel.preset("digits").model_dump()
    assert hard == {**digits, "smoothing": 0.2, "flip": True, "fit": {**digits["fit"], "epochs": 3}}
    assert (composed["beta"], composed["flip"]) == (0.3, False)


def test_common_options_are_for_attackers_that_learn_from_images() -> None:
    cake = _made("cake", preset="digits", options={"fit": {"epochs": 1}})["cake"].variants[0].method
    assert cake.model_dump()["fit"]["epochs"] == 20


def test_attackers_stand_in_the_regimes_in_which_they_can_be() -> None:
    made = _made("no_teacher", "kd", "cake")
    listed = ("labelled", "partial:0.1", "unlabelled", "data_free")
    assert made["no_teacher"].regimes(listed) == ("labelled", "partial:0.1")
    assert made["kd"].regimes(listed) == ("labelled", "partial:0.1", "unlabelled")
    assert made["cake"].regimes(listed) == ("data_free",)


@pytest.mark.parametrize("suite", SUITES)
def test_each_suite_has_what_a_headline_needs(suite: str) -> None:
    made = _made(suite, preset="digits")
    assert {one.options["smoothing"] == 0 for one in made["no_teacher"].variants} == {True, False}
    assert 1.0 in {one.options["temperature"] for one in made["kd"].variants}
    assert "hard_label" in made


def test_the_standard_suite_is_the_least_set_of_a_worst_case() -> None:
    made = _made("standard")
    assert {"uniform_tail", "centred", "composition", "skeptical", "averaging", "recovery", "cake"} <= set(made)
    kd = {(one.options["temperature"], one.options.get("squared_factor")) for one in made["kd"].variants}
    assert kd == {(1.0, None), (4.0, True), (4.0, False), (20.0, True), (20.0, False)}


def test_keys_are_short_and_can_be_typed_again() -> None:
    assert variant_key({"temperature": 4.0, "squared_factor": False, "mode": "swap"}) == (
        "temperature=4,squared_factor=false,mode=swap"
    )
    assert variant_key({}) == "as-is"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "an empty attack"),
        ("kd,,hard_label", "an empty attack"),
        ("kdd", "there is no attack 'kdd'"),
        ("standrd", "did you mean 'standard'"),
        ("rslad", "there is no attack 'rslad'"),
        ("supervised", "there is no attack 'supervised'"),
        ("kd:", "cannot read 'kd:' as an attack"),
        ("kd:4", "cannot read '4' as an option"),
        ("kd:temperature=", "cannot read 'temperature=' as an option"),
        ("kd:temperature=1||4", "as an option"),
        ("kd:temprature=1", "did you mean 'temperature'"),
        ("kd:temperature=1,temperature=4", "'temperature' is given twice"),
        ("kd:temperature=0", "temperature: Input should be greater than 0"),
        ("kd:temperature=hot", "temperature"),
        ("kd:alpha=1.5", "alpha: Input should be less than or equal to 1"),
        ("kd:labels_frac=0.5", "labels_frac is no option of an attack"),
        ("kd:defence=labels", "defence is no option of an attack"),
        ("kd:epochs=0", "epochs"),
    ],
)
def test_what_cannot_be_is_refused_by_name(spec: str, message: str) -> None:
    with pytest.raises(ConfigError, match=r"expected|to do") as caught:
        _made(*split_attacks(spec))
    assert message in str(caught.value)
    assert "--attacks" in str(caught.value)


def test_a_preset_that_an_attacker_lacks_is_refused() -> None:
    with pytest.raises(ConfigError, match="kd has no preset 'digitz'"):
        _made("kd", preset="digitz")
