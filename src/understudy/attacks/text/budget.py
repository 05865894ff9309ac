"""What one search has asked so far: every text is paid for once, and never more texts than the budget has."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64


class Budget:
    """The queries of one sentence.

    Args:
        queries: most texts that may be scored; None is no limit.
    """

    def __init__(self, queries: int | None) -> None:
        self._queries = queries
        self._memory: dict[str, Float64[np.ndarray, " c"]] = {}
        self.cut = False
        """Whether a request had to be cut short."""

    @property
    def spent(self) -> int:
        """Texts scored so far."""
        return len(self._memory)

    def knows(self, text: str) -> bool:
        """Return whether a text was scored."""
        return text in self._memory

    def afford(self, texts: Sequence[str]) -> tuple[list[str], list[str]]:
        """Return the first texts of a request that can be answered, and those of them that have yet to be scored."""
        fresh: dict[str, None] = {}
        for place, text in enumerate(texts):
            if text in self._memory or text in fresh:
                continue
            if self._queries is not None and self.spent + len(fresh) >= self._queries:
                self.cut = True
                return list(texts[:place]), list(fresh)
            fresh[text] = None
        return list(texts), list(fresh)

    def remember(self, text: str, probs: Float64[np.ndarray, " c"]) -> None:
        """Keep the probabilities of a text that was scored. Shape (c,)."""
        self._memory[text] = probs

    def answers(self, texts: Sequence[str], classes: int) -> Float64[np.ndarray, "q c"]:
        """Return the probabilities of texts that were scored. Shape (q, c)."""
        rows = [self._memory[text] for text in texts]
        return np.stack(rows) if rows else np.zeros((0, classes))
