"""What a study tells of slots and attacked sentences where methods made different ones of the same name."""

from collections.abc import Mapping
from typing import Any

from understudy.study.text_methods import choose_methods
from understudy.study.text_told import Model, gather_told, slots_told, warnings_told

KEYS = ("adpmixup:rule=pairwise", "adpmixup", "adpmixup:anchor_ratio=0")


def slot(sha256: str | None, value: float, warning: str | None = None) -> dict[str, Any]:
    told = {"name": "deepwordbug", "clean_accuracy": {"value": value}, "warning": warning}
    return told if sha256 is None else {**told, "sha256": sha256}


def gathered(sentences: int) -> dict[str, Any]:
    return {"sentences": sentences, "success": 3, "failed": 1, "skipped": 0, "no_candidates": 0, "queries_mean": 5.0}


def models(*facts: Mapping[int, Mapping[str, Any]]) -> list[Model]:
    return [Model(one.key, one, given) for one, given in zip(choose_methods(KEYS), facts, strict=False)]


def test_slots_of_one_name_are_told_apart_and_shared_ones_once() -> None:
    shared = {seed: {"slots": [slot(f"a{seed}", 0.8)]} for seed in (0, 1)}
    other = {0: {"slots": [slot("b0", 0.3, "deepwordbug is upside down")]}}
    told = slots_told(models(shared, shared, other))
    assert [(one["seed"], one["clean_accuracy"]["value"], one["models"]) for one in told] == [
        (0, 0.8, list(KEYS[:2])),
        (1, 0.8, list(KEYS[:2])),
        (0, 0.3, [KEYS[2]]),
    ]
    assert warnings_told([], told) == [f"Seed 0, {KEYS[2]}: deepwordbug is upside down"]
    assert warnings_told([], told[2:]) == ["Seed 0: deepwordbug is upside down"]


def test_slots_of_runs_without_hashes_are_told_once_a_name() -> None:
    facts = {0: {"slots": [slot(None, 0.8)]}}
    assert [one["models"] for one in slots_told(models(facts, facts))] == [list(KEYS[:2])]


def test_where_methods_attacked_other_sentences_the_first_one_counts() -> None:
    two, four = ({seed: {"gather": {"deepwordbug": gathered(many)}} for seed in (0, 1)} for many in (2, 4))
    found, alike = gather_told(models(four, two))
    assert found["deepwordbug"]["sentences"] == 8
    assert not alike
    found, alike = gather_told(models({0: four[0]}, four))
    assert found["deepwordbug"]["sentences"] == 8  # the second seed is another one
    assert alike
