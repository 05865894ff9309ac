"""What every robust method shares: the threat, the attack it trains with, and the training itself.

A method is its fields, its presets, what it `uses` of a batch, and its `loss`; see `understudy.training.adversarial`.
"""

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator
from torch import Tensor, nn

from understudy.attacks import (
    Attack,
    CrossEntropy,
    InnerObjective,
    KLFrom,
    MovingKL,
    Norm,
    OptionalRadius,
    Radius,
    Start,
    check_radius,
)
from understudy.data import Augment, ImageSet
from understudy.errors import ConfigError
from understudy.losses import RobustReduction, mirrored_kl_rows, reduce_rows
from understudy.methods.method import Access, Method, Outcome
from understudy.models import Classifier, Network, Penultimate, resolve_model
from understudy.runs.run import Run
from understudy.runs.seeds import stream
from understudy.training import Recipe
from understudy.training.from_images import cost_on_images
from understudy.training.robust import Plan, fit_robust
from understudy.training.robust_checks import check_robust_teacher
from understudy.training.seen import Clean, Seen
from understudy.training.teachers import MOST_PADDING, Teachers, View

__all__ = ["PAPER_RECIPE", "Clean", "Inner", "RobustDistiller", "RobustMethod", "RobustTraining", "Seen"]

Inner = Literal["ce", "kl_teacher", "kl_student", "moving"]

_LINF_EPSILON = 8 / 255

PAPER_RECIPE = Recipe(
    epochs=200,
    batch_size=128,
    learning_rate=0.1,
    weight_decay=2e-4,
    schedule="multi_step",
    milestones=(100, 150),
)
"""200 epochs of SGD at 0.1, a tenth of it after 100 and after 150: what most of the family trains with."""


