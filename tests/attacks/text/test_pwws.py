"""PWWS: the specification's scores, whole searches on a victim that can be worked out by hand, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from understudy.attacks.text import Resources, Sentence, attack_sentences, parse_text_attacks
from understudy.attacks.text.importance import pwws_importance
from understudy.attacks.text.pwws import PWWS
from understudy.attacks.text.synonyms import replacements
from understudy.attacks.text.wordnet import find_wordnet
from understudy.errors import DataError, DependencyError

SENTENCES = [
    Sentence("A good film , a fine story", 1, 0),
    Sentence("the great film", 1, 1),
    Sentence("a bad good movie", 0, 2),  # 0.2 > 0: predicted 1, so wrong at once
    Sentence("of the zzz", 1, 3),
]


def records(attack: PWWS, victim: Any, resources: Resources, sentences: list[Sentence] = SENTENCES) -> list[Any]:
    return [
        record for part in attack_sentences(attack, victim, sentences, seed=0, resources=resources) for record in part
    ]


def test_scores_of_the_specification() -> None:
    scores = pwws_importance(np.array([0.3, 0.1, 0.6]), np.array([0.05, 0.4, 0.2]))
    np.testing.assert_allclose(scores, [0.0157798917, 0.1033558607, 0.0852025030], atol=5e-11)
    assert np.argsort(-scores).tolist() == [1, 2, 0]


def sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


def slow_pwws(victim: Any, words: list[str], wordnet: Any, *, score: bool = False) -> list[str]:
    """PWWS on one sentence of label 1, written again without batches or memory; returns the words it ends with."""
    p = lambda w: sigmoid(victim.logit(" ".join(w)))  # noqa: E731
    at = lambda w, i, c: [*w[:i], c, *w[i + 1 :]]  # noqa: E731
    places = [i for i, word in enumerate(words) if word.lower() not in ("a", "the", "of", ",")]
    pools = {i: replacements(wordnet, words[i], 10) for i in places}
    saliency = np.array([1 - p(at(words, i, "[UNK]")) for i in places])
    gains = []
    for i in places:
        best = max((1 - p(at(words, i, c)) for c in pools[i]), default=None)
        gains.append(0.0 if best is None else best if score else best - (1 - p(words)))
    order = np.exp(saliency) / np.exp(saliency).sum() * np.array(gains)
    current = words
    for k in np.argsort(-order, kind="stable"):
        tried = [at(current, places[k], c) for c in pools[places[k]]]
        best_text = min(tried, key=p, default=current)
        if p(best_text) < p(current):
            current = best_text
        if p(current) < 0.5:
            break
    return current


@pytest.mark.parametrize("order", ["gain", "score"])
def test_searches_equal_a_slow_one(cue_victim: Any, make_wordnet: Callable[..., Path], order: Any) -> None:
    folder = make_wordnet()
    found = records(PWWS(order=order), cue_victim, Resources(wordnet=folder))
    wordnet = find_wordnet(folder)
    for sentence, record in zip(SENTENCES[:2], found[:2], strict=True):
        assert record.attacked.split() == slow_pwws(cue_victim, sentence.text.split(), wordnet, score=order == "score")
    assert [record.status for record in found] == ["success", "success", "skipped", "failed"]
    assert found[0].attacked == "A poor film , a fine story"
    assert found[0].changed == (1,)
    assert found[3].no_candidates
    assert not found[0].no_candidates


def test_replaced_words_come_from_wordnet_and_queries_are_what_was_asked(
    cue_victim: Any, make_wordnet: Callable[..., Path]
) -> None:
    folder = make_wordnet()
    found = records(PWWS(), cue_victim, Resources(wordnet=folder))
    assert sum(record.queries for record in found) == cue_victim.asked
    wordnet = find_wordnet(folder)
    for record in found:
        before, after = record.text.split(), record.attacked.split()
        for place in record.changed:
            assert after[place] in replacements(wordnet, before[place], 10)
        assert all(before[i] == after[i] for i in range(len(before)) if i not in record.changed)


@pytest.mark.parametrize("queries", [1, 2, 4, 7])
def test_a_budget_that_runs_out_is_an_outcome(cue_victim: Any, make_wordnet: Callable[..., Path], queries: int) -> None:
    record = records(PWWS(queries=queries), cue_victim, Resources(wordnet=make_wordnet()), SENTENCES[:1])[0]
    assert record.queries == queries
    assert record.status == "failed"
    assert record.exhausted


def test_a_table_takes_wordnets_place(cue_victim: Any, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"great": ["fine", "poor"]}))
    (attack,) = parse_text_attacks("pwws:source=synonyms")
    (record,) = records(attack, cue_victim, Resources(synonyms=path), SENTENCES[1:2])  # type: ignore[arg-type]
    assert record.attacked == "the poor film"
    path.write_text("[]")
    with pytest.raises(DataError):
        attack.prepare(Resources(synonyms=path))


@pytest.mark.parametrize(
    ("source", "flag"), [("synonyms", "--synonyms"), ("vectors", "--vectors"), ("wordnet", "wordnet-base")]
)
def test_a_missing_resource_says_what_to_give_and_what_works_without(tmp_path: Path, source: Any, flag: str) -> None:
    with pytest.raises(DependencyError, match=flag) as caught:
        PWWS(source=source).prepare(Resources(wordnet=tmp_path))
    assert "deepwordbug and textbugger" in str(caught.value)


def test_specs() -> None:
    assert PWWS().spec == "pwws"
    assert parse_text_attacks("pwws:order=score:queries=none")[0].spec == "pwws:queries=none:order=score"
