"""What keeps an attacked text near the original: word class, similarity of sentences, number of edits."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.attacks.text.pretrained import open_pretrained
from understudy.attacks.text.resources import missing_resource
from understudy.attacks.text.synonyms import split_punctuation
from understudy.attacks.text.wordnet import WordNet
from understudy.attacks.text.words import Words
from understudy.errors import ConfigError

Metric = Literal["cosine", "angular"]
"""The cosine itself, or 1 - arccos(cosine) / pi."""
_ROWS = 64


@dataclass(frozen=True)
class SameWordClass:
    """The new word can be the same part of speech as the original one, judged without a tagger.

    Both have to share a WordNet part of speech after reduction to their base forms. A word that WordNet does not know
    passes. An instantiation: the papers tag the sentence.

    Args:
        wordnet: where parts of speech are looked up.
        noun_verb_swap: a noun may take the place of a verb and a verb that of a noun (TextFooler).
    """

    wordnet: WordNet
    noun_verb_swap: bool = False

    def allows(self, original: Words, current: Words, position: int, candidates: Sequence[Words]) -> list[bool]:  # noqa: ARG002 - protocol
        """Say of each candidate text whether its word at the position shares a class with the original's."""
        before = self._classes(original.words[position])
        return [self._fits(before, self._classes(text.words[position])) for text in candidates]

    def _classes(self, word: str) -> frozenset[str]:
        return self.wordnet.parts_of_speech(split_punctuation(word)[1])

    def _fits(self, before: frozenset[str], after: frozenset[str]) -> bool:
        if not before or not after or before & after:
            return True
        swap = {"noun", "verb"}
        return self.noun_verb_swap and bool(before & swap) and bool(after & swap)


class Similarity:
    """Sentences stay similar: mean-pooled states of a local sentence encoder, compared in a window around the change.

    TextFooler's and BAE's thresholds (0.840845 angular, 0.936338 cosine) belong to the Universal Sentence Encoder and
    do not carry over to another encoder.

    Args:
        encoder: folder of a Transformers encoder.
        threshold: similarity at least.
        metric: "cosine" or "angular" (1 - arccos(cosine) / pi).
        window: words compared, centred on the change; shorter texts are not checked. None compares whole texts of any
            length.
        reference: compare with the "previous" text of the search or with the "original" one.

    Raises:
        ConfigError: the folder is no encoder, or the threshold is out of range.
        DependencyError: the extra `text` is not installed.
    """

    def __init__(
        self,
        encoder: str,
        *,
        threshold: int | float,
        metric: Metric = "cosine",
        window: int | None = 15,
        reference: Literal["previous", "original"] = "original",
    ) -> None:
        if not -1 <= threshold <= 1:
            raise ConfigError(f"a similarity of {threshold} cannot be", where="similarity", expected="at most 1")
        self._helper = open_pretrained(encoder, "encoder")
        self.threshold, self.metric, self.window, self.reference = threshold, metric, window, reference

    def allows(self, original: Words, current: Words, position: int, candidates: Sequence[Words]) -> list[bool]:
        """Say of each candidate text whether it is similar enough around the position."""
        if self.window is not None and len(original) < self.window:
            return [True] * len(candidates)
        compared = original if self.reference == "original" else current
        texts = [self._around(words, position) for words in (compared, *candidates)]
        return [bool(value >= self.threshold) for value in self._similarities(texts)]

    def closeness(self, original: Words, candidates: Sequence[Words]) -> list[float]:
        """Return how similar whole candidate texts are to the original one."""
        return self._similarities([words.text for words in (original, *candidates)]).tolist()

    def _around(self, words: Words, position: int) -> str:
        if self.window is None:
            return words.text
        start = max(0, position - self.window // 2)
        return " ".join(words.words[start : position + self.window // 2 + 1])

    def _similarities(self, texts: list[str]) -> Float[Tensor, " n"]:
        """Return the similarity of each text but the first to the first."""
        states = torch.cat([self._states(texts[i : i + _ROWS]) for i in range(0, len(texts), _ROWS)])
        cosine = (states[1:] @ states[0]).clamp(-1.0, 1.0)
        return cosine if self.metric == "cosine" else 1.0 - torch.arccos(cosine) / math.pi

    def _states(self, texts: list[str]) -> Float[Tensor, "n d"]:
        encoded = self._helper.encode(texts)
        with torch.inference_mode():
            hidden = self._helper.model(**encoded).last_hidden_state.float()  # (n, tokens, d)
        mask = encoded["attention_mask"].unsqueeze(-1)
        pooled = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
        return torch.nn.functional.normalize(pooled, dim=1)


@dataclass(frozen=True)
class EditDistance:
    """The whole text stays within a number of edits of the original one (Levenshtein).

    Args:
        limit: insertions, deletions and substitutions of one character, at most.
    """

    limit: int

    def allows(self, original: Words, current: Words, position: int, candidates: Sequence[Words]) -> list[bool]:
        """Say of each candidate text whether it is within the limit."""
        spent = {
            i: levenshtein(original.words[i], current.words[i]) for i in original.changed(current) if i != position
        }
        left = self.limit - sum(spent.values())
        return [levenshtein(original.words[position], text.words[position]) <= left for text in candidates]


def levenshtein(a: str, b: str) -> int:
    """Return the fewest insertions, deletions and substitutions of one character that turn one text into another.

    Example:
        >>> levenshtein("kitten", "sitting")
        3
    """
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a, start=1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(b, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (letter != other))
    return row[-1]


def open_similarity(
    encoder: str | None,
    threshold: int | float | None,
    *,
    attack: str,
    metric: Metric,
    reference: Literal["previous", "original"],
) -> Similarity | None:
    """Return the similarity that an attack asks for; None if its threshold is.

    Raises:
        DependencyError: a threshold without an encoder.
        ConfigError: the folder is no encoder.
    """
    if threshold is None:
        return None
    if encoder is None:
        fix = "give the folder of a sentence encoder by --similarity-encoder, or leave the similarity out"
        raise missing_resource(f"{attack} with a similarity of {threshold:g}", "a sentence encoder", fix=fix)
    return Similarity(encoder, threshold=threshold, metric=metric, reference=reference)


def similarity_words(threshold: int | float | None, reference: str, *, window: int | None = 15) -> str:
    """Return what a record says of the similarity of sentences, also when it is switched off."""
    if threshold is None:
        return "similarity of sentences not asked for"
    place = "" if window is None else f" in a window of {window} words"
    return f"similarity of sentences at least {threshold:g}{place}, against the {reference} text"
