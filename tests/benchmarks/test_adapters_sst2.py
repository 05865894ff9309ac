"""The study of SST-2: its commands are ones that the tool takes, and the properties are read off its records."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from understudy.study.text_methods import choose_methods, split_methods


@pytest.fixture(scope="module")
def program_of_sst2(program: Callable[[str], ModuleType]) -> ModuleType:
    return program("adapters_sst2")


def test_every_method_of_the_studies_is_there(program_of_sst2: ModuleType) -> None:
    for study in program_of_sst2.STUDIES:
        command = study.command(Path("runs"))
        listed = command[command.index("--methods") + 1]
        assert len(choose_methods(split_methods(listed), preset="sst2")) == len(study.methods)


def records() -> tuple[dict[str, Any], dict[str, Any]]:
    value = {"value": 0.9, "low": 0.8, "high": 1.0, "n": 3}
    gain = {"static_mean": {**value, "value": 0.1}, "clean": {**value, "value": -0.01}}
    counts = {"success": 60, "failed": 40}
    main = {
        "seeds": [0],
        "gather": {"deepwordbug": counts, "pwws": counts},
        "profile": {"roc": {"deepwordbug": value}},
        "gains": {"clean": gain, "adapter_soup": gain, "adpmixup:rule=pairwise": gain},
        "slots": [{"name": "pwws", "seed": 0, "clean_accuracy": value, "warning": None}],
    }
    low = {**value, "value": 0.3}
    more = {"slots": [{"name": "pwws", "seed": 0, "clean_accuracy": low, "warning": None}]}
    return main, more


def test_properties_are_told_whether_they_hold_or_not(program_of_sst2: ModuleType) -> None:
    main, more = records()
    found = {each.name: each.holds for each in program_of_sst2.properties(main, more, [0.82])}
    assert found == {
        "seed 0: validation accuracy of the clean adapter": False,
        "success rate of deepwordbug": True,
        "success rate of pwws": True,
        "area under the curve of the clean adapter's entropy, deepwordbug": True,
        "static gain of AdpMixup (clean_range) over the clean adapter": True,
        "clean accuracy of AdpMixup (clean_range) less the clean adapter's": True,
        "static gain of AdpMixup (clean_range) over its best rival (adapter_soup)": True,
        "seed 0: clean accuracy of the pwws slot with anchors": True,
        "a warning about the pwws slot without anchors": False,
    }
