"""Running attacks: what every record promises, whatever the attack, and how queries are counted."""

import json
import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from understudy.attacks.text import (
    Found,
    Record,
    Resources,
    Search,
    Sentence,
    TextAttack,
    Words,
    attack_sentences,
    parse_text_attacks,
    protected,
)
from understudy.attacks.text.characters import EditCandidates
from understudy.attacks.text.deepwordbug import DeepWordBug
from understudy.attacks.text.edits import delete, insert, substitute, swap
from understudy.errors import ConfigError, DataError, DivergenceError, ShapeError
from understudy.runs.seeds import derive_seed

SPECS = ["deepwordbug", "textbugger", "deepwordbug:queries=15", "textbugger:queries=7", "deepwordbug:max_candidates=9"]


def run(spec: str, victim: Any, sentences: Sequence[Sentence], *, seed: int = 0, **options: Any) -> list[Record]:
    (attack,) = parse_text_attacks(spec)
    return [record for chunk in attack_sentences(attack, victim, sentences, seed=seed, **options) for record in chunk]


@pytest.fixture
def sentences(texts: list[str]) -> list[Sentence]:
    return [Sentence(text, row % 2, row) for row, text in enumerate(texts)]


@pytest.mark.parametrize("spec", SPECS)
def test_what_every_record_promises(spec: str, sentences: list[Sentence], make_victim: Callable[..., Any]) -> None:
    victim = make_victim(2, longest=9)
    (attack,) = parse_text_attacks(spec)
    records = run(spec, victim, sentences)
    for sentence, record in zip(sentences, records, strict=True):
        assert (record.row, record.text, record.label, record.attack) == (
            sentence.row, sentence.text, sentence.label, spec,
        )  # fmt: skip
        before, after = victim.probs64(record.text), victim.probs64(record.attacked)
        right = [int(p.argmax()) == record.label for p in (before, after)]
        assert {"success": [True, False], "failed": [True, True], "skipped": [False, False]}[record.status] == right
        assert (record.predicted_before, record.predicted_after) == (before.argmax(), after.argmax())
        assert record.score_before == pytest.approx(1 - before[record.label], abs=1e-7)
        assert record.score_after == pytest.approx(1 - after[record.label], abs=1e-7)
        assert 1 <= record.queries <= (attack.queries or 10**9)
        words = record.text.split()
        assert all(not protected(words[i]) and i < 9 for i in record.changed)
        assert bool(record.changed) == (record.attacked != record.text)
        assert record.changed_share == len(record.changed) / len(words)
        assert not (record.exhausted and record.status != "failed")
    counts = {status: sum(record.status == status for record in records) for status in ("success", "failed", "skipped")}
    assert min(counts.values()) > 0
    assert any(record.no_candidates for record in records) or "queries" in spec
    assert any(record.exhausted for record in records) == ("queries" in spec)


def test_unchanged_words_stand_where_they_stood(sentences: list[Sentence], make_victim: Callable[..., Any]) -> None:
    for record in run("textbugger", make_victim(2, scale=0.3), sentences):
        rest = record.attacked.split()
        for i, word in reversed(list(enumerate(record.text.split()))):
            if i not in record.changed:
                while rest.pop() != word:  # a changed word may be two words
                    pass


def test_replacements_come_from_the_candidates(make_victim: Callable[..., Any]) -> None:
    """All that the attack asked about one word are edits of it, or the text without a meaning there."""
    victim = make_victim(2, scale=0.01)
    text = "it is (script,"
    label = int(victim.probs64(text).argmax())
    run("deepwordbug", victim, [Sentence(text, label, 5)])
    words = Words.of(text)
    candidates = EditCandidates((swap, substitute, delete, insert), 4)
    drawn = candidates(words, 2, random.Random(derive_seed(0, "deepwordbug", step=5)))
    assert victim.asked == [text, "it is [UNK]", *[words.with_word(2, word).text for word in drawn]]


@pytest.mark.parametrize("spec", SPECS[1:3])
def test_a_record_depends_on_its_sentence_and_the_seed_alone(
    spec: str, sentences: list[Sentence], make_victim: Callable[..., Any]
) -> None:
    sentences = sentences[:24]
    expected = run(spec, make_victim(2), sentences)
    assert run(spec, make_victim(2), sentences, width=1) == expected
    assert run(spec, make_victim(2), sentences, width=7) == expected
    assert run(spec, make_victim(2), sentences[::-1])[::-1] == expected
    assert run(spec, make_victim(2), sentences[16:]) == expected[16:]
    assert run(spec, make_victim(2), sentences, one_at_a_time=True) == expected
    other = run(spec, make_victim(2), sentences, seed=1)
    assert [record.attacked for record in other] != [record.attacked for record in expected]


