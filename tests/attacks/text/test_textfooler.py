"""TextFooler: the specification's importance, what constraints leave of the candidates, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from understudy.attacks.text import Record, Resources, Sentence, Words, attack_sentences, parse_text_attacks
from understudy.attacks.text.importance import textfooler_importance
from understudy.attacks.text.textfooler import TextFooler
from understudy.errors import ConfigError, DependencyError
from understudy.models.text.tiny import build_tiny

SENTENCES = [
    Sentence("A good film , a fine story", 1, 0),
    Sentence("the great film", 1, 1),
    Sentence("a bad film", 0, 2),
]
TABLE = {"good": ["story", "poor"], "fine": ["run", "dull"], "great": ["bad"], "bad": ["great"], "film": ["movie"]}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.json"
    path.write_text(json.dumps(TABLE))
    return path


def records(attack: TextFooler, victim: Any, resources: Resources) -> list[Record]:
    return [
        record for part in attack_sentences(attack, victim, SENTENCES, seed=0, resources=resources) for record in part
    ]


def test_importance_of_the_specification() -> None:
    before = np.array([0.9, 0.1])
    removed = np.array([[0.4, 0.6], [0.7, 0.3]])
    np.testing.assert_allclose(textfooler_importance(before, removed, 0), [1.0, 0.2], atol=1e-12)


def test_words_are_taken_in_the_order_of_what_deleting_them_costs(cue_victim: Any, table: Path) -> None:
    found = records(TextFooler(word_class=False), cue_victim, Resources(synonyms=table))
    assert [record.status for record in found] == ["success", "success", "success"]
    assert found[0].attacked == "A poor film , a fine story"  # good counts 2, fine 1.5: one change is enough
    assert [record.changed for record in found] == [(1,), (1,), (1,)]
    assert sum(record.queries for record in found) == cue_victim.asked


def test_word_classes_keep_candidates_out(cue_victim: Any, table: Path, make_wordnet: Callable[..., Path]) -> None:
    synsets = {
        "noun": [["film", "movie"], ["story"]],
        "verb": [["run"]],
        "adj": [["good"], ["fine", "dull"], ["great"]],
    }
    resources = Resources(synonyms=table, wordnet=make_wordnet(synsets=synsets))
    found = records(TextFooler(), cue_victim, resources)
    # "story" is no adjective; WordNet here does not know "poor" and "bad", so they pass
    assert found[0].attacked == "A poor film , a fine story"
    classes = {**synsets, "verb": [["poor"], ["bad"]]}
    found = records(TextFooler(), cue_victim, Resources(synonyms=table, wordnet=make_wordnet("other", synsets=classes)))
    assert found[0].attacked == "A good movie , a dull story"  # "poor" is a verb now
    assert [record.status for record in found] == ["failed", "failed", "failed"]


def test_vectors_go_before_a_table_unless_one_is_named(cue_victim: Any, table: Path, tmp_path: Path) -> None:
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("good 1 0\nbad 0.9 0.1\ngreat 0 1\ndull 0.6 0.8\nfar -1 -1\n")
    both = Resources(synonyms=table, vectors=vectors)
    assert records(TextFooler(word_class=False), cue_victim, both)[0].attacked == "A bad film , a fine story"
    (named,) = parse_text_attacks("textfooler:word_class=false:source=synonyms")
    assert records(named, cue_victim, both)[0].attacked == "A poor film , a fine story"  # type: ignore[arg-type]
    near = TextFooler(word_class=False, cosine=0.999)
    assert all(record.no_candidates for record in records(near, cue_victim, Resources(vectors=vectors)))


def test_a_similarity_keeps_texts_out_and_picks_the_most_similar_success(cue_victim: Any, tmp_path: Path) -> None:
    words = ("good", "bad", "poor", "film", "story", "fine", "a", "dull")
    encoder = build_tiny(words, tmp_path / "encoder", hidden=32, seed=0)
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"good": ["bad", "poor", "dull"]}))
    resources = Resources(synonyms=path, similarity_encoder=str(encoder))
    long = " ".join(["good", *["xx"] * 19])
    sentence = Sentence(long, 1, 0)

    def attacked(similarity: float) -> Record:
        attack = TextFooler(word_class=False, similarity=similarity)
        return next(attack_sentences(attack, cue_victim, [sentence], seed=0, resources=resources))[0]

    assert attacked(1.0).no_candidates  # nothing but the text itself is that similar
    assert attacked(-1.0).status == "success"
    searcher = TextFooler(word_class=False, similarity=-1.0).prepare(resources)
    assert searcher.closeness is not None
    original = Words.of(long)
    texts = [original.with_word(0, word) for word in ("bad", "poor", "dull")]
    nearest = texts[int(np.argmax(searcher.closeness(original, texts)))]
    assert attacked(-1.0).attacked == nearest.text


def test_missing_resources(tmp_path: Path, table: Path) -> None:
    with pytest.raises(DependencyError, match="--vectors") as caught:
        TextFooler().prepare(Resources())
    assert "deepwordbug and textbugger" in str(caught.value)
    with pytest.raises(DependencyError, match="wordnet-base"):
        TextFooler().prepare(Resources(synonyms=table, wordnet=tmp_path))
    with pytest.raises(DependencyError, match="--similarity-encoder"):
        TextFooler(word_class=False, similarity=0.8).prepare(Resources(synonyms=table))
    with pytest.raises(ConfigError, match="similarity"):
        parse_text_attacks("textfooler:similarity=2")


def test_constraints_that_are_off_are_said_to_be() -> None:
    assert "similarity of sentences not asked for" in TextFooler().constraints()
    assert "word classes not compared" in TextFooler(word_class=False).constraints()
    assert any("0.8" in words and "previous" in words for words in TextFooler(similarity=0.8).constraints())
    assert TextFooler.paper_preset().max_candidates == 50
