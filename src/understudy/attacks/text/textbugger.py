"""TextBugger in the black-box setting: typing errors that a reader overlooks, in the words that matter most.

Li, Ji, Du, Li, Wang, "TextBugger: generating adversarial text against real-world applications" (NDSS 2019),
arXiv 1812.05271.

Fidelity: paper, with these differences.

- The paper takes the most important sentence of a document first; here all words are in one order, that of 1 - p[y]
  without the word.
- Words shorter than four letters are left alone, and so are stop words (negations among them), words without a letter
  and the punctuation around a word.
- The neighbours among word vectors (Sub-W) are tried where `neighbours` asks for them; without them it is the character
  part of the attack.
- The similarity of sentences (0.8 in the paper, by the Universal Sentence Encoder) is asked of the encoder that you
  name, and of none by default; the number does not carry over from one encoder to another.
"""

import random
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeInt

from understudy.attacks.text.base import TextAttack
from understudy.attacks.text.characters import EditCandidates
from understudy.attacks.text.constraints import Similarity, similarity_words
from understudy.attacks.text.edits import delete_inside, mistype, split, swap_inside
from understudy.attacks.text.greedy import Candidates, Greedy
from understudy.attacks.text.resources import Resources, missing_resource, wanted
from understudy.attacks.text.sources import SynonymCandidates, open_source
from understudy.attacks.text.words import Words

_SHORTEST = 4


class TextBugger(TextAttack):
    """Character level: a space inside, a letter gone, two letters swapped, one mistyped; near words on demand."""

    name: ClassVar[str] = "textbugger"
    label: ClassVar[str] = "TextBugger"
    summary: ClassVar[str] = "splits, shortens, swaps or mistypes the words that matter most"
    paper: ClassVar[str] = "Li et al., NDSS 2019"
    fidelity: ClassVar[Literal["paper", "official", "instantiation"]] = "paper"
    level: ClassVar[Literal["character", "word"]] = "character"

    neighbours: NonNegativeInt = 0
    """Nearest words tried beside max_candidates (5 in the paper); above 0 it needs word vectors."""
    similarity: Annotated[float, Field(gt=-1, le=1)] | None = None
    """Least cosine of sentences by the similarity encoder; none asks for no similarity."""

    def reads(self, resources: Resources) -> tuple[str, ...]:  # noqa: ARG002 - the base's signature
        """Return the word vectors and the encoder, where the options ask for them."""
        return wanted(vectors=self.neighbours > 0, similarity_encoder=self.similarity is not None)

    def prepare(self, resources: Resources) -> Greedy:
        """Return the search, with word vectors and an encoder where the options ask for them."""
        candidates: Candidates = EditCandidates((split, delete_inside, swap_inside, mistype), 4, shortest=_SHORTEST)
        if self.neighbours:
            source = open_source("vectors", resources, attack=self.name, top=self.neighbours, cosine=0.5)
            candidates = _Both(candidates, SynonymCandidates(source, self.neighbours))
        limit = self.max_candidates + self.neighbours
        if self.similarity is None:
            return Greedy(candidates, "delete", limit)
        if resources.similarity_encoder is None:
            fix = "give the folder of a sentence encoder by --similarity-encoder, or leave the option similarity out"
            raise missing_resource(self.name, "a sentence encoder", fix=fix)
        near = Similarity(resources.similarity_encoder, threshold=self.similarity, window=None)
        return Greedy(candidates, "delete", limit, constraints=(near,), closeness=near.closeness)

    def constraints(self) -> tuple[str, ...]:
        """Return what keeps the text near the original."""
        words = f"no stop words, numbers or words of fewer than {_SHORTEST} letters"
        return (words, similarity_words(self.similarity, reference="original", window=None))


@dataclass(frozen=True)
class _Both:
    """The candidates of two sources, one after the other."""

    first: Candidates
    second: Candidates

    def __call__(self, words: Words, position: int, rng: random.Random) -> list[str]:
        """Return all of them."""
        return [*self.first(words, position, rng), *self.second(words, position, rng)]