class RobustMethod(Method):
    """Base of the methods that train on perturbed images; the fields of a subclass come after these."""

    needs_data: ClassVar[bool] = True
    inner: ClassVar[Inner] = "ce"
    """What the attack climbs: CE(s(x'), y), KL(q_x ‖ p_x'), KL(p_x ‖ p_x') with p_x fixed, or KL(q_x' ‖ p_x')."""

    norm: Norm = "linf"
    """How the size of a perturbation is measured."""
    epsilon: Radius = _LINF_EPSILON
    """Largest perturbation, in pixel units of [0, 1]; 8/255 may be written so [ε]."""
    step_size: OptionalRadius = None
    """Length of one step of the attack, likewise; a quarter of epsilon where none is given [η]."""
    attack_steps: PositiveInt = 10
    """Steps of the attack on each batch [K]."""
    start: Start = "gaussian"
    """Where the attack starts: the image, uniform in the ball, Gaussian of 0.001, or twice the ball, cut to it."""
    crop_padding: NonNegativeInt = 4
    """Pixels of padding for random crops; 0 leaves images where they are."""
    flip: bool = True
    """Whether images are mirrored at random, left to right."""
    reduction: RobustReduction = "mean"
    """Mean of the losses over samples, or that over the number of classes, as some authors' code has it."""
    single_step: Literal["none", "fgsm_rs", "n_fgsm"] = "none"
    """One step of 1.25 ε from a uniform start, or of ε from a wide one; takes the place of attack_steps and start."""
    guard: bool = False
    """Whether single-step training is watched, and rolled back where it collapses."""
    guard_steps: PositiveInt = 3
    """Steps of the attack after a collapse, of 1.5 ε together (a single one of 1.25 ε)."""
    warm_start: bool = False
    """Whether the attack on an image goes on from the perturbation of the epoch before."""
    warm_start_reset: Annotated[int, Field(ge=2)] = 10
    """Epochs between fresh starts of warm-started perturbations."""
    held_out: NonNegativeInt = 0
    """Training images kept back, on which PGD-20 is measured after each epoch."""
    keep: Literal["last", "best"] = "last"
    """Which weights the run ends with; the others are kept beside them where images are held out."""
    fit: Recipe = PAPER_RECIPE
    """How the network is trained."""

    @model_validator(mode="after")
    def _fits_together(self) -> "RobustMethod":
        check_radius(self.epsilon, self.norm)
        check_radius(self.step_size or 0.0, self.norm, where="step_size")
        if self.norm == "l2" and self.epsilon == _LINF_EPSILON:
            raise ValueError("epsilon 8/255 is a radius for linf, and next to nothing in l2: give one, such as 0.5")
        if self.keep == "best" and self.held_out == 0:
            raise ConfigError(
                "keep best has no images to choose the best weights on",
                where="--keep",
                fix="hold some training images back, for instance --held-out 1000",
            )
        if self.guard and self.single_step == "none":
            raise ValueError("guard watches single-step training alone: choose a single_step too")
        if self.warm_start and (self.norm == "l2" or self.single_step == "n_fgsm"):
            raise ValueError("warm_start is for linf, and n_fgsm needs its noise: leave one of them out")
        if self.inner == "moving" and self.single_step != "none":
            raise ValueError("single_step is not for attacks in which the teacher moves")
        return self

    @abstractmethod
    def uses(self) -> frozenset[str]:
        """Return what the loss looks at beside the student's logits on perturbed images.

        Out of "student_clean", "student_features", "teacher_clean", "teacher_adversarial" and "teacher_features";
        what is not named is not computed. Features are those of every pass that is made. A method with an
        `inner_objective` of its own names what that needs, too.
        """

    @abstractmethod
    def loss(self, seen: Seen, extras: nn.Module | None) -> Mapping[str, Tensor]:
        """Return the scalars of a batch, "loss" among them, in float32; gradients flow into the student alone."""

    def extras(
        self,
        student: Network,  # noqa: ARG002 (for those who override it)
        teacher: Network | None,  # noqa: ARG002
        generator: torch.Generator,  # noqa: ARG002
    ) -> nn.Module | None:
        """Return what is trained or kept along with the student, such as heads; None for nothing."""
        return None

    def inner_objective(self, clean: Clean) -> InnerObjective:
        """Return what the attack on a batch climbs."""
        if self.inner == "kl_teacher":
            return KLFrom(clean.teacher_clean)
        if self.inner == "kl_student":
            with torch.no_grad():
                return KLFrom(clean.mirror(clean.x))
        if self.inner == "moving":
            return MovingKL(clean.teacher)
        return CrossEntropy(clean.labels)

    def attack(self) -> Attack:
        """Return the attack that is trained with."""
        threat = {"norm": self.norm, "epsilon": self.epsilon}
        if self.single_step == "fgsm_rs":
            return Attack(**threat, step=1.25 * self.epsilon, steps=1, start="uniform")
        if self.single_step == "n_fgsm":
            return Attack(**threat, step=self.epsilon, steps=1, start="wide", project=False)
        step = self.epsilon / 4 if self.step_size is None else self.step_size
        return Attack(**threat, step=step, steps=self.attack_steps, start=self.start)

    def safe_attack(self) -> Attack:
        """Return the attack that a guard falls back to."""
        step = min(1.5 / self.guard_steps, 1.25) * self.epsilon
        return Attack(norm=self.norm, epsilon=self.epsilon, step=step, steps=self.guard_steps, start="uniform")

    def plan(self) -> Plan:
        """Return the training as the fields describe it."""
        return Plan(
            augment=Augment(crop_padding=self.crop_padding, flip=self.flip),
            recipe=self.fit,
            attack=self.attack(),
            safe_attack=self.safe_attack() if self.guard else None,
            warm_start_reset=self.warm_start_reset if self.warm_start else None,
            held_out=self.held_out,
            keep=self.keep,
            uses=self._uses(),
            inner=self.inner_objective,
            loss=self._loss,
        )

    def cost(self, model: Network, *, rows: int | None, bank: object = None) -> dict[str, int]:  # noqa: ARG002
        """Return training steps, images seen and parameters."""
        return cost_on_images(model, self.fit, max((rows or 0) - self.held_out, 0))

    def _uses(self) -> frozenset[str]:
        usual = type(self).inner_objective is RobustMethod.inner_objective  # others name themselves what they need
        return self.uses() | ({"teacher_clean"} if usual and self.inner == "kl_teacher" else set())

    def _loss(self, seen: Seen, extras: nn.Module | None) -> Mapping[str, Tensor]:
        return self.loss(seen, extras)


