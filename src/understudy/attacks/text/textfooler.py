"""TextFooler: near words of a vector space, the words taken in order of what deleting them costs.

Jin et al., "Is BERT really robust? A strong baseline for natural language attack on text classification and
entailment" (AAAI 2020), https://arxiv.org/abs/1907.11932; code: https://github.com/jind11/TextFooler.

Equation (2): the importance of word i is p(x)[y] - p(x without i)[y], plus what the class gains that the prediction
turns to. Replaced are words by their nearest counter-fitted vectors, of the same word class, in similar sentences.

Fidelity: instantiation; the search is the paper's, what it looks up is not.

- The vectors are yours (`--vectors`; the paper's are the counter-fitted ones), or a table of synonyms (`--synonyms`).
- At most `max_candidates` candidates, by default 10; the paper takes 50: preset `paper_preset`.
- Word classes are compared without a tagger: both words share a WordNet part of speech (`word_class=false` for none).
- Sentences are compared by a local encoder (`--similarity-encoder`) at a threshold of yours, off by default: the
  paper's (0.840845 angular in its code) belongs to the Universal Sentence Encoder and does not carry over.
- Stop words and negations come from our own list.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from understudy.attacks.text.base import TextAttack
from understudy.attacks.text.constraints import SameWordClass, open_similarity, similarity_words
from understudy.attacks.text.greedy import Constraint, Greedy
from understudy.attacks.text.resources import Resources, missing_resource, wanted
from understudy.attacks.text.sources import Source, SynonymCandidates, open_source
from understudy.attacks.text.wordnet import find_wordnet


class TextFooler(TextAttack):
    """Word level: near words of the same class, ordered by what deleting a word costs."""

    name: ClassVar[str] = "textfooler"
    label: ClassVar[str] = "TextFooler"
    summary: ClassVar[str] = "replaces words by near ones of the same class, in the order of what deleting them costs"
    paper: ClassVar[str] = "Jin et al., AAAI 2020"
    fidelity: ClassVar[Literal["paper", "official", "instantiation"]] = "instantiation"
    level: ClassVar[Literal["character", "word"]] = "word"
    needs: ClassVar[tuple[str, ...]] = (
        "word vectors or a table of synonyms",
        "WordNet's files (not with word_class=false)",
        "a sentence encoder (only with a similarity)",
    )

    source: Source | Literal["given"] = "given"
    """Where near words come from; `given` takes the vectors if they are given, else the table of synonyms."""
    cosine: Annotated[float, Field(ge=-1, le=1)] = 0.5
    """Cosine of a near word's vector at least."""
    word_class: bool = True
    """Whether a new word has to share a part of speech with the old one (noun and verb may change places)."""
    similarity: Annotated[float, Field(ge=-1, le=1)] | None = None
    """Similarity of sentences at least, around the change, against the previous text; none switches it off."""
    metric: Literal["cosine", "angular"] = "cosine"
    """How similarity is measured: the cosine, or 1 - arccos(cosine) / pi."""

    @classmethod
    def paper_preset(cls) -> "TextFooler":
        """Return the paper's number of candidates, and no budget of queries."""
        return cls(max_candidates=50, queries=None)

    def reads(self, resources: Resources) -> tuple[str, ...]:
        """Return the source of near words, WordNet for word classes, and the encoder if one is asked for."""
        return (self._kind(resources), *wanted(wordnet=self.word_class, similarity_encoder=self.similarity is not None))

    def _kind(self, resources: Resources) -> Source:
        if self.source != "given":
            return self.source
        return "vectors" if resources.vectors is not None else "synonyms"

    def prepare(self, resources: Resources) -> Greedy:
        """Open the near words, WordNet for word classes, and the encoder if a similarity is asked for."""
        if self.source == "given" and resources.vectors is None and resources.synonyms is None:
            fix = "give a text file of word vectors by --vectors, or a JSON table of synonyms by --synonyms"
            raise missing_resource(self.name, "word vectors or a table of synonyms", fix=fix)
        near = open_source(
            self._kind(resources), resources, attack=self.name, top=self.max_candidates, cosine=self.cosine
        )
        constraints: list[Constraint] = []
        if self.word_class:
            constraints.append(SameWordClass(find_wordnet(resources.wordnet), noun_verb_swap=True))
        similar = open_similarity(
            resources.similarity_encoder, self.similarity, attack=self.name, metric=self.metric, reference="previous"
        )
        if similar is not None:
            constraints.append(similar)
        return Greedy(
            SynonymCandidates(near, self.max_candidates),
            importance="textfooler",
            max_candidates=self.max_candidates,
            constraints=tuple(constraints),
            closeness=None if similar is None else similar.closeness,
        )

    def constraints(self) -> tuple[str, ...]:
        """Return what keeps the text near the original."""
        word_class = "shared part of speech by WordNet" if self.word_class else "word classes not compared"
        return ("no stop words, numbers or single letters", word_class, similarity_words(self.similarity, "previous"))
