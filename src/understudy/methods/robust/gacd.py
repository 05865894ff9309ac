"""Guided adversarial contrastive distillation: the teacher's clean features anchor the student's adversarial ones.

Each adversarial image's features must be closer to the teacher's features of the same clean image than to those of any
other of the batch. Samples on which the teacher gives the true class little probability count for less.

Bai, Chen, Zhao, Wen, Jiang, Kot: Feature Distillation With Guided Adversarial Contrastive Learning. 2020,
arXiv 2009.09922.

Fidelity: instantiation. The public abstract says that features are distilled with the teacher's as anchors, by a
contrastive objective that is tied to a bound of mutual information, and that samples are weighed against the teacher's
mistakes. The rest is ours, and no constant is known to be the paper's:

- Linear heads of 128 outputs at unit length on both networks' penultimate features, and a temperature of 0.1.
- The negatives are the batch's own (InfoNCE); there is no memory bank.
- The weight of a sample is the probability that the teacher gives to its true class on the clean image.
- Cross-entropy on the adversarial image is added with weight 1, and the attack climbs it, from a uniform start.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn

from understudy.attacks import Start
from understudy.losses import discriminate, hard_cross_entropy, unit_rows, weighted_mean, widened
from understudy.methods.method import Access, Fidelity, preset
from understudy.methods.robust._presets import QuickPresets
from understudy.methods.robust_method import Inner, RobustDistiller
from understudy.models import Network, Penultimate
from understudy.models.build import initialise
from understudy.training.seen import Seen


def guided_rows(ours: Float[Tensor, "n d"], theirs: Float[Tensor, "n d"], *, temperature: float) -> Float[Tensor, " n"]:
    """Return −log softmax_j(G_i·)_i of each row, G_ij = ours_i · theirs_j / τ_g; rows are taken as they are."""
    found: Tensor = discriminate(
        ours,
        theirs,
        surrogate=ours,
        temperature=temperature,
        self_negatives=False,
        positive_in_denominator=True,
        reduction="none",
    )
    return found


class Heads(nn.Module):
    """Linear heads φ and ψ that bring the features of student and teacher to one width.

    Args:
        ours: features of the student.
        theirs: features of the teacher.
        width: of both heads' outputs.
        generator: draws the weights, of variance 1 / features; biases start at 0.
    """

    def __init__(self, ours: int, theirs: int, *, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.student, self.teacher = (_head(features, width, generator) for features in (ours, theirs))

    def forward(self, ours: Tensor, theirs: Tensor) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]:
        """Return both at unit length; no gradient flows into the teacher's features."""
        with torch.autocast(ours.device.type, enabled=False):
            return unit_rows(self.student(widened(ours))), unit_rows(self.teacher(widened(theirs.detach())))


class GACD(QuickPresets, RobustDistiller):
    """Distil by contrast of adversarial features with the teacher's clean ones, trusting the teacher where it is right.

    Bai et al.: Feature Distillation With Guided Adversarial Contrastive Learning. 2020, arXiv 2009.09922; an
    independent instantiation.
    """

    fidelity: ClassVar[Fidelity] = "instantiation"
    requires: ClassVar[Access] = Access.WEIGHTS
    inner: ClassVar[Inner] = "ce"

    width: PositiveInt = 128
    """Outputs of the heads [d]."""
    temperature: PositiveFloat = 0.1
    """Softening of the cosines [τ_g]."""
    start: Start = "uniform"
    """Where the attack starts; a uniform start of our own choice."""

    @model_validator(mode="after")
    def _has_no_divergence(self) -> "GACD":
        if self.reduction != "mean":
            raise ValueError("reduction class_mean divides divergences of logits, and GACD has none: leave it at mean")
        return self

    @classmethod
    @preset
    def our_cifar10(cls) -> "GACD":
        """Our own values for the usual 200 epochs."""
        return cls()

    def uses(self) -> frozenset[str]:
        """Features of the student on adversarial images, features and logits of the teacher on clean ones."""
        return frozenset({"student_features", "teacher_features", "teacher_clean"})

    def extras(self, student: Network, teacher: Network | None, generator: torch.Generator) -> nn.Module:
        """Return the heads."""
        assert teacher is not None
        with Penultimate(student) as ours, Penultimate(teacher) as theirs:
            return Heads(ours.width, theirs.width, width=self.width, generator=generator)

    def loss(self, seen: Seen, extras: nn.Module | None) -> Mapping[str, Tensor]:
        """Return Σ w_i·(−log softmax_j(G_i·)_i) / Σ w_i + CE(s(x'), y), with w_i = q_{x,i y}."""
        assert extras is not None
        ours, theirs = extras(seen.student_adv_features, seen.teacher_clean_features)
        trusted = torch.exp(-hard_cross_entropy(seen.teacher_clean, seen.labels, reduction="none"))
        contrast = weighted_mean(guided_rows(ours, theirs, temperature=self.temperature), trusted)
        labelled = hard_cross_entropy(seen.student_adversarial, seen.labels, reduction="mean")
        return {"loss": contrast + labelled, "contrast": contrast, "trust": trusted.mean()}


def _head(features: int, width: int, generator: torch.Generator) -> nn.Linear:
    with torch.device("meta"):  # or the layer would draw from the global generator
        head = nn.Linear(features, width)
    initialise(head.to_empty(device="cpu"), generator)
    return head
