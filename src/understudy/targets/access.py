"""Access: how much of a network can be seen."""

from enum import Enum


class Access(Enum):
    """How much of a network can be seen: labels, the k largest probabilities, logits, embeddings, or all of it."""

    LABELS = "labels"
    TOP_K = "top-k"
    LOGITS = "logits"
    EMBEDDINGS = "embeddings"
    WEIGHTS = "weights"

    def covers(self, needed: "Access") -> bool:
        """Return whether who has this access can work out what `needed` gives.

        Labels are part of top-k, top-k of logits, and weights give everything; embeddings are a kind of their own.

        Example:
            >>> Access.LOGITS.covers(Access.LABELS), Access.LOGITS.covers(Access.EMBEDDINGS)
            (True, False)
        """
        return needed is self or needed in _INCLUDED[self]


_INCLUDED = {
    Access.LABELS: set[Access](),
    Access.TOP_K: {Access.LABELS},
    Access.LOGITS: {Access.LABELS, Access.TOP_K},
    Access.EMBEDDINGS: set[Access](),
    Access.WEIGHTS: set(Access),
}
