"""Attacks that are made to be compared with others: on rescaled logits, at growing radii, and from another network."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from understudy.attacks import CrossEntropy, InnerObjective, Rows, perturb
from understudy.evaluation._batches import Bench
from understudy.evaluation._exact import exact
from understudy.evaluation._outcomes import Attacked
from understudy.evaluation.robustness import Suite, attack_of, identity_of, share

REFERENCE = "pgd20"
"""The attack that checks compare with."""
SPREAD = 10.0
"""Largest spread of the logits under which no float32 cross-entropy loses its gradient: exp(-10) is far from 0."""


@dataclass(frozen=True)
class Rescaled:
    """Cross-entropy of logits that are divided, image by image, so that they spread no wider than `SPREAD`.

    Labels do not change, and where logits are not large nothing does; a network whose logits were multiplied by 100,
    so that float32 leaves no gradient to climb, is attacked as the network underneath.

    Args:
        labels: true classes. Shape (n,).
        factor: what each image's logits are multiplied by, at most 1. Shape (n, 1).
    """

    labels: Tensor
    factor: Tensor

    def __call__(self, logits: Float[Tensor, "b k"], x: Tensor, rows: Rows, /) -> Float[Tensor, " b"]:
        """Return the cross-entropy against the labels."""
        return CrossEntropy(self.labels)(logits * self.factor[rows], x, rows)


def rescaled(bench: Bench, suite: Suite) -> Attacked:
    """Return what the reference attack does when it climbs the rescaled cross-entropy, from the same starts."""
    attack = attack_of(bench, REFERENCE)

    def objective(x: Tensor, labels: Tensor) -> InnerObjective:
        with torch.no_grad():
            logits = bench.model(x).float()
        spread = logits.amax(1, keepdim=True) - logits.amin(1, keepdim=True)
        return Rescaled(labels, SPREAD / spread.clamp_min(SPREAD))

    def make(x: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        climbed = objective(x, labels)
        return perturb(bench.attacked, x, climbed, attack=attack.attack, generator=generator, labels=labels)

    about = {**identity_of(attack), "spread": SPREAD}
    return bench.judge(f"{REFERENCE}-rescaled", make, draws=REFERENCE, standing=suite.clean, about=about)


@dataclass(frozen=True, eq=False)
class Sweep:
    """Robust accuracy under one attack at growing radii.

    Args:
        attack: name of the attack.
        epsilons: the radii, ascending.
        robust: which images stand at each radius. Each of shape (n,).
    """

    attack: str
    epsilons: tuple[float, ...]
    robust: tuple[Tensor, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the curve as plain JSON values."""
        pairs = zip(self.epsilons, self.robust, strict=True)
        return {
            "attack": self.attack,
            "points": [{"epsilon": epsilon, "robust": share(robust).to_json()} for epsilon, robust in pairs],
        }


def sweep(bench: Bench, suite: Suite, epsilons: Sequence[float]) -> Sweep:
    """Return the curve of the reference attack.

    What falls at one radius lies in every larger ball, so only what stands is attacked at the next.

    Args:
        bench: network and images; its norm is the curve's.
        suite: verdicts at the bench's radius, with those of the reference attack.
        epsilons: radii, in any order; 0 is the clean accuracy.
    """
    standing, found = suite.clean, []
    ordered = tuple(sorted(set(epsilons)))
    for epsilon in ordered:
        if epsilon == bench.epsilon:
            standing = standing & suite.attacks[REFERENCE].robust
        elif epsilon > 0:
            standing = _at(bench, standing, epsilon).robust
        found.append(standing)
    return Sweep(REFERENCE, ordered, tuple(found))


def everything(bench: Bench) -> float:
    """Return the radius at which every image can be made into any other, so that nothing can stand."""
    channels, height, width = bench.data.shape
    return 1.0 if bench.norm == "linf" else float((channels * height * width) ** 0.5)


def _at(bench: Bench, standing: Tensor, epsilon: float) -> Attacked:
    attack = attack_of(bench, REFERENCE, epsilon=epsilon)

    def make(x: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        return attack.run(bench.attacked, x, labels, generator)

    return bench.judge(
        f"{REFERENCE}-at-{epsilon:.6g}", make, draws=REFERENCE, standing=standing, radius=epsilon,
        about=identity_of(attack),
    )  # fmt: skip


def transfer(bench: Bench, suite: Suite, source: nn.Module) -> Attacked:
    """Return how the network fares on what the reference attack makes of another network, from the same starts.

    Args:
        bench: the network that is judged, and the images.
        suite: its verdicts.
        source: the network that is attacked.
    """
    attack = attack_of(bench, REFERENCE)

    def make(x: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        return attack.run(source, x, labels, generator)

    with exact(source):
        return bench.judge(
            f"{REFERENCE}-from-teacher", make, draws=REFERENCE, standing=suite.clean, about=identity_of(attack)
        )


def parting(
    student: Suite, teacher: Suite, labels: Int64[Tensor, " n"], classes: Sequence[str], *, attacks: Sequence[str]
) -> dict[str, Any]:
    """Return where teacher and student part ways under the same attacks, each attacked by itself.

    Args:
        student: its verdicts.
        teacher: its verdicts on the same images.
        labels: of the images.
        classes: names of the classes.
        attacks: under which the two are compared, by name.
    """
    of_student, of_teacher, labels = student.under(attacks), teacher.under(attacks), labels.cpu()
    per_class = [
        {"class": name, **_parted(of_student[labels == number], of_teacher[labels == number])}
        for number, name in enumerate(classes)
        if (labels == number).any()
    ]
    return {
        "attacks": list(attacks),
        **_parted(of_student, of_teacher),
        "clean": _parted(student.clean, teacher.clean),
        "per_class": per_class,
    }


def _parted(student: Tensor, teacher: Tensor) -> dict[str, int]:
    pairs = {
        "both_right": student & teacher,
        "student_only": student & ~teacher,
        "teacher_only": ~student & teacher,
        "both_wrong": ~student & ~teacher,
    }
    return {name: int(rows.sum()) for name, rows in pairs.items()}
