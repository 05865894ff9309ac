"""CRDND-style distillation (independent instantiation): the teacher's mistakes compensated, its relations kept.

Before the student learns from the teacher, each of the teacher's answers is corrected by the least that makes the true
class lead. Besides, the student's adversarial samples must lie to the clean samples of the batch as the teacher's do,
and closest to their own clean version.

Wang et al.: Adversarial Contrastive Distillation with Adaptive Denoising (CRDND). ICASSP 2023, arXiv 2302.08764.

Fidelity: instantiation. No code and no formula of the paper is public. What is public: that an adaptive module
compensates for the robust teacher's instability, and that a contrastive relationship among several examples is
distilled. Everything else is ours, and no number of the paper can be said to be reproduced:

- The compensation (`compensation`): "margin" mixes in as much of the label as the true class needs to lead by m; also
  "confidence", "swap" (the label swap of DGAD) and "transition", a learned matrix of the teacher's instability.
- The two relations: that of the teacher, trusted where it needed no compensation, and the student's contrast of its
  own views, from whose negatives samples of the same class are left out. They see the local batch alone.
- The attack is RSLAD's, against the teacher's clean answer (`attack_target`); schedule and optimiser are RSLAD's.
- The weights, the temperatures and m were chosen on a toy problem.

Without relations (weights 0), without compensation (margin −1) and with the teacher on clean images (`teacher_view`
clean) it is RSLAD; with the teacher on the student's view and no weight on clean images it is AdaAD's outer loss.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor, nn

from understudy.attacks import CrossEntropy, InnerObjective, KLFrom
from understudy.losses import (
    cross_view_similarity,
    hard_cross_entropy,
    kl_rows_from_probs,
    own_view_rows,
    reduce_rows,
    relation_rows,
    swap_true_and_top,
    weighted_mean,
    widened,
)
from understudy.methods.method import Access, Fidelity, preset
from understudy.methods.robust._presets import DIGITS, RSLAD_SCHEDULE, QuickPresets
from understudy.methods.robust_method import Inner, RobustDistiller
from understudy.models import Network
from understudy.training import Recipe
from understudy.training.seen import Clean, Seen

Share = Annotated[float, Field(ge=0, le=1)]
Rows = Float[Tensor, "b k"]
Values = Float[Tensor, " b"]


def shortfall(probs: Rows, labels: Int[Tensor, " b"]) -> Values:
    """Return g = max_{k≠y} q_k − q_y in [−1, 1]: above 0 exactly where the teacher is wrong, near it where unstable."""
    true = labels[:, None]
    return probs.scatter(1, true, -torch.inf).amax(dim=1) - probs.gather(1, true).squeeze(1)


def margin_compensation(probs: Rows, labels: Int[Tensor, " b"], *, margin: float) -> Values:
    """Return a = clip((m + g)/(1 + g), 0, 1): the least weight of the label at which the true class leads by m."""
    g = shortfall(probs, labels)
    needed = (margin + g) / (1 + g).clamp_min(torch.finfo(g.dtype).tiny)  # at g = −1 negative, as m < 1
    return needed.clamp(0, 1)


def confidence_compensation(probs: Rows, labels: Int[Tensor, " b"], *, scale: float, power: float) -> Values:
    """Return a = κ·(1 − q_y)^γ."""
    return scale * (1 - probs.gather(1, labels[:, None]).squeeze(1)).clamp_min(0) ** power


def rectified(probs: Rows, labels: Int[Tensor, " b"], amount: Values) -> Rows:
    """Return q̃ = (1 − a)·q + a·e_y: ratios among the other classes stay as they are."""
    kept = (1 - amount)[:, None] * probs
    return kept.scatter_add(1, labels[:, None], amount[:, None])


class Transition(nn.Module):
    """A learned model of the teacher's instability: a C×C matrix Q, row j the teacher's answers where the truth is j.

    Q = softmax over the rows of B. It starts with 0.9 on the diagonal and the rest spread evenly, and has no weight
    decay, which would draw it to the uniform.

    Args:
        classes: C >= 2.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        start = torch.full((classes, classes), 0.1 / (classes - 1)).fill_diagonal_(0.9)
        self.scores = nn.Parameter(start.log())
        self.scores.no_weight_decay = True  # type: ignore[attr-defined]

    def matrix(self) -> Float[Tensor, "k k"]:
        """Return Q, whose rows sum to one."""
        return self.scores.softmax(dim=1)

    def divergence_rows(self, target_probs: Rows, logits: Rows, *, temperature: float) -> Values:
        """Return KL(q ‖ pQ) of each row, p = softmax(logits / τ); gradient flows into student and Q."""
        with torch.autocast(logits.device.type, enabled=False):
            seen = (widened(logits) / temperature).softmax(dim=1) @ self.matrix().to(widened(logits).dtype)
        target = target_probs.detach().to(seen.dtype)
        log_seen = seen.clamp_min(torch.finfo(seen.dtype).tiny).log()  # a sum of positive terms: nothing cancels
        return (torch.xlogy(target, target) - target * log_seen).sum(dim=1)