def test_the_same_text_in_two_rows_draws_anew(make_victim: Callable[..., Any]) -> None:
    victim = make_victim(2, scale=0.01)
    text = "bright plain story acting honest clumsy"
    label = int(victim.probs64(text).argmax())
    found = run("deepwordbug", victim, [Sentence(text, label, row) for row in range(4)])
    assert len({record.attacked for record in found}) > 1


@pytest.mark.parametrize("spec", ["deepwordbug", "deepwordbug:queries=12", "textbugger"])
def test_every_query_is_counted_once(spec: str, sentences: list[Sentence], make_victim: Callable[..., Any]) -> None:
    for sentence in sentences[:20]:
        victim = make_victim(2, scale=0.3)
        (record,) = run(spec, victim, [sentence])
        assert record.queries == len(victim.asked) == len(set(victim.asked))


def test_any_budget_is_kept_to_the_query(sentences: list[Sentence], make_victim: Callable[..., Any]) -> None:
    free = {record.row: record for record in run("deepwordbug:queries=none", make_victim(2, scale=0.3), sentences)}
    assert not any(record.exhausted for record in free.values())
    victim = make_victim(2, scale=0.3)
    longest = max(record.queries for record in list(free.values())[:6])
    for budget in range(1, longest + 2, 2):
        (attack,) = parse_text_attacks(f"deepwordbug:queries={budget}")
        for chunk in attack_sentences(attack, victim, sentences[:6], seed=0):
            for record in chunk:
                assert record.queries <= budget
                if record.exhausted:
                    assert (record.queries, record.status) == (budget, "failed")


def test_a_larger_budget_finds_no_less(sentences: list[Sentence], make_victim: Callable[..., Any]) -> None:
    """With draws that do not depend on the budget; a search that was cut keeps the best text of what it saw."""

    class Fixed(DeepWordBug):
        @property
        def spec(self) -> str:
            return "fixed"

    victim = make_victim(2, scale=0.3)
    scores = []
    for budget in (1, 5, 10, 20, 40, 80):
        chunks = attack_sentences(Fixed(queries=budget), victim, sentences[:24], seed=0)
        scores.append([record.score_after for chunk in chunks for record in chunk])
    assert all(b >= a for less, more in pairwise(scores) for a, b in zip(less, more, strict=True))
    assert scores[0] != scores[-1]


def test_requests_share_batches(sentences: list[Sentence], make_victim: Callable[..., Any]) -> None:
    together, alone = make_victim(2), make_victim(2)
    run("deepwordbug", together, sentences, width=60)
    run("deepwordbug", alone, sentences, one_at_a_time=True)
    assert sorted(together.asked) == sorted(alone.asked)
    assert len(alone.calls) == len(alone.asked)
    assert len(together.calls) < len(alone.calls) / 20
    assert len(together.calls[0]) == 60


def test_no_sentences_no_calls(make_victim: Callable[..., Any]) -> None:
    victim = make_victim(2)
    assert run("deepwordbug", victim, []) == []
    assert victim.calls == []


@pytest.mark.parametrize("text", ["", "  ", "the a 42 --", "not"])
def test_a_sentence_without_candidates_is_kept_and_counted(text: str, make_victim: Callable[..., Any]) -> None:
    victim = make_victim(2)
    label = int(victim.probs64(text).argmax())
    for spec in ("deepwordbug", "textbugger"):
        (record,) = run(spec, victim, [Sentence(text, label, 0)])
        assert (record.status, record.attacked, record.queries) == ("failed", text, 1)
        assert record.no_candidates
        assert not record.exhausted
        assert record.changed_share == 0


def test_of_a_pair_the_second_text_alone_is_changed(texts: list[str], make_victim: Callable[..., Any]) -> None:
    victim = make_victim(2, scale=0.4, longest=20)
    sentences = [Sentence(text, row % 2, row, context=texts[-row - 1]) for row, text in enumerate(texts[:20])]
    records = run("deepwordbug", victim, sentences)
    assert {context for call in victim.calls for context, _ in call} <= set(texts)
    assert all(record.context == sentence.context for record, sentence in zip(records, sentences, strict=True))
    for record in records:
        assert (int(victim.probs64(record.attacked, record.context).argmax()) == record.label) == (
            record.status == "failed"
        )
        assert all(i < 20 - len(record.context.split()) for i in record.changed)
    with pytest.raises(DataError, match="some have none"):
        run("deepwordbug", victim, [*sentences, Sentence("warm script", 0, 99)])


