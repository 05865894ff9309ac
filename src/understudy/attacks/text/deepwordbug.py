"""DeepWordBug: one random character edit in each of the words that matter most.

Gao, Lanchantin, Soffa, Qi, "Black-box generation of adversarial text sequences to evade deep learning classifiers"
(2018 IEEE Security and Privacy Workshops), arXiv 1801.04354; code: https://github.com/QData/deepWordBug.

Fidelity: paper, with these differences.

- The importance of a word is that of TextAttack's recipe, 1 - p[y] with the word unknown; the paper's own scores (its
  section III-B: replace-1, temporal head and tail) are not offered.
- Every kind of edit is tried on a word and the worst for the victim is kept; the paper applies one kind to all words.
- Edits stop at the victim's first mistake and when the text is 30 edits away; words are taken in the order of
  importance without a fixed number of them.
- Stop words (negations among them), words of one letter and words without a letter are left alone, and so is the
  punctuation around a word. Drawn letters are lower-case, or upper-case in the place of a capital.
"""

from typing import ClassVar, Literal

from pydantic import PositiveInt

from understudy.attacks.text.base import TextAttack
from understudy.attacks.text.characters import EditCandidates
from understudy.attacks.text.constraints import EditDistance
from understudy.attacks.text.edits import delete, insert, substitute, swap
from understudy.attacks.text.greedy import Greedy
from understudy.attacks.text.resources import Resources


class DeepWordBug(TextAttack):
    """Character level: swap two neighbours, replace a letter, delete one, insert one."""

    name: ClassVar[str] = "deepwordbug"
    label: ClassVar[str] = "DeepWordBug"
    summary: ClassVar[str] = "swaps, replaces, deletes or inserts a letter in the words that matter most"
    paper: ClassVar[str] = "Gao et al., SPW 2018"
    fidelity: ClassVar[Literal["paper", "official", "instantiation"]] = "paper"
    level: ClassVar[Literal["character", "word"]] = "character"

    max_candidates: PositiveInt = 4
    """Edits drawn for a word: one of each of the four kinds, and so on in turn."""
    edits: PositiveInt = 30
    """Most edits of the whole text, as Levenshtein counts them (a swap is two)."""

    def prepare(self, resources: Resources) -> Greedy:  # noqa: ARG002 - it needs none
        """Return the search."""
        candidates = EditCandidates((swap, substitute, delete, insert), self.max_candidates)
        return Greedy(candidates, "unk", self.max_candidates, constraints=(EditDistance(self.edits),))

    def constraints(self) -> tuple[str, ...]:
        """Return what keeps the text near the original."""
        return ("no stop words, numbers or single letters", f"at most {self.edits} edits of a text (Levenshtein)")
