"""Attacks on sentences by their names."""

import random
from pathlib import Path

import pytest

from understudy.attacks.text import (
    TEXT_ATTACKS,
    WITHOUT_RESOURCES,
    Record,
    Resources,
    Words,
    missing_resource,
    parse_text_attacks,
    text_attack,
)
from understudy.errors import ConfigError, DependencyError, IntegrityError


@pytest.mark.parametrize("name", TEXT_ATTACKS)
def test_every_name_stands_for_a_class_that_introduces_itself(name: str) -> None:
    attack = text_attack(name)
    assert attack.name == name
    assert all((attack.label, attack.summary, attack.paper, attack.__doc__))
    assert attack.fidelity in ("paper", "official", "instantiation")
    assert attack.level in ("character", "word")
    assert (name in WITHOUT_RESOURCES) == (attack.needs == ())
    assert all(info.description for info in attack.model_fields.values())


@pytest.mark.parametrize("name", WITHOUT_RESOURCES)
def test_character_attacks_need_nothing_and_say_what_holds_them_back(name: str) -> None:
    (attack,) = parse_text_attacks(name)
    attack.prepare(Resources())
    assert attack.constraints()


@pytest.mark.parametrize(
    ("text", "specs"),
    [
        ("deepwordbug", ["deepwordbug"]),
        (" DeepWordBug , textbugger ", ["deepwordbug", "textbugger"]),
        ("deepwordbug:queries=500", ["deepwordbug"]),
        ("deepwordbug:edits=5:queries=20", ["deepwordbug:queries=20:edits=5"]),
        ("textbugger: similarity = 0.8 :queries=none", ["textbugger:queries=none:similarity=0.8"]),
        ("deepwordbug,deepwordbug:queries=9", ["deepwordbug", "deepwordbug:queries=9"]),
        ("", []),
        ("none", []),
    ],
)
def test_specs_are_canonical(text: str, specs: list[str]) -> None:
    attacks = parse_text_attacks(text)
    assert [attack.spec for attack in attacks] == specs
    assert parse_text_attacks(",".join(specs)) == attacks


def test_a_budget_for_all_leaves_those_with_their_own() -> None:
    found = parse_text_attacks("deepwordbug,textbugger:queries=9,deepwordbug:queries=none", queries=40)
    assert [attack.queries for attack in found] == [40, 9, None]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("depwordbug", r"no text attack 'depwordbug'(.|\n)*'deepwordbug'"),
        ("zzz", r"no text attack 'zzz'(.|\n)*known: bae, deepwordbug"),
        ("deepwordbug:query=3", r"no option 'query=3'(.|\n)*'queries'"),
        ("deepwordbug:30", "no option '30'"),
        ("deepwordbug:queries=0", "queries of deepwordbug is 0(.|\n)*expected: more than 0"),
        ("deepwordbug:queries=abc", "queries of deepwordbug is abc(.|\n)*expected: a whole number"),
        ("deepwordbug:queries=2.5", "queries of deepwordbug is 2.5(.|\n)*expected: a whole number"),
        ("deepwordbug:queries=3:queries=4", "given twice"),
        ("textbugger:similarity=1.5", "similarity of textbugger is 1.5(.|\n)*expected: 1 or less"),
        ("deepwordbug,textbugger,deepwordbug:queries=500", "the attack deepwordbug is named twice"),
        ("none,deepwordbug", "no text attack 'none'"),
    ],
)
def test_what_cannot_be_read_is_refused(text: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        parse_text_attacks(text)


@pytest.mark.parametrize("text", ["depwordbug", "deepwordbug:queries=x", "deepwordbug:query=3", "pso,pso"])
def test_a_refusal_names_the_flag(text: str) -> None:
    with pytest.raises(ConfigError, match=r"where:    --unknown"):
        parse_text_attacks(text, where="--unknown")


@pytest.mark.parametrize(("spec", "what"), [("textbugger:neighbours=5", "word vectors"),
                                            ("textbugger:similarity=0.8", "a sentence encoder")])  # fmt: skip
def test_options_that_need_a_resource_say_so(spec: str, what: str) -> None:
    (attack,) = parse_text_attacks(spec)
    with pytest.raises(DependencyError, match=f"textbugger needs {what}(.|\n)*deepwordbug and textbugger work without"):
        attack.prepare(Resources())


def test_near_words_join_the_character_edits(tmp_path: Path) -> None:
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("film 1 0\nmovie 0.9 0.1\nplot 0 1\n")
    (attack,) = parse_text_attacks("textbugger:neighbours=2")
    searcher = attack.prepare(Resources(vectors=vectors))
    found = searcher.candidates(Words.of("the Film,"), 1, random.Random(0))  # type: ignore[union-attr]
    assert found[-1] == "Movie,"
    assert len(found) == 5
    assert all(word.endswith(",") for word in found)


def test_a_missing_resource_names_the_attacks_that_work_without() -> None:
    error = missing_resource("pwws", "WordNet", fix="install wordnet-base", where="/usr/share")
    assert "install wordnet-base; deepwordbug and textbugger work without any resource" in str(error)


@pytest.mark.parametrize("values", [{}, {"attack": "deepwordbug"}])
def test_what_is_no_record_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(IntegrityError, match="not the record"):
        Record.from_json(values)