class RobustTraining(RobustMethod):
    """Base of the robust methods without a teacher; they make the robust teachers."""

    requires: ClassVar[Access] = Access.LABELS

    def run(self, *, model: Classifier, data: ImageSet, run: Run) -> Outcome:
        """Train `model` in place on perturbed images and their labels.

        Raises:
            ConfigError: several processes, or more images held out than there are.
            DivergenceError: the loss is no longer finite; the last good checkpoint is kept.
        """
        extras = self.extras(model, None, stream(run.seed, "extras"))
        done = fit_robust(model, data, plan=self.plan(), extras=extras, teachers=None, run=run)
        return Outcome(model, done.others, done.facts)


class RobustDistiller(RobustMethod):
    """Base of the methods that distil a robust teacher."""

    file_answers: bool = True
    """Whether the teacher's logits on clean crops and flips are filed; of no effect where its features are wanted."""
    igdm: NonNegativeFloat = 0.0
    """Weight of matching the teacher's change from x−δ to x+δ, growing over the epochs; 0 is off [α_I]."""

    def reads_bank(self) -> bool:
        """Answers on file are of use where the teacher's logits on clean views are wanted, and its features are not."""
        uses = self._uses()
        files = self.file_answers and self.crop_padding <= MOST_PADDING
        return files and "teacher_clean" in uses and "teacher_features" not in uses

    @property
    def other_view(self) -> View:
        """Which images the further teachers look at."""
        return "clean"

    def run(
        self,
        *,
        teacher: Classifier,
        student: Classifier,
        data: ImageSet,
        run: Run,
        bank: Path | None = None,
    ) -> Outcome:
        """Distil `teacher` into `student`, in place.

        Args:
            teacher: the robust network.
            student: the network to train.
            data: labelled images.
            run: where everything is put on file.
            bank: answers that an earlier run has filed, in its folder; they are taken over, and what is asked now
                is filed in this run's.

        Raises:
            ConfigError: several processes, more images held out than there are, or networks that do not fit.
            DivergenceError: the loss is no longer finite; the last good checkpoint is kept.
        """
        teachers = Teachers(
            teacher, {name: resolve_model(spec) for name, spec in self.other_teachers().items()},
            other_view=self.other_view, file_answers=self.file_answers, bank=bank,
        )  # fmt: skip
        extras = self.extras(student, teacher, stream(run.seed, "extras"))
        done = fit_robust(student, data, plan=self.plan(), extras=extras, teachers=teachers, run=run)
        return Outcome(student, done.others, done.facts)

    def check_teacher(self, teacher: Classifier, student: Classifier, *, bank: object = None) -> None:  # noqa: ARG002
        """Refuse a teacher, or a further one, of other classes or inputs, or without features where they are needed.

        Raises:
            ConfigError: with what does not fit.
        """
        everyone = Teachers(teacher, {name: resolve_model(spec) for name, spec in self.other_teachers().items()})
        for name, each in everyone.named().items():
            check_robust_teacher(each, student, name=name)
        for name, network in (("teacher_features", teacher), ("student_features", student)):
            if name in self._uses():
                Penultimate(network).close()

    def cost(self, model: Network, *, rows: int | None, bank: object = None) -> dict[str, int]:  # noqa: ARG002
        """Return training steps, images seen, parameters, and rows that teachers see if nothing is on file."""
        cost = super().cost(model, rows=rows)
        uses = self._uses()
        passes = sum(name in uses for name in ("teacher_clean", "teacher_adversarial", "mirrored"))
        passes += len(self.other_teachers()) + (self.attack().steps if self.inner == "moving" else 0)
        return {**cost, "teacher_evaluations": passes * cost["images_seen"]}

    def _uses(self) -> frozenset[str]:
        return super()._uses() | ({"mirrored", "teacher_adversarial"} if self.igdm else set())

    def _loss(self, seen: Seen, extras: nn.Module | None) -> Mapping[str, Tensor]:
        scalars = dict(self.loss(seen, extras))
        if self.igdm:
            scalars["igdm"] = self._mirrored_term(seen)
            weight = self.igdm * (seen.epoch + 1) / seen.epochs
            scalars["loss"] = scalars["loss"] + weight * scalars["igdm"]
        return scalars

    def _mirrored_term(self, seen: Seen) -> Tensor:
        rows = mirrored_kl_rows(
            seen.teacher_adversarial, seen.teacher_minus, seen.student_adversarial, seen.student_minus
        )
        return reduce_rows(rows, reduction=self.reduction, classes=seen.classes)
