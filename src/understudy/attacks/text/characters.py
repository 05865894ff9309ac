"""Candidates of character attacks: a few random edits of the word, its punctuation left where it is."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from understudy.attacks.text.edits import Edit
from understudy.attacks.text.synonyms import split_punctuation
from understudy.attacks.text.words import Words


@dataclass(frozen=True)
class EditCandidates:
    """Each edit once, and again from the first one while fewer than `limit` were drawn."""

    edits: Sequence[Edit]
    limit: int
    shortest: int = 1
    """Words of fewer characters have no candidates."""

    def __call__(self, words: Words, position: int, rng: random.Random) -> list[str]:
        """Return edited words; fewer than the limit where edits do not apply or repeat each other."""
        before, core, after = split_punctuation(words.words[position])
        if len(core) < self.shortest:
            return []
        drawn = [self.edits[i % len(self.edits)](core, rng) for i in range(self.limit)]
        return [f"{before}{word}{after}" for word in dict.fromkeys(drawn) if word is not None and word != core]
