"""Greedy search against a slow second implementation, and against brute force where one word may change."""

import itertools
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from understudy.attacks.text import Greedy, Importance, Record, Resources, Sentence, TextAttack, Words, attack_sentences
from understudy.attacks.text.constraints import EditDistance
from understudy.attacks.text.protect import protected

IMPORTANCES = ["unk", "delete", "textfooler", "pwws", "pwws_score"]


def forms(words: Words, position: int, rng: random.Random) -> list[str]:  # noqa: ARG001 - protocol
    """Return four candidates of a word; none of words that end in y."""
    word = words.words[position]
    return [] if word.endswith("y") else [word + ending for ending in ("s", "ed", "ing", "er")]


class Named(TextAttack):
    """An attack that runs a given search."""

    name = "named"
    searcher: Any

    @property
    def spec(self) -> str:
        return self.name

    def prepare(self, resources: Resources) -> Any:  # noqa: ARG002 - protocol
        return self.searcher


def attack(searcher: Any, victim: Any, sentences: Sequence[Sentence], **options: Any) -> list[Record]:
    chunks = attack_sentences(Named(searcher=searcher, **options), victim, sentences, seed=0)
    return [record for chunk in chunks for record in chunk]


def slow_greedy(victim: Any, text: str, label: int, importance: str) -> tuple[list[str], set[str]]:
    """Return the words that greedy search ends with and all that it asked, written down from the specification."""
    asked: dict[str, np.ndarray] = {}

    def p(words: Sequence[str]) -> np.ndarray:
        return asked.setdefault(" ".join(words), victim.probs64(" ".join(words)))

    words = text.split()
    if p(words).argmax() != label:
        return words, set(asked)
    places = [i for i, word in enumerate(words) if not protected(word)]
    cand = {i: forms(Words.of(text), i, random.Random()) for i in places}
    put = lambda ws, i, c: [*ws[:i], c, *ws[i + 1 :]]  # noqa: E731
    score: dict[int, float] = {}
    for i in places:
        changed = p(
            put(words, i, "[UNK]") if importance in ("unk", "pwws", "pwws_score") else words[:i] + words[i + 1 :]
        )
        score[i] = 1 - changed[label]
        if importance == "textfooler":
            score[i] = p(words)[label] - changed[label]
            other = int(changed.argmax())
            if other != label:
                score[i] += changed[other] - p(words)[other]
    if importance.startswith("pwws"):
        total = sum(np.exp(s) for s in score.values())
        for i in places:
            base = p(words)[label] if importance == "pwws" else 1.0
            gain = max((base - p(put(words, i, c))[label] for c in cand[i]), default=0.0)
            score[i] = np.exp(score[i]) / total * gain
    for i in sorted(places, key=lambda i: (-score[i], i)):
        tried = [put(words, i, c) for c in cand[i]]
        for one in tried:
            p(one)
        fooled = [one for one in tried if p(one).argmax() != label]
        if fooled:
            return min(fooled, key=lambda one: p(one)[label]), set(asked)
        best = min(tried, key=lambda one: p(one)[label], default=words)
        if p(best)[label] < p(words)[label]:
            words = best
    return words, set(asked)


@pytest.mark.parametrize("importance", IMPORTANCES)
@pytest.mark.parametrize(("classes", "scale"), [(2, 0.5), (2, 1.5), (4, 1.0)])
def test_it_equals_a_slow_implementation(
    importance: Importance, classes: int, scale: float, texts: list[str], make_victim: Callable[..., Any]
) -> None:
    victim = make_victim(classes, scale=scale)
    sentences = [Sentence(text, int(victim.probs64(text).argmax()), row) for row, text in enumerate(texts[:30])]
    records = attack(Greedy(forms, importance, 10), victim, sentences, queries=None)
    statuses = set()
    for record in records:
        words, asked = slow_greedy(victim, record.text, record.label, importance)
        assert record.attacked.split() == words
        assert record.queries == len(asked)
        assert record.changed == tuple(
            i for i, (a, b) in enumerate(zip(record.text.split(), words, strict=True)) if a != b
        )
        statuses.add(record.status)
    assert statuses == {"success", "failed"}
    assert {record.no_candidates for record in records} == {True, False}


