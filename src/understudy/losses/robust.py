"""Terms that the robust methods share, one value a sample.

Every divergence is KL(target ‖ student) in nats, computed from logits, so in log space on both sides: a target given as
probabilities, with a gradient through it, turns NaN where a probability underflows to 0, as in TRADES' released code.
Gradients flow into both arguments; a caller who wants none detaches. Everything is float32 or wider, whatever the
logits are.
"""

from typing import Literal

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from understudy.losses.distillation import kl_from_probs, widened

RobustReduction = Literal["mean", "class_mean"]


def kl_rows(
    target_logits: Float[Tensor, "b k"], logits: Float[Tensor, "b k"], *, temperature: float = 1.0
) -> Float[Tensor, " b"]:
    """Return KL(q ‖ p) of each row, q = softmax(target / τ) and p = softmax(logits / τ), without a factor of τ².

    Args:
        target_logits: raw scores of the first argument: a teacher, or the student itself. Shape (b, k).
        logits: raw scores of the second argument, the student. Same shape.
        temperature: τ > 0.

    Returns:
        One value a row, non-negative, in nats; the gradient reaches both arguments, and is finite for finite logits.
    """
    target = F.log_softmax(widened(target_logits) / temperature, dim=1)
    ours = F.log_softmax(widened(logits) / temperature, dim=1)
    return (target.exp() * (target - ours)).sum(dim=1)


def kl_rows_from_probs(
    target_probs: Float[Tensor, "b k"], logits: Float[Tensor, "b k"], *, temperature: float = 1.0
) -> Float[Tensor, " b"]:
    """Return KL(q ‖ p) of each row for a target q that is fixed: corrected or mixed probabilities, zeros allowed.

    Args:
        target_probs: rows that sum to one; no gradient flows into them. Shape (b, k).
        logits: raw scores of the student. Same shape.
        temperature: τ > 0, of the student alone.

    Returns:
        One value a row, non-negative, in nats.
    """
    return kl_from_probs(logits, target_probs, temperature=temperature, reduction="none")


def reduce_rows(rows: Float[Tensor, " b"], *, reduction: RobustReduction, classes: int) -> Float[Tensor, ""]:
    """Return the mean over samples, divided by the number of classes for "class_mean".

    "class_mean" is what `torch.nn.KLDivLoss` computes when nothing is said, and so the released code of RSLAD, ARD,
    MTARD and AdaAD on CIFAR-10: a tenth of the divergence with ten classes, a hundredth with a hundred.
    """
    return rows.mean() / classes if reduction == "class_mean" else rows.mean()


def weighted_mean(rows: Float[Tensor, " b"], weights: Float[Tensor, " b"]) -> Float[Tensor, ""]:
    """Return Σ w·rows / Σ w, and 0 where the weights sum to less than 1e-8; no gradient reaches the weights."""
    weights = weights.detach().to(rows.dtype)
    total = weights.sum()
    return (weights * rows).sum() / total.clamp_min(1e-8) * (total >= 1e-8)


def swap_true_and_top(scores: Float[Tensor, "b k"], labels: Int[Tensor, " b"]) -> Float[Tensor, "b k"]:
    """Return the rows with the scores of the true and of the top class exchanged; right rows stay as they are.

    The label swap of DGAD. Softmax commutes with a permutation, so that logits may be given as well as probabilities.
    """
    true, top = labels[:, None], scores.argmax(dim=1, keepdim=True)
    swapped = scores.scatter(1, true, scores.gather(1, top))
    return swapped.scatter(1, top, scores.gather(1, true))


def mirrored_kl_rows(
    teacher_plus: Float[Tensor, "b k"],
    teacher_minus: Float[Tensor, "b k"],
    student_plus: Float[Tensor, "b k"],
    student_minus: Float[Tensor, "b k"],
) -> Float[Tensor, " b"]:
    """Return KL( softmax(t(x+δ) − t(x−δ)) ‖ softmax(s(x+δ) − s(x−δ)) ) of each row: IGDM's gradient matching.

    Half the difference is δ·∇ of the logits to first order, so teacher and student are brought to move alike.
    """
    theirs, ours = widened(teacher_plus) - widened(teacher_minus), widened(student_plus) - widened(student_minus)
    return kl_rows(theirs, ours)
