"""Terms that pull a student's distribution towards a teacher's."""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

Reduction = Literal["batchmean", "elementmean", "none"]


def soft_cross_entropy(
    student_logits: Float[Tensor, "batch classes"],
    teacher_probs: Float[Tensor, "batch classes"],
    *,
    reduction: Reduction,
) -> Float[Tensor, ""] | Float[Tensor, " batch"]:
    """Return the cross-entropy of the student against soft labels, at temperature 1.

    −Σ_k q_k log σ(h)_k: the KL divergence from the labels plus their entropy, which no student can change
    (the student loss of CAKE's released code).

    Args:
        student_logits: raw scores. Shape (batch, classes).
        teacher_probs: soft labels; each row sums to one. Same shape; no gradient flows into them.
        reduction: "batchmean" divides by the batch, "elementmean" by batch and classes, "none" keeps the rows.

    Returns:
        Scalar, or one value a row, in nats, float32 or wider.
    """
    log_probs = F.log_softmax(widened(student_logits), dim=1)
    return _reduce(-teacher_probs.detach().to(log_probs.dtype) * log_probs, reduction)


def kl_divergence(
    student_logits: Float[Tensor, "batch classes"],
    teacher_logits: Float[Tensor, "batch classes"],
    *,
    temperature: float = 1.0,
    reduction: Reduction,
) -> Float[Tensor, ""] | Float[Tensor, " batch"]:
    """Return KL(teacher ‖ student) of the two softened distributions, without the temperature's square.

    Args:
        student_logits: raw scores. Shape (batch, classes).
        teacher_logits: raw scores of the teacher. Same shape; no gradient flows into them.
        temperature: > 0; both sets of logits are divided by it.
        reduction: "batchmean" is the divergence; "elementmean" divides by the number of classes as well, as
            `torch.nn.KLDivLoss` does when nothing is said (and so the released code of GDFQ); "none" keeps the rows.

    Returns:
        Scalar, or one value a row, non-negative, in nats, float32 or wider.
    """
    student = F.log_softmax(widened(student_logits) / temperature, dim=1)
    teacher = F.log_softmax(widened(teacher_logits.detach()) / temperature, dim=1)
    return _reduce(teacher.exp() * (teacher - student), reduction)


def tempered_kl(
    student_logits: Float[Tensor, "batch classes"],
    teacher_logits: Float[Tensor, "batch classes"],
    *,
    temperature: float,
    reduction: Reduction,
) -> Float[Tensor, ""] | Float[Tensor, " batch"]:
    """Return T² · KL: softened gradients shrink with 1/T², and the factor takes that back.

    Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network, 2015, section 2.
    """
    return temperature**2 * kl_divergence(student_logits, teacher_logits, temperature=temperature, reduction=reduction)


def kl_from_probs(
    student_logits: Float[Tensor, "batch classes"],
    target_probs: Float[Tensor, "batch classes"],
    *,
    temperature: float = 1.0,
    reduction: Reduction,
) -> Float[Tensor, ""] | Float[Tensor, " batch"]:
    """Return KL(q ‖ σ(z/T)) from targets that are probabilities, some of which may be 0; 0·ln 0 = 0.

    Args:
        student_logits: raw scores z. Shape (batch, classes).
        target_probs: q, softened already; each row sums to one. Same shape; no gradient flows into them.
        temperature: T > 0; only the student's logits are divided by it.
        reduction: as in `kl_divergence`.

    Returns:
        Scalar, or one value a row, in nats, float32 or wider, without the temperature's square.
    """
    log_probs = F.log_softmax(widened(student_logits) / temperature, dim=1)
    target = target_probs.detach().to(log_probs.dtype)
    return _reduce(torch.xlogy(target, target) - target * log_probs, reduction)


def distillation_loss(
    student_logits: Float[Tensor, "batch classes"],
    target_probs: Float[Tensor, "batch classes"],
    labels: Int[Tensor, " batch"],
    known: Bool[Tensor, " batch"],
    *,
    temperature: float,
    alpha: float,
    squared_factor: bool,
    reduction: Literal["mean", "none"],
) -> Float[Tensor, ""] | Float[Tensor, " batch"]:
    """Return (1 − α)·CE + α·s·KL(q ‖ σ(z/T)) of each row, or their mean; s·KL alone where the label is not known.

    Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network, 2015, section 2.

    Args:
        student_logits: raw scores z. Shape (batch, classes).
        target_probs: q, softened already. Same shape; zeros are welcome, and no gradient flows into them.
        labels: true classes; of no effect where they are not known. Shape (batch,).
        known: which labels are known. Shape (batch,).
        temperature: T > 0.
        alpha: weight of the teacher against the labels, in [0, 1].
        squared_factor: whether s = T² or 1.
        reduction: "mean" over the rows, or "none", which keeps them.
    """
    factor = temperature**2 if squared_factor else 1.0
    softened = factor * kl_from_probs(student_logits, target_probs, temperature=temperature, reduction="none")
    labelled = hard_cross_entropy(student_logits, labels, reduction="none")
    rows = torch.where(known, (1 - alpha) * labelled + alpha * softened, softened)
    return rows.mean() if reduction == "mean" else rows


def hard_cross_entropy(
    logits: Float[Tensor, "batch classes"],
    labels: Int[Tensor, " batch"],
    *,
    smoothing: float = 0.0,
    reduction: Literal["mean", "none"],
) -> Float[Tensor, ""] | Float[Tensor, " batch"]:
    """Return the cross-entropy against class labels, in float32 or wider whatever the logits are."""
    return F.cross_entropy(widened(logits), labels, label_smoothing=smoothing, reduction=reduction)


def _reduce(values: Tensor, reduction: Reduction) -> Tensor:
    if reduction == "none":
        return values.sum(dim=1)
    return values.mean() if reduction == "elementmean" else values.sum() / len(values)


def widened(logits: Tensor) -> Tensor:
    """Return float32 for half precision, and anything wider as it is."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
