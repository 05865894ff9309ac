"""Help answers at once, without torch, and tells what a user needs."""

import subprocess
import sys

import pytest
from pydantic import BaseModel

from understudy import catalogue
from understudy.cli.app import VERBS

METHODS = [(entry.verb, name) for name, entry in catalogue.METHODS.items()]


def test_help_and_lists_import_no_torch() -> None:
    # One process for all of them: a module that any of these calls imports stays imported.
    lines = [["--help"], ["--version"], ["methods"], ["methods", "--json"], ["distil", "--help"]]
    lines += [[verb, "--help"] for verb in VERBS if verb != "train"]
    program = f"""
import sys
from understudy.cli.app import run
for line in {lines!r}:
    assert run(line) == 0, line
    assert "torch" not in sys.modules, line
    assert "numpy" not in sys.modules, line
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_the_help_names_every_verb_and_the_first_step(cli) -> None:
    said = cli("--help")
    assert said.code == 0
    for verb, about in VERBS.items():
        assert f"│ {verb} " in said.out
        assert about.summary.split()[0] in said.out
    assert "understudy quickstart" in said.out


def test_no_word_at_all_is_answered_with_the_help(cli) -> None:
    assert cli().out == cli("--help").out
    assert cli("distil").out == cli("distil", "--help").out


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_shows_two_worked_examples(cli, verb: str) -> None:
    said = cli(verb, "--help")
    assert said.code == 0
    examples = said.out.partition("Examples:")[2]
    assert examples.count(f"understudy {verb}") >= 2
    lines = "\n".join(f"  {line}" for line in VERBS[verb].examples)
    assert lines in said.out  # none of them is wrapped
    assert max(map(len, said.out.splitlines())) <= 80


@pytest.mark.parametrize(("verb", "name"), METHODS)
def test_a_method_shows_its_source_presets_bounds_and_defaults(cli, verb: str, name: str) -> None:
    said = cli(verb, name, "--help")
    assert said.code == 0
    words = " ".join(said.out.replace("│", " ").split())
    assert catalogue.METHODS[name].summary in words
    assert catalogue.METHODS[name].paper in words
    cls = catalogue.load(name)
    for preset in cls.presets():
        assert f"\n  {preset} " in said.out
    for field, info in cls.model_fields.items():
        inner = info.annotation  # a table of options, such as `fit`, gives those under their own names
        table = isinstance(inner, type) and issubclass(inner, BaseModel)
        for option in inner.model_fields if table else [field]:
            assert f"--{option.replace('_', '-')} " in words
    assert "--learning-rate FLOAT Peak learning rate. (> 0; default:" in words
    assert "--seed INT Seed of every random stream of the run. (>= 0; default: 0)" in words
    assert said.out.count(f"understudy {verb} ") >= 2
    assert max(map(len, said.out.splitlines())) <= 80


def test_plain_train_shows_the_options_of_supervised_training(cli) -> None:
    assert cli("train", "--help").out == cli("train", "supervised", "--help").out


def test_methods_are_listed_by_need(cli) -> None:
    every = cli("methods", "--json").json
    assert every.keys() >= catalogue.METHODS.keys()
    weights = cli("methods", "--access", "weights", "--json").json
    assert "cake" in weights
    assert "kd" not in weights
    baselines = cli("methods", "--family", "baseline", "--json").json
    assert {row["family"] for row in baselines.values()} == {"baseline"}
    table = cli("methods").out
    assert all(name in table for name in catalogue.METHODS)
    assert max(map(len, table.splitlines())) <= 80


def test_an_unknown_family_lists_the_known_ones(refused) -> None:
    said = refused("methods", "--family", "zzz")
    assert "known: adapters, attackers, baseline, data_free, extraction, resistance, robust" in said
