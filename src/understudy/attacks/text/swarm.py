"""The moves of a particle swarm over words: velocities, turns towards the best particles, and where to mutate."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64

from understudy.attacks.text.words import Words


@dataclass
class Particle:
    """One text on its way, with its velocity at each position and the best text it has been."""

    words: Words
    score: float
    velocity: Float64[np.ndarray, " d"]
    best: Words = field(init=False)
    best_score: float = field(init=False)

    def __post_init__(self) -> None:
        self.best, self.best_score = self.words, self.score

    def update_best(self) -> None:
        """Remember the present text if it scores higher than any before."""
        if self.score > self.best_score:
            self.best, self.best_score = self.words, self.score


@dataclass(frozen=True)
class Swarm:
    """How particles move at an iteration t of G.

    omega = 0.6 (G - t) / G + 0.2; a particle turns to its own best with probability 0.8 - 0.6 t / G, and to the best of
    all with 0.2 + 0.6 t / G. The constants are those of the authors' code.
    """

    positions: Sequence[int]
    """Of the words that have candidates; d of them."""
    iterations: int
    v_max: float

    def fly(self, particle: Particle, best: Words, t: int, rng: random.Random) -> Words:
        """Return the particle's next text, and change its velocity."""
        done = t / self.iterations
        omega = 0.6 * (1.0 - done) + 0.2
        pull = self._pull(particle.words, particle.best) + self._pull(particle.words, best)
        particle.velocity = omega * particle.velocity + (1.0 - omega) * pull
        words = particle.words
        if rng.random() < 0.8 - 0.6 * done:
            words = self._turned(words, particle.best, particle.velocity, rng)
        if rng.random() < 0.2 + 0.6 * done:
            words = self._turned(words, best, particle.velocity, rng)
        return words

    def mutates(self, original: Words, words: Words, rng: random.Random) -> bool:
        """Return whether a particle mutates: with probability 1 - 2 times the share of its words that are changed."""
        return rng.random() < 1.0 - 2.0 * len(original.changed(words)) / max(1, len(original))

    def _pull(self, words: Words, towards: Words) -> Float64[np.ndarray, " d"]:
        """Return e: -v_max where the words are equal, +v_max where they differ."""
        equal = [words.words[i] == towards.words[i] for i in self.positions]
        return np.where(equal, -self.v_max, self.v_max).astype(np.float64)

    def _turned(self, words: Words, towards: Words, velocity: Float64[np.ndarray, " d"], rng: random.Random) -> Words:
        """Take each word of another text with probability sigmoid(velocity)."""
        taken = [i for i, v in zip(self.positions, velocity, strict=True) if rng.random() < 1.0 / (1.0 + math.exp(-v))]
        return words.with_words({i: towards.words[i] for i in taken})


def draw_position(gains: Float64[np.ndarray, " d"], rng: random.Random) -> int:
    """Return an index drawn in proportion to the positive part of the gains; any, if none is positive."""
    weights = np.maximum(gains, 0.0)
    return rng.choices(range(len(gains)), weights=weights.tolist() if weights.any() else None)[0]
