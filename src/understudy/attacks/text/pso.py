"""PSO: a particle swarm over synonyms; particles drift towards the texts that have hurt the victim most.

Zang et al., "Word-level textual adversarial attacking as combinatorial optimization" (ACL 2020),
https://arxiv.org/abs/1910.12196; code: https://github.com/thunlp/SememePSO-Attack.

Fidelity: instantiation; the swarm is that of the authors' code, these parts are not.

- Candidates are synonyms of WordNet, a table or vectors; the paper's are words of equal sememes in HowNet.
- 20 particles and 10 iterations by default; the paper takes 60 and 20: preset `paper_preset`.
- A mutation draws its position by the gains measured at the start, and tries only the candidates of that position. The
  code measures the gains of every candidate of every word anew for each particle, far beyond a budget of 500 queries.
"""

import random
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from jaxtyping import Float64
from pydantic import Field, PositiveInt

from understudy.attacks.text.base import Found, Search, Sentence, TextAttack
from understudy.attacks.text.greedy import Candidates
from understudy.attacks.text.protect import attackable
from understudy.attacks.text.resources import Resources
from understudy.attacks.text.sources import Source, SynonymCandidates, open_source
from understudy.attacks.text.swarm import Particle, Swarm, draw_position
from understudy.attacks.text.words import Words

Scored = Generator[list[str], Float64[np.ndarray, "q c"], Float64[np.ndarray, " q"]]
"""Asks for texts and returns S of those that were answered."""


class PSO(TextAttack):
    """Word level: a swarm of texts, mixed towards the best ones and mutated."""

    name: ClassVar[str] = "pso"
    label: ClassVar[str] = "PSO"
    summary: ClassVar[str] = "a particle swarm over synonyms"
    paper: ClassVar[str] = "Zang et al., ACL 2020"
    fidelity: ClassVar[Literal["paper", "official", "instantiation"]] = "instantiation"
    level: ClassVar[Literal["character", "word"]] = "word"
    needs: ClassVar[tuple[str, ...]] = ("WordNet's files, or a table of synonyms, or word vectors",)

    source: Source = "wordnet"
    """Where synonyms come from: `wordnet`, `synonyms` (a JSON table) or `vectors`."""
    population: PositiveInt = 20
    """Particles."""
    iterations: PositiveInt = 10
    """Moves of each particle [G]."""
    v_max: Annotated[float, Field(gt=0, le=100)] = 3.0
    """Largest velocity, which the first ones span and to which words are pulled."""

    @classmethod
    def paper_preset(cls) -> "PSO":
        """Return the paper's population and iterations, and no budget of queries."""
        return cls(population=60, iterations=20, queries=None)

    def reads(self, resources: Resources) -> tuple[str, ...]:  # noqa: ARG002 - the base's signature
        """Return the source of synonyms."""
        return (self.source,)

    def prepare(self, resources: Resources) -> "SwarmSearch":
        """Open the synonyms."""
        source = open_source(self.source, resources, attack=self.name, top=50, cosine=0.5)
        candidates = SynonymCandidates(source, self.max_candidates)
        return SwarmSearch(candidates, self.population, self.iterations, self.v_max)

    def constraints(self) -> tuple[str, ...]:
        """Return what keeps the text near the original."""
        return ("no stop words, numbers or single letters", "similarity of sentences not asked for")


@dataclass(frozen=True)
class SwarmSearch:
    """Search by a particle swarm; a `Searcher`."""

    candidates: Candidates
    population: int
    iterations: int
    v_max: float

    def search(self, sentence: Sentence, words: Words, visible: int, rng: random.Random) -> Search:
        """Search one sentence; stops at the first success."""
        pools = {i: self.candidates(words, i, rng) for i in attackable(words, visible)}
        pools = {i: pool for i, pool in pools.items() if pool}
        if not pools:
            return Found(words, no_candidates=True)
        best = _Best(words, sentence.label)
        neighbours = [(i, words.with_word(i, word)) for i, pool in pools.items() for word in pool]
        scores = yield from best.score([words, *(text for _, text in neighbours)])
        if best.over:
            return Found(best.words)
        swarm = Swarm(tuple(pools), self.iterations, self.v_max)
        gains, particles = self._start(swarm, neighbours, scores[1:], float(scores[0]), rng)
        for t in range(self.iterations):
            leader = best.words
            for particle in particles:
                particle.words = swarm.fly(particle, leader, t, rng)
            yield from _rescore(particles, best)
            if not best.over:
                yield from self._mutate(swarm, particles, words, pools, gains, best, rng)
            if best.over:
                break
            for particle in particles:
                particle.update_best()
        return Found(best.words)

    def _start(
        self,
        swarm: Swarm,
        neighbours: Sequence[tuple[int, Words]],
        scores: Float64[np.ndarray, " q"],
        before: float,
        rng: random.Random,
    ) -> tuple[Float64[np.ndarray, " d"], list[Particle]]:
        """Return the best gain of each position, and particles of one changed word each."""
        tops = []
        for position in swarm.positions:
            own = [k for k, (i, _) in enumerate(neighbours) if i == position]
            tops.append(max(own, key=lambda k: scores[k]))
        gains = scores[tops] - before
        particles = []
        for v in np.linspace(-self.v_max, self.v_max, self.population):
            chosen = tops[draw_position(gains, rng)]
            velocity = np.full(len(tops), v)
            particles.append(Particle(neighbours[chosen][1], float(scores[chosen]), velocity))
        return gains, particles

    def _mutate(
        self,
        swarm: Swarm,
        particles: Sequence[Particle],
        original: Words,
        pools: dict[int, list[str]],
        gains: Float64[np.ndarray, " d"],
        best: "_Best",
        rng: random.Random,
    ) -> Generator[list[str], Float64[np.ndarray, "q c"], None]:
        """Change one more word in some particles, each to the candidate that scores highest there."""
        moves: list[tuple[Particle, list[Words]]] = []
        for particle in particles:
            if swarm.mutates(original, particle.words, rng):
                position = swarm.positions[draw_position(gains, rng)]
                moves.append((particle, [particle.words.with_word(position, word) for word in pools[position]]))
        scores, start = (yield from best.score([text for _, texts in moves for text in texts])), 0
        for particle, texts in moves:
            own = scores[start : start + len(texts)]
            start += len(texts)
            if len(own):
                particle.words, particle.score = texts[int(own.argmax())], float(own.max())


class _Best:
    """The text that scores highest among all that were asked, and whether the search is over."""

    def __init__(self, words: Words, label: int) -> None:
        self.words, self.label = words, label
        self.over = False
        """Whether a text succeeded, or the budget ran out."""
        self._score = -1.0

    def score(self, texts: Sequence[Words]) -> Scored:
        """Ask for texts and remember the best one; a text that succeeds comes before all that do not."""
        probs = yield [text.text for text in texts]
        scores = 1.0 - probs[:, self.label]
        fooled = np.flatnonzero(probs.argmax(axis=1) != self.label) if len(probs) else np.empty(0, dtype=np.int64)
        self.over = len(fooled) > 0 or len(probs) < len(texts)
        among = fooled if len(fooled) else np.flatnonzero(scores > self._score)
        if len(among):
            top = int(among[scores[among].argmax()])
            self.words, self._score = texts[top], float(scores[top])
        return scores


def _rescore(particles: Sequence[Particle], best: _Best) -> Generator[list[str], Float64[np.ndarray, "q c"], None]:
    scores = yield from best.score([particle.words for particle in particles])
    for particle, score in zip(particles, scores, strict=False):  # fewer where the budget ran out
        particle.score = float(score)
