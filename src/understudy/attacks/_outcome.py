"""What AutoAttack found: its progress, its result, and the count between the two."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from jaxtyping import Bool, Int64
from torch import Tensor

from understudy.attacks._evidence import Unit
from understudy.attacks._trial import Trial


@dataclass(frozen=True)
class AutoAttackProgress:
    """How far an evaluation is.

    Args:
        attack: at work: "apgd-ce", "apgd-t", "fab-t" or "square".
        batch: of this attack, counted from 1.
        batches: of this attack.
        passes: forward passes made in this batch.
        of: passes that this batch makes at most.
        survivors: images that no attack has broken yet.
        rows: images in all.
    """

    attack: str
    batch: int
    batches: int
    passes: int
    of: int
    survivors: int
    rows: int


@dataclass(frozen=True)
class AutoAttackResult:
    """What AutoAttack found, image by image.

    Args:
        robust: whether the network is right on the image itself and on all that the attacks made of it.
        fell_to: the attack that broke each image, "clean" where the network is wrong without one, None if robust.
        adversarial: of every image that an attack broke, by its row, the attacked image, float32 on the CPU.
        notes: what a reader of the number must know, one sentence each.
        after: accuracy on the clean images ("clean"), and what was left of it after each attack, as shares of 1.
        seconds: that each attack took, restarts included.
        passes: forward passes of whole batches that each attack made.
        outside: attacked images that left the ball or the box; they do not count as broken.
        unconfirmed: broken images that the network got right when it was asked once more, in other batches.
        zero_gradients: points at which APGD-T found no gradient to begin with.
    """

    robust: Bool[Tensor, " n"]
    fell_to: list[str | None]
    adversarial: Mapping[int, Tensor]
    notes: tuple[str, ...]
    after: Mapping[str, float]
    seconds: Mapping[str, float] = field(default_factory=dict)
    passes: Mapping[str, int] = field(default_factory=dict)
    outside: int = 0
    unconfirmed: int = 0
    zero_gradients: int = 0


class Tally:
    """Counts what falls, from the units on file alone.

    Args:
        trial: which says what an attacked image is worth.
        correct: images that the network gets right unattacked.
    """

    def __init__(self, trial: Trial, correct: Bool[Tensor, " n"]) -> None:
        self._trial = trial
        self.robust = correct.clone()
        self._fell_to: list[str | None] = [None if right else "clean" for right in correct.tolist()]
        self._adversarial: dict[int, Tensor] = {}
        self._after = {"clean": self._share()}
        self._seconds: dict[str, float] = {}
        self._passes: dict[str, int] = {}
        self._outside = self._unconfirmed = self._zero_gradients = 0

    @property
    def standing(self) -> int:
        """Number of images that nothing has broken yet."""
        return int(self.robust.sum())

    def survivors(self) -> Int64[Tensor, " s"]:
        """Return the rows of the images that nothing has broken yet."""
        return self.robust.nonzero().squeeze(1)

    def count(self, name: str, unit: Unit) -> None:
        """Measure a unit's images again, and count as broken those that lie in the ball and in the box."""
        inside = self._trial.within(unit)
        for row, image, valid in zip(unit.fooled.tolist(), unit.images, inside.tolist(), strict=True):
            if valid:
                self._fell_to[row], self._adversarial[row] = name, image
        self.robust[unit.fooled[inside]] = False
        self._outside += int((~inside).sum())
        self._unconfirmed += self._trial.right_again(unit)
        self._zero_gradients += unit.zero_gradients
        self._seconds[name] = self._seconds.get(name, 0.0) + unit.seconds
        self._passes[name] = self._passes.get(name, 0) + unit.passes

    def close(self, name: str) -> None:
        """Note what an attack has left."""
        self._after[name] = self._share()

    def result(self, notes: Iterable[str]) -> AutoAttackResult:
        """Return everything that was counted; `notes` gain what the attacks gave reason to say."""
        return AutoAttackResult(
            robust=self.robust,
            fell_to=self._fell_to,
            adversarial=self._adversarial,
            notes=(*notes, *self._remarks()),
            after=self._after,
            seconds=self._seconds,
            passes=self._passes,
            outside=self._outside,
            unconfirmed=self._unconfirmed,
            zero_gradients=self._zero_gradients,
        )

    def _share(self) -> float:
        return self.standing / len(self.robust)

    def _remarks(self) -> Iterable[str]:
        if self._outside:
            yield f"{self._outside} attacked images left the ball or the box [0, 1]; they do not count as broken"
        if self._unconfirmed:
            yield (
                f"{self._unconfirmed} broken images were classified rightly when asked once more, in other batches; "
                "they count as broken"
            )
        if self._zero_gradients:
            yield f"APGD-T found no gradient at {self._zero_gradients} of its starting points: gradients may be masked"
