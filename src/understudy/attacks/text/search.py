"""Running attacks: many searches side by side, their requests merged into common batches.

Sentences are attacked in chunks of `width`. Within a chunk every search runs until it asks for a text that is not in
its memory; then all that the searches of the chunk want is scored at once. The batches are a function of the chunk
alone, so work that was cut short goes on at a chunk and ends with equal bytes.
"""

import random
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float64

from understudy.attacks.text._task import Task
from understudy.attacks.text.base import Record, Runner, Searcher, Sentence, TextAttack
from understudy.attacks.text.resources import Resources
from understudy.attacks.text.words import Words
from understudy.errors import ConfigError, DataError, DivergenceError, ShapeError
from understudy.models.text.predictor import TextClassifier
from understudy.runs.seeds import derive_seed

WIDTH = 32
"""Searches side by side: enough candidates for full batches, few enough that a chunk is soon on file."""


def attack_sentences(
    attack: TextAttack,
    victim: TextClassifier,
    sentences: Sequence[Sentence],
    *,
    seed: int,
    resources: Resources | None = None,
    width: int = WIDTH,
    one_at_a_time: bool = False,
) -> Iterator[list[Record]]:
    """Attack sentences and yield their records, a chunk of `width` at a time, in the order of the sentences.

    A search draws from (seed, the attack's spec, the sentence's row), so neither the other sentences nor their order
    change what it finds. To go on after n finished records, n a multiple of the width, pass the sentences from n on.

    Args:
        attack: which attack, with its options.
        victim: the classifier under attack.
        sentences: what is attacked.
        seed: of all draws.
        resources: what word-level attacks look words up in.
        width: searches that run side by side.
        one_at_a_time: score every text in a pass of its own: slow, to measure what batches are worth.

    Raises:
        ConfigError: the width is below 1, or a resource is not of the kind that is needed.
        DependencyError: a resource of the attack is not there.
        DataError: a label is none of the victim's classes.
        DivergenceError: the victim gives probabilities that are not finite.
        ShapeError: the victim gives another number of rows or classes than it should.
    """
    if width < 1:
        raise ConfigError(f"a width of {width} attacks no sentence", where="width", expected="1 or more")
    for sentence in sentences:
        if not 0 <= sentence.label < victim.classes:
            raise DataError(
                f"label {sentence.label} is none of the victim's {victim.classes} classes", where=f"row {sentence.row}"
            )
    searcher = attack.prepare(resources or Resources())
    for start in range(0, len(sentences), width):
        chunk = sentences[start : start + width]
        if isinstance(searcher, Runner):
            yield searcher.attack(victim, chunk, seed=seed)
        else:
            yield _attack_chunk(attack, searcher, victim, chunk, seed=seed, one_at_a_time=one_at_a_time)


def _attack_chunk(
    attack: TextAttack,
    searcher: Searcher,
    victim: TextClassifier,
    sentences: Sequence[Sentence],
    *,
    seed: int,
    one_at_a_time: bool,
) -> list[Record]:
    tasks = [_begin(attack, searcher, victim, sentence, seed) for sentence in sentences]
    while waiting := [task for task in tasks if task.wanted]:
        texts = [text for task in waiting for text in task.wanted]
        contexts = [task.sentence.context for task in waiting for _ in task.wanted]
        answers, start = _score(victim, texts, contexts, one_at_a_time=one_at_a_time), 0
        for task in waiting:
            stop = start + len(task.wanted)
            task.advance(answers[start:stop])
            start = stop
    return [task.record(attack.spec) for task in tasks]


def _begin(attack: TextAttack, searcher: Searcher, victim: TextClassifier, sentence: Sentence, seed: int) -> Task:
    words = Words.of(sentence.text, unknown=victim.backbone.unknown_token)
    visible = victim.backbone.visible_words(sentence.text, sentence.context)
    rng = random.Random(derive_seed(seed, attack.spec, step=sentence.row))
    return Task(sentence, words, searcher.search(sentence, words, visible, rng), attack.queries, victim.classes)


def _score(
    victim: TextClassifier, texts: list[str], contexts: list[str | None], *, one_at_a_time: bool
) -> Float64[np.ndarray, "q c"]:
    """Return the victim's probabilities of texts; all have a context or none has."""
    if one_at_a_time:
        pairs = zip(texts, contexts, strict=True)
        return np.concatenate([_score(victim, [text], [context], one_at_a_time=False) for text, context in pairs])
    given = [context for context in contexts if context is not None]
    if given and len(given) < len(texts):
        raise DataError("some sentences have a context and some have none", expected="pairs of texts, or single texts")
    probs = victim.probs(texts, given or None).double().cpu().numpy()
    if probs.shape != (len(texts), victim.classes):
        raise ShapeError(
            "the victim answers with another shape than it was asked for",
            where=f"{probs.shape}",
            expected=f"{(len(texts), victim.classes)}: a row for each text, a probability for each class",
        )
    if not np.isfinite(probs).all():
        raise DivergenceError("the victim gives probabilities that are not finite", where="an attack on sentences")
    return probs