class CRDND(QuickPresets, RobustDistiller):
    """Distil a teacher with its mistakes compensated, and with how it relates the samples of a batch.

    In the style of CRDND (ICASSP 2023, arXiv 2302.08764), whose formulas are not public: an independent instantiation.
    """

    fidelity: ClassVar[Fidelity] = "instantiation"
    requires: ClassVar[Access] = Access.WEIGHTS
    inner: ClassVar[Inner] = "kl_teacher"

    compensation: Literal["margin", "confidence", "swap", "transition"] = "margin"
    """How the teacher's mistakes are compensated: two ways of mixing in the label, a swap, or a learned matrix."""
    margin: Annotated[float, Field(ge=-1, lt=1)] = 0.1
    """Probability by which the true class must lead after compensation; −1 turns it off; of mode margin [m]."""
    confidence_scale: Share = 1.0
    """Largest compensation in mode confidence [κ]."""
    confidence_power: PositiveFloat = 1.0
    """Power of the probability missing from the true class in mode confidence [γ]."""
    label_weight: NonNegativeFloat = 0.5
    """Weight of the cross-entropy that holds the learned matrix in place, in mode transition [κ]."""
    adversarial_weight: Share = 5 / 6
    """Weight of the divergence on adversarial images against that on clean ones [λ]."""
    temperature: PositiveFloat = 1.0
    """Softening of teacher and student before the compensation [τ]."""
    teacher_view: Literal["same", "clean"] = "same"
    """Whether the teacher answers to the image that the student sees, or always to the clean one."""
    relation_weight: NonNegativeFloat = 1.0
    """Weight of the teacher's relations among the samples of a batch [β_r]."""
    contrast_weight: NonNegativeFloat = 0.1
    """Weight of the student's contrast of its own two views [β_c]."""
    relation_temperature: PositiveFloat = 0.5
    """Softening of the cosines [τ_c]."""
    embedding: Literal["features", "logits"] = "features"
    """What relations are taken of: penultimate features, or logits."""
    attack_target: Literal["clean", "rectified", "ce"] = "clean"
    """What the attack leads away from: the teacher's clean answer, the same compensated, or the label."""
    fit: Recipe = RSLAD_SCHEDULE
    """How the student is trained."""

    @classmethod
    @preset
    def our_cifar10(cls) -> "CRDND":
        """Our own values for RSLAD's 300 epochs."""
        return cls()

    @classmethod
    @preset
    def denoise_only(cls) -> "CRDND":
        """An ablation: compensation without relations, for RSLAD's 300 epochs."""
        return cls(relation_weight=0, contrast_weight=0)

    @classmethod
    @preset
    def relations_only(cls) -> "CRDND":
        """An ablation: relations without compensation, for RSLAD's 300 epochs."""
        return cls(margin=-1)

    @classmethod
    @preset
    def digits_transition(cls) -> "CRDND":
        """The embedded 8x8 digits with a learned matrix of the teacher's instability: seconds."""
        return cls(compensation="transition", **DIGITS)

    def uses(self) -> frozenset[str]:
        """Both networks on both views, less what a weight of 0 or `teacher_view` leaves out."""
        relations = self.relation_weight > 0 or self.contrast_weight > 0
        parts = {
            "student_clean": self.adversarial_weight < 1 or relations,
            "student_features": relations and self.embedding == "features",
            "teacher_clean": self.adversarial_weight < 1
            or self.relation_weight > 0
            or self.teacher_view == "clean"
            or self.attack_target != "ce",
            "teacher_adversarial": self.relation_weight > 0 or self.teacher_view == "same",
            "teacher_features": self.relation_weight > 0 and self.embedding == "features",
        }
        return frozenset(name for name, wanted in parts.items() if wanted)

    def extras(self, student: Network, teacher: Network | None, generator: torch.Generator) -> nn.Module | None:  # noqa: ARG002
        """Return the learned matrix, in mode transition."""
        return Transition(student.outputs) if self.compensation == "transition" else None

    def inner_objective(self, clean: Clean) -> InnerObjective:
        """Return the divergence from the teacher's clean answer, compensated if wanted, or the cross-entropy."""
        if self.attack_target == "ce":
            return CrossEntropy(clean.labels)
        if self.attack_target == "clean":
            return KLFrom(clean.teacher_clean)
        target, _ = self.compensated(clean.teacher_clean, clean.labels, temperature=1.0)
        return KLFrom(target.clamp_min(torch.finfo(target.dtype).tiny).log())

    def compensated(self, logits: Rows, labels: Int[Tensor, " b"], *, temperature: float) -> tuple[Rows, Values]:
        """Return the teacher's compensated distribution q̃^τ and by how much each row was compensated, a in [0, 1].

        Neither carries a gradient. In mode transition nothing is changed here: the student's side is.
        """
        probs = (widened(logits.detach()) / temperature).softmax(dim=1)
        if self.compensation == "transition":
            return probs, probs.new_zeros(len(probs))
        if self.compensation == "swap":
            return swap_true_and_top(probs, labels), (shortfall(probs, labels) > 0).to(probs.dtype)
        if self.compensation == "confidence":
            amount = confidence_compensation(probs, labels, scale=self.confidence_scale, power=self.confidence_power)
        else:
            amount = margin_compensation(probs, labels, margin=self.margin)
        return rectified(probs, labels, amount), amount

    def loss(self, seen: Seen, extras: nn.Module | None) -> Mapping[str, Tensor]:
        """Return L_dn + β_r·L_rel + β_c·L_con, and in mode transition the anchor to the labels."""
        denoised, amount = self._denoised(seen, extras)
        scalars = {"denoised": denoised, "compensation": amount.mean()}
        loss = denoised
        if isinstance(extras, Transition):
            labelled = hard_cross_entropy(seen.student_adversarial, seen.labels, reduction="mean")
            loss = loss + self.label_weight * labelled
            scalars["stability"] = extras.matrix().diagonal().mean()
        if len(seen.labels) > 1 and (self.relation_weight > 0 or self.contrast_weight > 0):
            relation, contrast = self._relations(seen, 1 - amount)
            loss = loss + self.relation_weight * relation + self.contrast_weight * contrast
            scalars |= {"relation": relation, "contrast": contrast}
        return {"loss": loss, **scalars}

    def _denoised(self, seen: Seen, extras: nn.Module | None) -> tuple[Tensor, Values]:
        """L_dn = τ²·mean [ λ·KL(q̃_x' ‖ p_x') + (1 − λ)·KL(q̃_x ‖ p_x) ], with q̃_x for both in the clean view."""
        view = seen.teacher_adversarial if self.teacher_view == "same" else seen.teacher_clean
        target, amount = self.compensated(view, seen.labels, temperature=self.temperature)
        rows = self.adversarial_weight * self._divergence(target, seen.student_adversarial, extras)
        if self.adversarial_weight < 1:
            target, _ = self.compensated(seen.teacher_clean, seen.labels, temperature=self.temperature)
            rows = rows + (1 - self.adversarial_weight) * self._divergence(target, seen.student_clean, extras)
        return self.temperature**2 * reduce_rows(rows, reduction=self.reduction, classes=seen.classes), amount

    def _divergence(self, target: Rows, logits: Rows, extras: nn.Module | None) -> Values:
        if isinstance(extras, Transition):
            return extras.divergence_rows(target, logits, temperature=self.temperature)
        return kl_rows_from_probs(target, logits, temperature=self.temperature)

    def _relations(self, seen: Seen, trusted: Values) -> tuple[Tensor, Tensor]:
        """L_rel = Σ w_i·KL(softmax R_i· ‖ softmax S_i·) / Σ w_i with w = 1 − a, and L_con; 0 where a weight is 0."""
        features = self.embedding == "features"
        ours = (
            (seen.student_adv_features, seen.student_clean_features)
            if features
            else (seen.student_adversarial, seen.student_clean)
        )
        similarity = cross_view_similarity(*ours, temperature=self.relation_temperature)
        relation = similarity.new_zeros(())
        if self.relation_weight > 0:
            theirs = (
                (seen.teacher_adv_features, seen.teacher_clean_features)
                if features
                else (seen.teacher_adversarial, seen.teacher_clean)
            )
            target = cross_view_similarity(*theirs, temperature=self.relation_temperature)
            relation = weighted_mean(relation_rows(similarity, target), trusted)
        return relation, own_view_rows(similarity, seen.labels).mean()
