"""What a ledger says: the state of an account, and what a request may send."""

from dataclasses import asdict, dataclass
from typing import Literal

Account = Literal["extraction", "evaluation"]


@dataclass(frozen=True)
class Counts:
    """The state of an account."""

    rows: int
    """Queries that are charged; never more than the budget."""
    requests: int
    """Times that rows were sent together, repeated attempts included."""
    sent: int
    """Rows of all requests: one that was sent again after a failure counts again, though it is charged once."""
    answered: int
    """Charged rows that were answered."""
    unanswered: int
    """Charged rows that may have been sent, and of which no answer is on file."""
    failed: int
    """Charged rows for which nothing was received, or that are yet to be sent; asking for them again costs nothing."""
    distinct: int
    """Different inputs among the charged rows."""
    repeated: int
    """Charged rows whose input had been charged before."""
    replayed: int
    """Rows that were answered from file, and not charged."""
    budget: int | None
    """Most rows that may be charged; None where there is no limit."""

    def to_json(self) -> dict[str, int | None]:
        """Return the counts by name."""
        return asdict(self)


@dataclass(frozen=True)
class Grant:
    """What a request may send, and what of it is on file."""

    client: int
    """Who asks, as `Ledger.register` numbers it."""
    request: int
    """Number of the request; 0 where there is nothing to send."""
    granted: int
    """So many rows, from the first on, are on file or within the budget."""
    send: tuple[int, ...]
    """Positions in the request of the rows to send."""
    keys: tuple[bytes, ...]
    """Their keys."""
    rows: tuple[int, ...]
    """Their numbers in the ledger."""
    filed: dict[int, bytes]
    """Answers on file, by position in the request."""
    repeats: dict[int, int]
    """Positions of rows that equal one to be sent, and its position."""
