"""BAE-R: words that a masked language model expects, the words taken in order of what deleting them costs.

Garg and Ramakrishnan, "BAE: BERT-based adversarial examples for text classification" (EMNLP 2020),
https://arxiv.org/abs/2004.01970. The variant that replaces words (R); those that insert are not here.

Fidelity: instantiation; the search is the paper's, these parts are not.

- The masked language model is yours (`--masked-lm`), the paper's is BERT-base.
- At most `max_candidates` candidates, by default 10; the paper takes 50: preset `paper_preset`.
- Only whole words of two letters or more are candidates: no pieces, no punctuation, and not the word itself.
- Word classes are compared without a tagger: both words share a WordNet part of speech (`word_class=false` for none).
- Sentences are compared by a local encoder (`--similarity-encoder`) at a threshold of yours, off by default: the
  paper's (0.936338 cosine in TextAttack's recipe) belongs to the Universal Sentence Encoder and does not carry over.
- Stop words and negations, which the paper does not except, are left alone.
"""

import random
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from understudy.attacks.text.base import TextAttack
from understudy.attacks.text.constraints import SameWordClass, open_similarity, similarity_words
from understudy.attacks.text.greedy import Constraint, Greedy
from understudy.attacks.text.masked_lm import MaskedWords
from understudy.attacks.text.resources import Resources, missing_resource, wanted
from understudy.attacks.text.wordnet import find_wordnet
from understudy.attacks.text.words import Words


@dataclass(frozen=True)
class MaskedCandidates:
    """Candidates that fit the current text, as a masked language model sees it."""

    masked: MaskedWords
    limit: int

    def __call__(self, words: Words, position: int, rng: random.Random) -> list[str]:  # noqa: ARG002 - protocol
        """Return the likeliest whole words at a position."""
        return self.masked.top(words, [position], self.limit)[0]


class BAE(TextAttack):
    """Word level: what a masked language model expects, ordered by what deleting a word costs."""

    name: ClassVar[str] = "bae"
    label: ClassVar[str] = "BAE-R"
    summary: ClassVar[str] = "replaces words by what a masked language model expects in their place"
    paper: ClassVar[str] = "Garg and Ramakrishnan, EMNLP 2020"
    fidelity: ClassVar[Literal["paper", "official", "instantiation"]] = "instantiation"
    level: ClassVar[Literal["character", "word"]] = "word"
    needs: ClassVar[tuple[str, ...]] = (
        "a masked language model",
        "WordNet's files (not with word_class=false)",
        "a sentence encoder (only with a similarity)",
    )

    word_class: bool = True
    """Whether a new word has to share a part of speech with the old one."""
    similarity: Annotated[float, Field(ge=-1, le=1)] | None = None
    """Similarity of sentences at least, around the change, against the original text; none switches it off."""
    metric: Literal["cosine", "angular"] = "cosine"
    """How similarity is measured: the cosine, or 1 - arccos(cosine) / pi."""

    @classmethod
    def paper_preset(cls) -> "BAE":
        """Return the paper's number of candidates, and no budget of queries."""
        return cls(max_candidates=50, queries=None)

    def reads(self, resources: Resources) -> tuple[str, ...]:  # noqa: ARG002 - the base's signature
        """Return the language model, WordNet for word classes, and the encoder if a similarity is asked for."""
        return ("masked_lm", *wanted(wordnet=self.word_class, similarity_encoder=self.similarity is not None))

    def prepare(self, resources: Resources) -> Greedy:
        """Open the masked language model, WordNet for word classes, and the encoder if a similarity is asked for."""
        if resources.masked_lm is None:
            fix = "give the folder of a Transformers model with a masked-language-model head by --masked-lm"
            raise missing_resource(self.name, "a masked language model", fix=fix)
        constraints: list[Constraint] = []
        if self.word_class:
            constraints.append(SameWordClass(find_wordnet(resources.wordnet)))
        similar = open_similarity(
            resources.similarity_encoder, self.similarity, attack=self.name, metric=self.metric, reference="original"
        )
        if similar is not None:
            constraints.append(similar)
        return Greedy(
            MaskedCandidates(MaskedWords(resources.masked_lm), self.max_candidates),
            importance="delete",
            max_candidates=self.max_candidates,
            constraints=tuple(constraints),
            closeness=None if similar is None else similar.closeness,
        )

    def constraints(self) -> tuple[str, ...]:
        """Return what keeps the text near the original."""
        word_class = "shared part of speech by WordNet" if self.word_class else "word classes not compared"
        return ("no stop words, numbers or single letters", word_class, similarity_words(self.similarity, "original"))
