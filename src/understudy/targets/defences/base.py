"""What every defence is: options with bounds, and a map from an answer to what leaves the endpoint."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

from jaxtyping import Float, Int64
from torch import Tensor

from understudy.targets._chains import Link


@dataclass(frozen=True)
class Client:
    """One client, as the defences know it.

    Args:
        seed: 0 or more; what is secret from the client is drawn from it, and stays the same as long as it does.
        memory: what the defences have learnt of the client so far, by name. A defence puts a new tensor in the place
            of the old one, and no element ever becomes smaller, so that two memories merge by their maximum.
    """

    seed: int
    memory: dict[str, Tensor] = field(default_factory=dict)


class Defence(Link, ABC):
    """Base of all defences: the fields of a subclass are its options.

    A default is part of the file format: `describe` leaves it out, so it must never change.
    """

    keeps_unit_norm: ClassVar[bool]
    """Whether unit rows stay unit rows."""

    @abstractmethod
    def transform(self, z: Float[Tensor, "b d"], *, keys: Int64[Tensor, " b"], client: Client) -> Float[Tensor, "b e"]:
        """Return what leaves in the place of `z`; it is not normalised again.

        Rows are treated in their order, each a function of itself, its key and the client (with what the client asked
        before): how a stream of rows is cut into batches does not matter.

        Args:
            z: answers, as unit rows or raw. Shape (b, d), on the CPU.
            keys: 0 to 2^63 - 1 for each query, a function of its input and occasion. Shape (b,).
            client: who asked; its memory is replaced where the defence has one.

        Returns:
            The defended rows, in the type of `z`. Shape (b, e) with e = `width(d)`.
        """

    def width(self, d: int) -> int:
        """Return the length of a defended row, for rows of `d` numbers."""
        return d

    def check(self, d: int) -> None:
        """Refuse options that are impossible for rows of `d` numbers.

        Raises:
            ConfigError: an option does not fit the width; the message says both.
        """
