"""CAKE: distil a classifier without data, from samples drawn towards its decision boundary.

Samples start as Gaussian noise in the teacher's normalised coordinates. Groups of samples with pairwise
different labels are pulled towards their labels by cross-entropy and towards one another in logit space, so that
they settle on the two sides of a decision boundary. The step size falls over the sets by orders of magnitude:
early sets are strongly shaped, late ones are nearly noise. The student is then fitted to the teacher's answers on
all of them.

Braun, Mundt, Kersting: Deep Classifier Mimicry without Data Access. AISTATS 2024, arXiv 2306.02090.
Authors' code: https://github.com/ml-research/CAKE

Fidelity: official. The loss terms, the schedule and the student's recipe are those of the released code; the
`official_*` presets take its configurations value by value. Known differences:

- `reduction="per_group"` (our default) sums over groups where the code averages, with the weights divided by
  the published number of groups: the same update at the published batch, and one that no longer changes with the
  batch. The `official_*` presets average.
- Everything but the network runs in float32, and the network too unless the run asks for bf16. The code always
  synthesises under autocast, in float16 on a GPU, without loss scaling.
- The contrast uses Σ_{i<j} ‖z_i − z_j‖² = G Σ_i ‖z_i − z̄‖², which needs no pairwise tensor.
- The bank keeps the teacher's logits, so that any temperature can be applied later; the code keeps probabilities.
- Samples that are not finite, or beyond |x| = 1000, stop the run; the code checks the loss alone, once a mini-batch.
- Configured Langevin noise is off in every released configuration, although the paper describes samples as
  noisy. The `paper_*` presets switch it on and are otherwise the released values; the paper's own tables were not
  at hand when this was written.
- CIFAR-100 is released with a configuration that asks to inherit CIFAR-10's values and silently does not:
  `official_cifar100_as_composed` is what runs, `official_cifar100_as_intended` what was presumably meant.
- Student batches that do not fill up are dropped.
"""

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from torch import Tensor
from torch.nn import functional as F

from understudy.bank import Bank, StorageType, rounded
from understudy.errors import ConfigError
from understudy.losses import total_variation
from understudy.methods.method import Access, Fidelity, Method, Outcome, preset
from understudy.models import Classifier, Network, count_parameters, freeze
from understudy.runs.run import Run
from understudy.synthesis import Shape, Shard, descend, fill_bank, step_size_at
from understudy.synthesis.provenance import about, answers, check_bank, set_metrics
from understudy.synthesis.start import following_noise, pixel_box, starting_noise
from understudy.training import Recipe
from understudy.training.from_bank import check_student, fit_on_bank, held_out_agreement


def classification_term(
    logits: Float[Tensor, "sets groups members classes"], labels: Int[Tensor, "sets groups members"]
) -> Float[Tensor, " sets"]:
    """Return L_cls of each set: the cross-entropy, summed over a group's members and averaged over groups."""
    members = F.cross_entropy(logits.movedim(-1, 1), labels, reduction="none")
    return members.sum(dim=2).mean(dim=1)


def contrast_term(logits: Float[Tensor, "sets groups members classes"]) -> Float[Tensor, " sets"]:
    """Return L_con of each set: squared logit distances over all pairs of a group, averaged over classes and groups."""
    members = logits.shape[2]
    centred = logits - logits.mean(dim=2, keepdim=True)
    return members * centred.square().mean(dim=3).sum(dim=2).mean(dim=1)


