"""PWWS, probability weighted word saliency: synonyms of WordNet, the words taken in order of what changing them gains.

Ren et al., "Generating natural language adversarial examples through probability weighted word saliency" (ACL 2019),
https://aclanthology.org/P19-1103; code: https://github.com/JHL-HUST/PWWS.

Equations (4) to (9): the saliency of word i is S_i = p(x)[y] - p(x, w_i <- unknown)[y], its best candidate gains
D_i = max over c of p(x)[y] - p(x, w_i <- c)[y], and words are replaced in the order of softmax(S)_i D_i.

Fidelity: paper, with these differences.

- The paper looks synonyms up for the word's tagged part of speech and replaces named entities by those of the data
  set. Here synsets of all parts of speech count, as in TextAttack, and named entities are words like others.
- At most `max_candidates` synonyms of a word are tried, in WordNet's order of senses; the paper tries all.
- Stop words (negations among them), words of one letter and words without a letter are left alone.
- TextAttack multiplies by the largest score instead of the largest gain, which can change the order:
  `order="score"` does so too.
"""

from typing import ClassVar, Literal

from understudy.attacks.text.base import TextAttack
from understudy.attacks.text.greedy import Greedy
from understudy.attacks.text.resources import Resources
from understudy.attacks.text.sources import Source, SynonymCandidates, open_source


class PWWS(TextAttack):
    """Word level: synonyms, ordered by saliency times gain."""

    name: ClassVar[str] = "pwws"
    label: ClassVar[str] = "PWWS"
    summary: ClassVar[str] = "replaces words by synonyms, in the order of saliency times gain"
    paper: ClassVar[str] = "Ren et al., ACL 2019"
    fidelity: ClassVar[Literal["paper", "official", "instantiation"]] = "paper"
    level: ClassVar[Literal["character", "word"]] = "word"
    needs: ClassVar[tuple[str, ...]] = ("WordNet's files, or a table of synonyms, or word vectors",)

    source: Source = "wordnet"
    """Where synonyms come from: `wordnet`, `synonyms` (a JSON table) or `vectors`."""
    order: Literal["gain", "score"] = "gain"
    """What the saliency is multiplied with: the largest gain (paper) or the largest score (TextAttack)."""

    def reads(self, resources: Resources) -> tuple[str, ...]:  # noqa: ARG002 - the base's signature
        """Return the source of synonyms."""
        return (self.source,)

    def prepare(self, resources: Resources) -> Greedy:
        """Open the synonyms."""
        source = open_source(self.source, resources, attack=self.name, top=50, cosine=0.5)
        return Greedy(
            SynonymCandidates(source, self.max_candidates),
            importance="pwws" if self.order == "gain" else "pwws_score",
            max_candidates=self.max_candidates,
        )

    def constraints(self) -> tuple[str, ...]:
        """Return what keeps the text near the original."""
        return ("no stop words, numbers or single letters", "similarity of sentences not asked for")
