"""Which synonyms a word-level attack looks up, and the error that says what to give when they are not there."""

import random
from dataclasses import dataclass
from typing import Literal

from understudy.attacks.text.resources import Resources, missing_resource
from understudy.attacks.text.synonyms import SynonymSource, SynonymTable, replacements
from understudy.attacks.text.vectors import VectorNeighbours
from understudy.attacks.text.wordnet import find_wordnet
from understudy.attacks.text.words import Words

Source = Literal["wordnet", "synonyms", "vectors"]
"""WordNet's synsets, a JSON table, or the nearest word vectors."""


@dataclass(frozen=True)
class SynonymCandidates:
    """Candidates from a source of synonyms: the same ones wherever the word stands."""

    source: SynonymSource
    limit: int

    def __call__(self, words: Words, position: int, rng: random.Random) -> list[str]:  # noqa: ARG002 - protocol
        """Return the synonyms of the word at a position, in its casing and punctuation."""
        return replacements(self.source, words.words[position], self.limit)


def open_source(source: Source, resources: Resources, *, attack: str, top: int, cosine: int | float) -> SynonymSource:
    """Return the synonyms that an attack asks for.

    Args:
        source: which kind.
        resources: where files lie.
        attack: its name, for the error.
        top: of word vectors, at most so many neighbours.
        cosine: of word vectors, at least.

    Raises:
        DependencyError: WordNet is not there, or no file of the kind was named.
        IntegrityError: WordNet's files are damaged.
        DataError: the table or the vectors are damaged.
    """
    if source == "wordnet":
        return find_wordnet(resources.wordnet)
    if source == "synonyms":
        if resources.synonyms is None:
            raise missing_resource(attack, "a table of synonyms", fix="give a JSON table of words by --synonyms")
        return SynonymTable(resources.synonyms)
    if resources.vectors is None:
        raise missing_resource(attack, "word vectors", fix="give a text file of word vectors by --vectors")
    return VectorNeighbours(resources.vectors, top=top, cosine=cosine)
