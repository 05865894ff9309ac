"""The MNIST study of resistance: its commands can be read, and what is kept names no place of this machine."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from understudy import catalogue
from understudy.methods.protector import Protector
from understudy.study.resistance_attacks import split_attacks
from understudy.study.resistance_job import make_resistance


@pytest.fixture(scope="module")
def module(program: Callable[[str], ModuleType]) -> ModuleType:
    return program("resistance_mnist")


def flag(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


def test_ordinary_teachers_come_first_and_the_others_refer_to_them(module: ModuleType, tmp_path: Path) -> None:
    commands = list(module.commands(module.Setting(), tmp_path, [0, 5]))
    assert len(commands) == 2 * len(module.TEACHERS) + 1
    assert [words[:2] for words in commands[:2]] == [["train", "supervised"], ["protect", "nasty_teacher"]]
    for words in commands[:-1]:
        assert catalogue.entry(words[1]).verb == words[0]
        if words[0] == "protect":
            assert flag(words, "--reference") == str(tmp_path / f"ordinary-s{flag(words, '--seed')}")
            assert issubclass(catalogue.load(words[1]), Protector)


def test_the_study_is_one_that_can_be_asked_for(module: ModuleType, tmp_path: Path) -> None:
    """Every attacker, option and regime is known; the data-free one draws what the setting says."""
    setting = module.Setting()
    words = list(module.commands(setting, tmp_path, [0, 1, 2]))[-1]
    first = words.index("--teachers") + 1
    teachers = dict(word.split("=", 1) for word in words[first : words.index("--students")])
    assert set(teachers) == set(module.TEACHERS)
    assert teachers["nasty"] == f"{tmp_path}/nasty-s{{seed}}"
    job = make_resistance(
        {
            "data": setting.data,
            "queries": setting.queries,
            "teachers": teachers,
            "students": list(setting.students),
            "attacks": split_attacks(flag(words, "--attacks")),
            "regimes": flag(words, "--regimes").split(","),
            "seeds": [0, 1, 2],
            "preset": flag(words, "--preset"),
        }
    )
    assert job.ordinary == "ordinary"
    names = {attack.name for attack in job.resolved()}
    assert {"no_teacher", "kd", "hard_label", "uniform_tail", "centred", "skeptical", "composition", "cake"} <= names


def test_what_is_kept_names_no_place(module: ModuleType, tmp_path: Path) -> None:
    runs, results = tmp_path / "somewhere", tmp_path / "results"
    record = {"teachers": {"ordinary": f"{runs}/ordinary-s{{seed}}"}}
    for folder, names in {
        "study": ("resistance.html", "resistance.json", "config.toml"),
        **{f"{name}-s0": ("result.json", "config.toml") for name in module.TEACHERS},
    }.items():
        (runs / folder).mkdir(parents=True)
        for name in names:
            (runs / folder / name).write_text(json.dumps(record))
    module.keep(runs, [0], results)
    kept = sorted(path for path in results.rglob("*") if path.is_file())
    assert len(kept) == 3 + 2 * len(module.TEACHERS)
    assert all(str(tmp_path) not in path.read_text() for path in kept)
    found = json.loads((results / "resistance.json").read_text())
    assert found["teachers"]["ordinary"] == "runs/resistance_mnist/ordinary-s{seed}"
