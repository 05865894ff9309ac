"""The account of attacked sentences tells resources apart by what they hold, not by where they lie."""

import json
from pathlib import Path

import pytest

from understudy.attacks.text import Resources, parse_text_attacks
from understudy.attacks.text.identity import resource_digests


def table(folder: Path, name: str, words: dict[str, list[str]]) -> Path:
    path = folder / name
    path.write_text(json.dumps(words), encoding="utf-8")
    return path


def test_equal_contents_are_one_resource_and_others_are_not(tmp_path: Path) -> None:
    (attack,) = parse_text_attacks("pwws:source=synonyms")
    paths = [
        table(tmp_path, "a.json", {"good": ["fine"]}),
        table(tmp_path, "b.json", {"good": ["fine"]}),
        table(tmp_path, "c.json", {"good": ["well"]}),
    ]
    one, same, other = (resource_digests(attack, Resources(synonyms=path)) for path in paths)
    assert list(one) == ["synonyms"]
    assert one == same != other


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        ("deepwordbug", []),
        ("textbugger", []),
        ("textbugger:neighbours=5", ["vectors"]),
        ("textbugger:similarity=0.8", ["similarity_encoder"]),
        ("textfooler:word_class=false", ["vectors"]),
        ("textfooler:source=synonyms:word_class=false", ["synonyms"]),
        ("bae:word_class=false:similarity=0.9", ["masked_lm", "similarity_encoder"]),
        ("pso:source=vectors", ["vectors"]),
    ],
)
def test_only_what_the_options_open_counts(spec: str, names: list[str], tmp_path: Path) -> None:
    (attack,) = parse_text_attacks(spec)
    words = table(tmp_path, "words.json", {})
    model = tmp_path / "model"
    model.mkdir()
    given = Resources(synonyms=words, vectors=words, masked_lm=str(model), similarity_encoder=str(model))
    assert list(resource_digests(attack, given)) == names


def test_the_files_of_a_model_count_and_a_hub_name_stands_for_itself(tmp_path: Path) -> None:
    (attack,) = parse_text_attacks("bae:word_class=false")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    first = resource_digests(attack, Resources(masked_lm=str(folder)))
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "config.json").write_text('{"layers": 2}', encoding="utf-8")
    assert resource_digests(attack, Resources(masked_lm=str(copy))) != first
    assert resource_digests(attack, Resources(masked_lm="owner/name")) == {"masked_lm": "owner/name"}
