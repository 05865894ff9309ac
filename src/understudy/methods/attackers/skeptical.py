"""Skeptical student: the teacher reaches a shallow exit only, and what the student answers with learns from labels.

A small classifier on an intermediate activation takes the teacher's softened answers, so that these shape the layers
below it; the layers above are trained with hard labels. A teacher made to mislead cannot reach the student's output,
and after training the exits are thrown away.

    L = CE(main) + α·T²·KL(teacher ‖ exit) + (1 − α)·CE(exit)

With a second, deeper exit (`deep_exit`) the student also distils itself, from its output into that exit:
L + 0.3·KL_T(main ‖ deep) + 0.7·CE(deep).

Kundu, Sun, Fu, Pedram, Beerel: Analyzing the Confidentiality of Undistillable Teachers in Knowledge Distillation.
NeurIPS 2021 (https://github.com/ksouvik52/Skeptical2021); in short Kundu et al. 2021, NeurIPS.

Fidelity: instantiation. The terms and their weights are the released code's, which says nothing of the values that go
with a student: where its exits are, after which epoch the teacher comes in, and at which temperature. Those are ours:

- The exit stands after a third of the depth, the deep one half way from there to the end; both are a mean over the
  map and one linear layer.
- The default leaves the deep exit out, and lets the teacher in from the start (`delay`); T is 20.
- As in the released code, the term of 0.3 carries no T², and its gradient reaches the student's output too.
- Where the true label is not known, the class of the teacher's answer stands for it, and at the exit the teacher's
  softened answer alone counts.
"""

from typing import Annotated, Any, ClassVar

from jaxtyping import Bool, Float, Int64
from pydantic import Field, NonNegativeInt, PositiveFloat
from torch import Tensor, nn

from understudy.errors import ConfigError
from understudy.losses import distillation_loss, hard_cross_entropy, kl_rows
from understudy.methods.distiller import Knowledge, Taught
from understudy.methods.method import Fidelity, preset
from understudy.methods.softened import Softened
from understudy.models import Classifier
from understudy.models.exits import Exits, cut_at
from understudy.runs.seeds import stream

SELF_WEIGHT, DEEP_LABELS = 0.3, 0.7  # of the released code


def skeptical_loss(
    main: Float[Tensor, "b k"],
    shallow: Float[Tensor, "b k"],
    deep: Float[Tensor, "b k"] | None,
    target_probs: Float[Tensor, "b k"],
    labels: Int64[Tensor, " b"],
    known: Bool[Tensor, " b"],
    *,
    temperature: float,
    alpha: float,
    squared_factor: bool = True,
) -> Float[Tensor, ""]:
    """Return CE(main) + s·α·KL(t ‖ shallow) + (1 − α)·CE(shallow) [+ 0.3·KL_T(main ‖ deep) + 0.7·CE(deep)].

    Args:
        main: logits that the student answers with.
        shallow: logits of the exit that the teacher reaches.
        deep: logits of the exit that the student itself teaches; None leaves its terms out.
        target_probs: the teacher's answers softened by T; no gradient flows into them.
        labels: classes, true where `known`.
        known: where they are; elsewhere the shallow exit sees s·KL alone.
        temperature: T > 0.
        alpha: weight of the teacher against the labels at the shallow exit, 0 to 1.
        squared_factor: whether s is T² or 1.

    Returns:
        Mean over the batch, in nats, float32 or wider; gradients flow into all logits, `main` as the target included.
    """
    loss = hard_cross_entropy(main, labels, reduction="mean") + distillation_loss(
        shallow,
        target_probs,
        labels,
        known,
        temperature=temperature,
        alpha=alpha,
        squared_factor=squared_factor,
        reduction="mean",
    )
    if deep is None:
        return loss
    itself = kl_rows(main, deep, temperature=temperature).mean()
    return loss + SELF_WEIGHT * itself + DEEP_LABELS * hard_cross_entropy(deep, labels, reduction="mean")


class Skeptical(Softened):
    """Distil into a shallow exit of the student, and train the rest of it on labels.

    Kundu et al. 2021, NeurIPS: Analyzing the Confidentiality of Undistillable Teachers in Knowledge Distillation.
    """

    fidelity: ClassVar[Fidelity] = "instantiation"

    temperature: PositiveFloat = 20.0
    """Softening of the answers and of the exits [T]."""
    exit: Annotated[float, Field(gt=0, lt=1)] = 1 / 3
    """Where the teacher's exit stands, as a share of the student's depth."""
    deep_exit: bool = False
    """Whether a second exit, half way from there to the end, learns from the student's own output and from labels."""
    delay: NonNegativeInt = 0
    """Epochs at the start in which the student's output alone is trained, on labels."""

    @classmethod
    @preset
    def official(cls) -> "Skeptical":
        """The terms of the released code: both exits, after an epoch on labels alone."""
        return cls(deep_exit=True, delay=1)

    def check_teacher(self, teacher: Classifier, student: Classifier, *, bank: object = None) -> None:
        """Refuse what any distiller refuses, and a student that is too shallow for the exits.

        Raises:
            ConfigError: with what does not fit.
        """
        super().check_teacher(teacher, student, bank=bank)
        self._places(student)

    def trained(self, student: Classifier, knowledge: Knowledge) -> nn.Module:
        """Return the student with its exits."""
        generator = stream(knowledge.run.seed, "exits")
        return Exits(student, at=self._places(student), classes=knowledge.classes, generator=generator)

    def main(self, outputs: Any) -> Tensor:
        """Return the logits that the student answers with."""
        logits: Tensor = outputs[0]
        return logits

    def loss(self, outputs: Any, taught: Taught) -> Tensor:
        """Return the cross-entropy of the output alone in the first `delay` epochs, and all terms from then on."""
        main, shallow, deep = (*outputs, None)[:3]
        if taught.epoch < self.delay:
            idle: Tensor = sum(logits.sum() for logits in outputs[1:])  # several processes wait for every gradient
            return hard_cross_entropy(main, taught.labels, reduction="mean") + 0 * idle
        found: Tensor = skeptical_loss(
            main,
            shallow,
            deep,
            taught.answers.softened(self.temperature),
            taught.labels,
            taught.known,
            temperature=self.temperature,
            alpha=self.alpha,
            squared_factor=self.squared_factor,
        )
        return found

    def _places(self, student: Classifier) -> list[str | float]:
        shallow = cut_at(student, self.exit)
        if not self.deep_exit:
            return [shallow]
        deep = cut_at(student, (1 + self.exit) / 2)
        if deep == shallow:
            raise ConfigError(
                "the student is too shallow for two exits",
                where=student.spec,
                fix="take a deeper student, an exit nearer to the input, or --no-deep-exit",
            )
        return [shallow, deep]
