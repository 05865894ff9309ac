"""Greedy search by importance: the words that matter most are replaced first, each by what hurts most.

    order words by importance I_i, highest first; for i in order:
        T = { current with word i <- c : c in Cand(i), constraints hold }
        x* = argmax over T of S;  if S(x*) > S(current): current <- x*;  if a member of T succeeds: return one

S(x') = 1 - p(x')[y]. Returned is the successful member most similar to the text where a similarity is configured, and
otherwise that of the highest S. With two classes a member succeeds only if x* does, as the published search asks.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64

from understudy.attacks.text.base import Found, Search, Sentence
from understudy.attacks.text.importance import Importance, rank
from understudy.attacks.text.protect import attackable
from understudy.attacks.text.words import Words


@runtime_checkable
class Candidates(Protocol):
    """What a word may be replaced by."""

    def __call__(self, words: Words, position: int, rng: random.Random) -> list[str]:
        """Return whole new words for a position of the current text, the best first; empty if there is none."""
        ...


@runtime_checkable
class Constraint(Protocol):
    """What keeps an attacked text near the original."""

    def allows(self, original: Words, current: Words, position: int, candidates: Sequence[Words]) -> list[bool]:
        """Say of each candidate text, which differs from `current` at `position`, whether it may be tried."""
        ...


Closeness = Callable[[Words, Sequence[Words]], Sequence[float]]
"""How similar candidate texts are to the original one: the higher, the more similar."""


@dataclass(frozen=True)
class Greedy:
    """Greedy search; a `Searcher` for all attacks but population searches."""

    candidates: Candidates
    importance: Importance
    """What orders the words."""
    max_candidates: int
    constraints: tuple[Constraint, ...] = ()
    closeness: Closeness | None = None
    protect: Callable[[str], bool] | None = None
    """Words that stay as they are, besides stop words, words without a letter and words of one letter."""

    def search(self, sentence: Sentence, words: Words, visible: int, rng: random.Random) -> Search:
        """Search one sentence."""
        label = sentence.label
        positions = [i for i in attackable(words, visible) if self.protect is None or not self.protect(words.words[i])]
        before = (yield [words.text])[0]
        pools: dict[int, list[str]] = {}
        ranking = yield from rank(
            self.importance, words, positions, before, label, lambda i: self._tries(words, words, i, rng, pools)
        )
        if ranking is None:
            return Found(words)
        current, score, tried = words, 1.0 - before[label], False
        for k in np.argsort(-ranking, kind="stable"):
            texts = self._tries(words, current, positions[k], rng, pools)
            if not texts:
                continue
            tried = True
            probs = yield [text.text for text in texts]
            reached = texts[: len(probs)]
            if chosen := self._success(words, reached, probs, label):
                return Found(chosen)
            scores = 1.0 - probs[:, label]
            if reached and scores.max() > score:
                current, score = reached[int(scores.argmax())], scores.max()
            if len(reached) < len(texts):
                break
        return Found(current, no_candidates=not tried)

    def _tries(
        self, original: Words, current: Words, position: int, rng: random.Random, pools: dict[int, list[str]]
    ) -> list[Words]:
        """Return the texts to try at a position, each once; `pools` keeps the candidates of words that were drawn."""
        if position not in pools:
            pools[position] = self.candidates(current, position, rng)
        fresh = [word for word in dict.fromkeys(pools[position]) if word != current.words[position]]
        texts = [current.with_word(position, word) for word in fresh[: self.max_candidates]]
        for constraint in self.constraints:
            if texts:
                held = constraint.allows(original, current, position, texts)
                texts = [text for text, holds in zip(texts, held, strict=True) if holds]
        return texts

    def _success(
        self, original: Words, texts: Sequence[Words], probs: Float64[np.ndarray, "q c"], label: int
    ) -> Words | None:
        """Return the successful text to end with, if there is one."""
        fooled = [i for i, row in enumerate(probs) if row.argmax() != label]
        if not fooled:
            return None
        if self.closeness is None:
            return texts[min(fooled, key=lambda i: float(probs[i, label]))]
        near = self.closeness(original, [texts[i] for i in fooled])
        return texts[fooled[int(np.argmax(near))]]
