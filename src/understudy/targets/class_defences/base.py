"""What every defence of a classifier is: options with bounds, and a map from probabilities to what is served."""

from abc import ABC, abstractmethod
from typing import ClassVar

from jaxtyping import Float, Float64, Int64
from torch import Tensor

from understudy.targets._chains import Link


class ClassDefence(Link, ABC):
    """Base of all serving-time defences of classifiers: the fields of a subclass are its options.

    A default is part of the file format: `describe_class_defences` leaves it out, so it must never change.
    """

    reference: ClassVar[str]
    """The paper whose defence it is."""
    remembers: ClassVar[bool] = False
    """Whether its answers depend on what was asked before."""

    @property
    @abstractmethod
    def keeps_top1(self) -> bool:
        """Whether the served row has its largest number where the clean row has it, for every row."""

    @abstractmethod
    def serve(
        self,
        y: Float64[Tensor, "b k"],
        *,
        images: Float[Tensor, " b *input"] | None,
        keys: Int64[Tensor, " b"],
        seed: int,
        memory: dict[str, Tensor],
    ) -> Float64[Tensor, "b k"]:
        """Return the probabilities that leave in the place of `y`.

        Equal input, key and seed give an equal answer; where there is a memory, what was asked before counts too.

        Args:
            y: clean probabilities: rows not below 0 that sum to 1. Shape (b, k).
            images: the queries in [0, 1], for defences that look at them. Shape (b, *input).
            keys: 0 to 2^63 - 1 for each query, a function of its input and occasion. Shape (b,).
            seed: the owner's; 0 or more. What the attacker must not know is drawn from it.
            memory: what the defence has learnt so far, by name; a new tensor is put in the place of the old one.

        Returns:
            Rows not below 0 that sum to 1, on the device of `y`. Shape (b, k).

        Raises:
            ConfigError: it needs the images and there are none, or a network that it uses does not fit them.
        """

    def check(self, classes: int) -> None:
        """Refuse options that are impossible for answers of so many classes.

        Raises:
            ConfigError: an option does not fit; the message says both.
            IntegrityError: a network that the defence uses cannot be loaded.
        """

    def identity(self) -> str:
        """Return what, beside the spec, decides the answers: the hash of a network that it uses, or nothing."""
        return ""