@pytest.mark.parametrize("importance", IMPORTANCES)
def test_with_one_word_to_change_it_is_brute_force(
    importance: Importance, texts: list[str], make_victim: Callable[..., Any]
) -> None:
    victim = make_victim(3)
    only = lambda word: word != "script"  # noqa: E731
    for row, text in enumerate(texts[:20]):
        words = [word if word != "script" else "plain" for word in text.split()]
        words[row % len(words)] = "script"
        text = " ".join(words)
        label = int(victim.probs64(text).argmax())
        record = attack(
            Greedy(forms, importance, 10, protect=only), victim, [Sentence(text, label, row)], queries=None
        )[0]
        brute = [" ".join([*words[: row % len(words)], c, *words[row % len(words) + 1 :]]) for c in
                 ("scripts", "scripted", "scripting", "scripter")]  # fmt: skip
        fooled = [one for one in brute if victim.probs64(one).argmax() != label]
        best = min(fooled or [*brute, text], key=lambda one: victim.probs64(one)[label])
        assert (record.attacked, record.status) == (best, "success" if fooled else "failed")


def test_one_candidate_a_word_is_brute_force_over_prefixes_of_the_order(make_victim: Callable[..., Any]) -> None:
    """Where every change hurts the victim, greedy search changes all words of a text that stands."""
    victim = make_victim(2, scale=0.01)
    text, label = "bright plain acting", 0
    ends = ["s", "ed"]
    worst = {
        word: min((word + end for end in ends), key=lambda form: victim.probs64(form)[label]) for word in text.split()
    }
    single = lambda words, i, rng: [worst[words.words[i]]]  # noqa: ARG005, E731
    if victim.probs64(text).argmax() != label:
        label = 1
    record = attack(Greedy(single, "unk", 10), victim, [Sentence(text, label, 0)])[0]
    combinations = itertools.product(*[(word, worst[word]) for word in text.split()])
    best = min(victim.probs64(" ".join(words))[label] for words in combinations)
    assert record.score_after <= 1 - best + 1e-12


def test_similarity_chooses_among_those_that_succeed(make_victim: Callable[..., Any], texts: list[str]) -> None:
    victim = make_victim(2)
    sentences = [Sentence(text, int(victim.probs64(text).argmax()), row) for row, text in enumerate(texts)]
    shortest = lambda original, candidates: [-float(len(c.text)) for c in candidates]  # noqa: ARG005, E731
    plain = attack(Greedy(forms, "unk", 10), victim, sentences)
    near = attack(Greedy(forms, "unk", 10, closeness=shortest), victim, sentences)
    assert [a.status for a in plain] == [b.status for b in near]
    assert sum(len(b.attacked) < len(a.attacked) for a, b in zip(plain, near, strict=True)) > 3
    assert all(len(b.attacked) <= len(a.attacked) for a, b in zip(plain, near, strict=True) if a.status == "success")
    for record in near:
        if record.status == "success" and len(record.changed) == 1:
            words = Words.of(record.text)
            tried = [
                words.with_word(record.changed[0], form).text for form in forms(words, *record.changed, random.Random())
            ]
            fooled = [text for text in tried if victim.probs64(text).argmax() != record.label]
            assert len(record.attacked) == min(map(len, fooled))


def test_what_a_constraint_forbids_is_never_returned(make_victim: Callable[..., Any], texts: list[str]) -> None:
    victim = make_victim(2, scale=0.2)
    sentences = [Sentence(text, int(victim.probs64(text).argmax()), row) for row, text in enumerate(texts)]
    records = attack(Greedy(forms, "unk", 10, constraints=(EditDistance(5),)), victim, sentences)
    added = [len(record.attacked) - len(record.text) for record in records]
    assert max(added) == 5
    none = attack(Greedy(forms, "unk", 10, constraints=(EditDistance(0),)), victim, sentences)
    assert all(record.no_candidates and record.attacked == record.text for record in none)


def test_no_more_candidates_than_allowed(make_victim: Callable[..., Any]) -> None:
    victim = make_victim(2, scale=0.01)
    text = "bright picture"
    label = int(victim.probs64(text).argmax())
    record = attack(Greedy(forms, "unk", 2), victim, [Sentence(text, label, 0)])[0]
    assert record.queries == 1 + 2 + 2 * 2
    assert not any("ing" in text or "er" in text for text in victim.asked)