def entangling_term(
    logits: Float[Tensor, "sets groups members classes"],
    labels: Int[Tensor, "sets groups members"],
    *,
    temperature: float,
) -> Float[Tensor, " sets"]:
    """Return ½ G² / SNN of each set, the released "snn" variant of the contrast.

    SNN is the soft nearest neighbour loss (Frosst, Papernot, Hinton 2019) on the logits of a whole set; its
    inverse falls as classes entangle. A sample whose label is alone in the set adds nothing to the mean, and a
    set of such samples has nothing to entangle: its term is zero.
    """
    z, y = logits.flatten(1, 2), labels.flatten(1, 2)
    distance = (z[:, :, None] - z[:, None]).square().sum(dim=-1) / temperature  # (sets, rows, rows)
    itself = torch.eye(z.shape[1], dtype=torch.bool, device=z.device)
    same = (y[:, :, None] == y[:, None]) & ~itself
    near = torch.exp(-distance).masked_fill(itself, 0)
    share = (near * same).sum(dim=2) / (near.sum(dim=2) + 1e-9)
    paired = same.any(dim=2)
    loss = -(torch.log(share + 1e-9) * paired).mean(dim=1)
    some = paired.any(dim=1)
    return torch.where(some, 0.5 * logits.shape[2] ** 2 / torch.where(some, loss, 1.0), 0.0)


def entropy_term(logits: Float[Tensor, "sets groups members classes"]) -> Float[Tensor, " sets"]:
    """Return Σ_k p̄_k log₁₀ p̄_k / K of each set's mean softmax: lowest when all classes are seen equally often."""
    p = logits.softmax(dim=-1).mean(dim=(1, 2)).clamp_min(torch.finfo(logits.dtype).tiny)  # p log p is 0 at 0
    return (p * p.log10()).mean(dim=1)


def draw_labels(
    groups: int, group_size: int, classes: int, generator: torch.Generator
) -> Int[Tensor, "groups members"]:
    """Return labels that differ within each group: the first entries of a random permutation a group."""
    order = torch.rand(groups, classes, generator=generator, device=generator.device).argsort(dim=1)
    return order[:, :group_size]


def convert_weight(weight: float, *, from_groups: int, to_groups: int) -> float:
    """Return the weight that gives the same update when the mean runs over another number of groups."""
    return weight * to_groups / from_groups