class Broken:
    """A victim that answers what it should not."""

    def __init__(self, victim: Any, answer: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.victim, self.answer = victim, answer
        self.classes, self.labels, self.passes, self.sha256 = 2, ("0", "1"), 1.0, ""
        self.backbone = victim.backbone

    def probs(self, texts: Sequence[str], contexts: Sequence[str] | None = None) -> torch.Tensor:
        return self.answer(self.victim.probs(texts, contexts))


def test_what_the_victim_answers_is_checked(sentences: list[Sentence], make_victim: Callable[..., Any]) -> None:
    for answer, error in ((lambda p: p * torch.nan, DivergenceError), (lambda p: p[:-1], ShapeError),
                          (lambda p: torch.cat([p, p], dim=1), ShapeError)):  # fmt: skip
        with pytest.raises(error):
            run("deepwordbug", Broken(make_victim(2), answer), sentences)


def test_a_label_that_the_victim_does_not_know(make_victim: Callable[..., Any]) -> None:
    for label in (-1, 2):
        with pytest.raises(DataError, match=rf"label {label} is none of the victim's 2 classes(.|\n)*row 7"):
            run("deepwordbug", make_victim(2), [Sentence("warm script", label, 7)])


def test_a_width_of_nothing(make_victim: Callable[..., Any], sentences: list[Sentence]) -> None:
    with pytest.raises(ConfigError, match="width"):
        run("deepwordbug", make_victim(2), sentences, width=0)


class OwnLoop(TextAttack):
    """An attack that brings its own loop."""

    name = "own"

    def prepare(self, resources: Resources) -> "OwnLoop":  # noqa: ARG002 - protocol
        return self

    def attack(self, victim: Any, sentences: Sequence[Sentence], *, seed: int) -> list[Record]:
        p = victim.probs([sentence.text for sentence in sentences])
        one = {"changed": (), "exhausted": False, "no_candidates": True, "score_before": 0.0, "score_after": 0.0}
        return [
            Record(attack="own", row=s.row, text=s.text, attacked=s.text, label=s.label, status="failed", queries=seed,
                   predicted_before=int(row.argmax()), predicted_after=0, **one)
            for s, row in zip(sentences, p, strict=True)
        ]  # fmt: skip


def test_an_attack_with_its_own_loop_is_handed_the_victim(
    sentences: list[Sentence], make_victim: Callable[..., Any]
) -> None:
    victim = make_victim(2)
    chunks = list(attack_sentences(OwnLoop(), victim, sentences, seed=3, width=25))
    assert [len(chunk) for chunk in chunks] == [25, 25, 10]
    assert [len(call) for call in victim.calls] == [25, 25, 10]
    assert all(record.queries == 3 for chunk in chunks for record in chunk)


class Stubborn(TextAttack):
    """Asks again and again, also when the budget is used up."""

    name = "stubborn"

    def prepare(self, resources: Resources) -> "Stubborn":  # noqa: ARG002 - protocol
        return self

    def search(self, sentence: Sentence, words: Words, visible: int, rng: Any) -> Search:  # noqa: ARG002 - protocol
        self.seen.append(len((yield [words.text, words.text, "x", "y", "x", "z"])))
        self.seen.append(len((yield ["z", "x"])))
        self.seen.append(len((yield ["x", "y", "new", "x"])))
        self.seen.append(len((yield [])))
        return Found(words)

    seen: list[int] = []  # noqa: RUF012 - pydantic copies it


def test_answers_from_memory_go_on_after_the_budget(make_victim: Callable[..., Any]) -> None:
    victim, attack = make_victim(2), Stubborn(queries=3)
    label = int(victim.probs64("warm").argmax())
    ((record,),) = attack_sentences(attack, victim, [Sentence("warm", label, 0)], seed=0)
    assert attack.seen == [5, 0, 2, 0]
    assert victim.asked == ["warm", "x", "y"]
    assert (record.queries, record.exhausted, record.no_candidates) == (3, True, False)


def test_records_come_back_from_json(sentences: list[Sentence], make_victim: Callable[..., Any]) -> None:
    for record in run("deepwordbug", make_victim(2), sentences):
        assert Record.from_json(json.loads(json.dumps(record.to_json()))) == record


def test_an_answer_in_float32_near_a_tie_is_read_as_it_is(make_victim: Callable[..., Any]) -> None:
    victim = Broken(make_victim(2), lambda p: torch.full_like(p, 0.5))
    (record,) = run("deepwordbug", victim, [Sentence("warm script", 0, 0)])
    assert (record.status, record.predicted_after, record.score_after) == ("failed", 0, 0.5)
    assert np.isclose(record.score_before, 0.5)