class CAKE(Method):
    """Distil a classifier without data, from samples drawn towards its decision boundary.

    Braun, Mundt, Kersting: Deep Classifier Mimicry without Data Access. AISTATS 2024, arXiv 2306.02090.
    """

    fidelity: ClassVar[Fidelity] = "official"
    requires: ClassVar[Access] = Access.WEIGHTS
    needs_data: ClassVar[bool] = False

    sets: PositiveInt = 500
    """Sets of samples, each with its own step size [mini-batches, T]."""
    samples_per_set: PositiveInt = 500
    """Samples in a set; a multiple of group_size [B]."""
    steps: PositiveInt = 256
    """Updates of each set [S]."""
    group_size: Annotated[int, Field(ge=2)] = 10
    """Samples of pairwise different labels that attract one another; at most the number of classes [G]."""
    class_weight: NonNegativeFloat = 1e3
    """Weight of the cross-entropy towards the labels [lambda_cls]."""
    contrast_weight: NonNegativeFloat = 10.0
    """Weight of the attraction within groups [lambda_con]."""
    tv_weight: NonNegativeFloat = 1e5
    """Weight of the total variation of each sample [lambda_tv]."""
    entropy_weight: NonNegativeFloat = 0.0
    """Weight of the negative entropy of a set's mean prediction [lambda_ent]."""
    contrast: Literal["mse", "snn"] = "mse"
    """Attraction by squared logit distance, or by the inverse soft nearest neighbour loss."""
    snn_temperature: PositiveFloat = 1.0
    """Temperature of snn."""
    reduction: Literal["per_group", "mean"] = "per_group"
    """Whether the update of a sample stays the same in a larger set, or shrinks with it as in the released code."""
    reference_groups: PositiveInt = 50
    """Groups a set for which the weights are meant, under per_group."""
    step_size: PositiveFloat = 0.1
    """Step size of the first set [epsilon_0]."""
    decades: NonNegativeFloat = 4.0
    """Powers of ten by which the step size falls over the sets [D]."""
    step_size_schedule: Shape = "linear"
    """Course of the step size's logarithm over the sets."""
    sample_optimiser: Literal["sgd", "adam"] = "sgd"
    """How samples are updated; adam takes the step size as its learning rate."""
    langevin: bool = False
    """Whether noise of size sqrt(2 epsilon) follows each update."""
    noise_scale: NonNegativeFloat = 1.0
    """Factor on the Langevin noise."""
    noise_schedule: Literal["step_size", "linear", "cosine", "constant"] = "step_size"
    """Course of epsilon in the noise: that of the step size, or one of its own from the same start."""
    clamp: bool = False
    """Whether samples are kept in the valid range of pixels after each update."""
    start_mean: tuple[float, ...] = (0.0,)
    """Means of the starting noise, in the teacher's normalised coordinates; sets take them in turn, radii faster."""
    start_std: PositiveFloat = 1.0
    """Standard deviation of the starting noise, in the same coordinates."""
    start_smoothing: tuple[NonNegativeInt, ...] = (0,)
    """Radii in pixels by which starting noise is blurred; set t takes the radius at t modulo their number."""
    sets_at_once: PositiveInt = 4
    """Sets drawn in one batch; a matter of speed and memory alone."""
    storage: StorageType = "float16"
    """How the bank stores samples; the teacher answers what is stored."""
    min_step_size: NonNegativeFloat = 0.0
    """The student sees only sets of at least this step size."""
    max_step_size: PositiveFloat = float("1e9")
    """The student sees only sets of at most this step size."""
    soft_labels: bool = True
    """Whether the student learns the teacher's probabilities, or its class alone."""
    temperature: PositiveFloat = 1.0
    """Softening of both distributions in the student's loss, which is multiplied by its square."""
    held_out_frac: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """Share of the samples kept from the student, on which its agreement is reported."""
    noise_control: bool = True
    """Whether a second student is trained on Gaussian noise, to show what the whole method adds."""
    start_control: bool = False
    """Whether a third student is trained on the samples as they start, to show what their updates add."""
    fit: Recipe = Recipe(epochs=30, batch_size=256, learning_rate=0.5)
    """How the student is trained."""

    @model_validator(mode="after")
    def _divisible(self) -> "CAKE":
        if self.samples_per_set % self.group_size:
            near = max(self.samples_per_set // self.group_size, 1) * self.group_size
            raise ValueError(
                f"samples_per_set {self.samples_per_set} is not divisible by group_size {self.group_size}; "
                f"for instance {near} is"
            )
        if not self.start_smoothing or not self.start_mean:
            raise ValueError("start_smoothing and start_mean need at least one value; 0 leaves the noise as it is")
        if self.min_step_size > self.max_step_size:
            raise ValueError(f"min_step_size {self.min_step_size} lies above max_step_size {self.max_step_size}")
        return self

    @classmethod
    @preset
    def digits(cls) -> "CAKE":
        """The embedded 8x8 digits: under a minute on a laptop's processor; chosen as `mnist` was."""
        return cls(
            sets=160, samples_per_set=50, steps=50, tv_weight=1e3, decades=2.0, clamp=True, start_smoothing=(0, 1),
            start_mean=(0.0, -0.5), start_std=1.5, sets_at_once=40, temperature=4.0, start_control=True,
            fit=Recipe(epochs=20, batch_size=64, learning_rate=0.1),
        )  # fmt: skip

    @classmethod
    @preset
    def mnist(cls) -> "CAKE":
        """MNIST at 28x28 in minutes: few steps, from smooth starts within the range of pixels.

        Chosen without real data, by agreement on held-out synthetic samples; see benchmarks/README.md.
        """
        recipe = Recipe(
            epochs=20, batch_size=128, learning_rate=0.1, nesterov=True, warmup_frac=0.2, cycle_momentum=False
        )
        return cls(
            sets=100, samples_per_set=100, steps=20, decades=1.0, clamp=True, start_smoothing=(1, 2),
            start_mean=(0.0, -1.0), start_std=2.0, sets_at_once=10, temperature=4.0, start_control=True, fit=recipe,
        )  # fmt: skip

    @classmethod
    @preset
    def paper_mnist(cls) -> "CAKE":
        """MNIST at 32x32 with the released weights, and the noise that the paper describes."""
        return cls.official_mnist().model_copy(update={"langevin": True})

    @classmethod
    @preset
    def paper_cifar10(cls) -> "CAKE":
        """CIFAR-10 with the released weights, and the noise that the paper describes."""
        return cls.official_cifar10().model_copy(update={"langevin": True})

    @classmethod
    @preset
    def official_mnist(cls) -> "CAKE":
        """The released configuration for MNIST at 32x32."""
        return cls(sets=512, contrast_weight=1e-3, tv_weight=1e7, reduction="mean")

    @classmethod
    @preset
    def official_mnist_cnn(cls) -> "CAKE":
        """The released configuration for MNIST at 28x28 with the small convolutional network."""
        recipe = Recipe(epochs=10, batch_size=128, learning_rate=0.1)
        return cls.official_mnist().model_copy(update={"fit": recipe})

    @classmethod
    @preset
    def official_fashion_mnist(cls) -> "CAKE":
        """The released configuration for Fashion-MNIST at 32x32."""
        recipe = Recipe(epochs=30, batch_size=256, learning_rate=0.1)
        return cls.official_mnist().model_copy(update={"fit": recipe})

    @classmethod
    @preset
    def official_svhn(cls) -> "CAKE":
        """The released configuration for SVHN."""
        return cls(sets=512, reduction="mean")

    @classmethod
    @preset
    def official_cifar10(cls) -> "CAKE":
        """The released configuration for CIFAR-10."""
        return cls(sets=500, reduction="mean")

    @classmethod
    @preset
    def official_cifar100_as_intended(cls) -> "CAKE":
        """CIFAR-100 with the values of CIFAR-10, which its released file asks to inherit."""
        return cls.official_cifar10()

    @classmethod
    @preset
    def official_cifar100_as_composed(cls) -> "CAKE":
        """CIFAR-100 with the base defaults that its released file really gives."""
        return cls(sets=256, samples_per_set=100, steps=500, reduction="mean", reference_groups=10)

    @classmethod
    @preset
    def official_toy(cls) -> "CAKE":
        """The released two-dimensional setting; its samples hardly move, so it proves nothing."""
        return cls(
            sets=100, samples_per_set=100, steps=250, group_size=2, class_weight=1e-2, contrast_weight=1e-3,
            tv_weight=0.0, step_size=0.01, reduction="mean",
        )  # fmt: skip

    def cost(self, model: Network, *, rows: int | None, bank: Bank | None = None) -> dict[str, int]:  # noqa: ARG002
        """Return samples, evaluations of the teacher (forward and input gradient), training steps and bytes."""
        samples = self.sets * self.samples_per_set
        kept = round(samples * (1 - self.held_out_frac))
        banks = len(self.controls()) + (bank is None)  # each control keeps its own
        width = {"float32": 4, "float16": 2, "uint8": 1}[self.storage]
        return {
            "samples": samples,
            "teacher_evaluations": 0 if bank else samples * self.steps,
            "training_steps": self.fit.steps(kept) * (1 + len(self.controls())),
            "bank_bytes": banks * samples * (width * math.prod(model.input_shape) + 4 * model.outputs + 12),
            "parameters": count_parameters(model),
        }

    def run(self, *, teacher: Classifier, student: Classifier, run: Run, bank: Bank | None = None) -> Outcome:
        """Synthesise a bank from the teacher, then fit the student to it.

        Args:
            teacher: the network to distil; never changed.
            student: a network of the same input shape, classes and normalisation; trained in place.
            run: where everything is put on file; a run that was stopped goes on.
            bank: samples drawn earlier from the same teacher, to use instead of drawing new ones.

        Raises:
            ConfigError: group_size exceeds the number of classes, or the bank was drawn otherwise.
            DivergenceError: samples or losses left the range of meaning, or the teacher answers NaN.
        """
        self.check_teacher(teacher, student, bank=bank)
        evaluations = 0 if bank is not None else self.sets * self.samples_per_set * self.steps
        if bank is None:
            bank = self.synthesise(teacher, run, folder=run.folder / "bank", phase="synthesise")
        untrained = copy.deepcopy(student)
        self._fit(student, bank, run, phase="fit")
        held_out = held_out_agreement(student, bank, held_out_frac=self.held_out_frac, seed=run.seed)
        controls = {}
        for name, method in self.controls().items():
            folder = run.folder / "control" / name / "bank"
            plain = method.synthesise(teacher, run, folder=folder, phase=f"draw_{name}")
            controls[name] = copy.deepcopy(untrained)
            self._fit(controls[name], plain, run, phase=f"fit_{name}")
        facts = {
            "samples": len(bank),
            "teacher_evaluations": evaluations,
            "bank_bytes": bank.bytes,
            "synthetic": {"agreement": held_out.to_json()},
        }
        return Outcome(student, controls, facts)

    def synthesise(self, teacher: Classifier, run: Run, *, folder: Path, phase: str) -> Bank:
        """Draw all sets from the teacher into a bank, several at once (the method's first stage)."""
        options = run.options
        network = freeze(
            teacher.to(run.device),
            precision=options.precision,
            channels_last=options.channels_last,
            compiled=options.compile,
        )
        exact = network if options.precision == "float32" else freeze(teacher)
        groups = self.samples_per_set // self.group_size
        shape = (self.samples_per_set, *teacher.input_shape)
        box = pixel_box(teacher, run.device) if self.clamp else None

        def draw(shard: int, between: Callable[[int], None]) -> Shard:
            sets = range(self.sets)[shard * self.sets_at_once : (shard + 1) * self.sets_at_once]
            labels = torch.stack(
                [draw_labels(groups, self.group_size, teacher.classes, run.stream("cake.labels", t)) for t in sets]
            )
            start = starting_noise(
                sets, shape, means=self.start_mean, spread=self.start_std, radii=self.start_smoothing, run=run
            )
            sizes = [self.step_size_of(t) for t in sets]
            noise = [self.noise_size_of(t) for t in sets]
            descent = descend(
                start.clamp_(*box) if box else start,
                self.energy(network.forward_normalised, labels),
                step_size=torch.tensor(sizes),
                steps=self.steps,
                optimiser=self.sample_optimiser,
                noise=following_noise(sets, shape, noise, run) if self.langevin else None,
                box=box,
                first_set=sets.start,
                between=between,
            )
            targets = labels.flatten()
            logits = answers(exact, rounded(descent.x, self.storage), batch=self.samples_per_set)
            columns = {
                "logits": logits,
                "targets": targets,
                "step_size": torch.tensor(sizes).repeat_interleave(self.samples_per_set),
            }
            return Shard(descent.x, columns, set_metrics(sets, sizes, descent.terms, logits, targets))

        return fill_bank(
            folder,
            shards=-(-self.sets // self.sets_at_once),
            draw=draw,
            storage=self.storage,
            about=about(teacher, self._settings()),
            run=run,
            phase=phase,
        )

    def energy(
        self, forward: Callable[[Tensor], Tensor], labels: Int[Tensor, "sets groups members"]
    ) -> Callable[[Tensor], dict[str, Tensor]]:
        """Return the weighted terms of each set as a function of the samples of all sets.

        Args:
            forward: maps samples in normalised coordinates to logits.
            labels: what each sample is pulled towards.
        """
        scale = labels.shape[1] / self.reference_groups if self.reduction == "per_group" else 1.0

        def terms(x: Tensor) -> dict[str, Tensor]:
            logits = forward(x).view(*labels.shape, -1)
            found = {"classification": self.class_weight * scale * classification_term(logits, labels)}
            if self.contrast_weight:
                pull = (
                    contrast_term(logits)
                    if self.contrast == "mse"
                    else entangling_term(logits, labels, temperature=self.snn_temperature)
                )
                found["contrast"] = self.contrast_weight * scale * pull
            if self.tv_weight and x.ndim == 4:
                variation = total_variation(x).view(len(labels), -1).mean(dim=1)
                found["total_variation"] = self.tv_weight * scale * variation
            if self.entropy_weight:
                found["entropy"] = self.entropy_weight * scale * entropy_term(logits)
            return found

        return terms

    def step_size_of(self, index: int) -> float:
        """Return the step size of a set."""
        return step_size_at(index, self.sets, start=self.step_size, decades=self.decades, shape=self.step_size_schedule)

    def controls(self) -> dict[str, "CAKE"]:
        """Return, by name, the same method without any update: on Gaussian noise, and on its own start."""
        gaussian = {"start_mean": (0.0,), "start_std": 1.0, "start_smoothing": (0,), "clamp": False}
        found = {}
        if self.noise_control:
            found["noise_control"] = self.model_copy(update={"steps": 0, **gaussian})
        if self.start_control:
            found["start_control"] = self.model_copy(update={"steps": 0})
        return found

    def noise_size_of(self, index: int) -> float:
        """Return the standard deviation of a set's Langevin noise: √(2 ε), times `noise_scale`."""
        shape = self.step_size_schedule if self.noise_schedule == "step_size" else self.noise_schedule
        epsilon = step_size_at(index, self.sets, start=self.step_size, decades=self.decades, shape=shape)
        return self.noise_scale * math.sqrt(2 * epsilon)

    def _fit(self, student: Classifier, bank: Bank, run: Run, *, phase: str) -> None:
        fit_on_bank(
            student,
            bank,
            recipe=self.fit,
            temperature=self.temperature,
            soft_labels=self.soft_labels,
            held_out_frac=self.held_out_frac,
            step_sizes=(self.min_step_size, self.max_step_size),
            run=run,
            phase=phase,
        )

    def _settings(self) -> dict[str, Any]:
        """Return the fields that bear on what is drawn, so that one bank can serve several students."""
        return self.model_dump(mode="json", exclude=_STUDENT_FIELDS)

    def reads_bank(self) -> bool:
        """Samples that another run has drawn may take the place of new ones."""
        return True

    def check_teacher(self, teacher: Classifier, student: Classifier, *, bank: Bank | None = None) -> None:
        """Refuse a teacher of too few classes, a student of other coordinates, and a bank drawn otherwise."""
        check_student(student, about(teacher, {}), where="the student")
        if any(self.start_smoothing) and len(teacher.input_shape) != 3:
            raise ConfigError("start_smoothing needs images", where="--start-smoothing", fix="leave it out for vectors")
        if max(self.start_smoothing) >= min(teacher.input_shape[1:], default=1):
            raise ConfigError(
                f"start_smoothing {max(self.start_smoothing)} is too wide for images of {teacher.input_shape[1:]}",
                where="--start-smoothing",
                expected=f"less than {min(teacher.input_shape[1:])}",
            )
        if self.group_size > teacher.classes:
            raise ConfigError(
                f"group_size {self.group_size} exceeds the teacher's {teacher.classes} classes",
                where="--group-size",
                expected="at most one sample of each class in a group",
                fix=f"use --group-size {teacher.classes} or less",
            )
        if bank is not None:
            check_bank(bank, teacher, self._settings())


_STUDENT_FIELDS = {
    "sets_at_once", "min_step_size", "max_step_size", "soft_labels", "temperature", "held_out_frac",
    "noise_control", "start_control", "fit",
}  # fmt: skip
