"""How good a classifier is on labelled images, and how close it comes to its teacher."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from understudy.data import ImageSet, as_float, check_fits
from understudy.errors import ConfigError, DivergenceError, ShapeError
from understudy.evaluation._forward import answering, device_of
from understudy.evaluation.statistics import Interval, wilson

ECE_BINS = 15  # Guo et al. 2017, On calibration of modern neural networks


@dataclass(frozen=True)
class Evaluation:
    """Scores of a classifier on labelled images.

    Args:
        accuracy: share of rows whose top class is the label.
        agreement: share of rows whose top class is the teacher's; None without a teacher.
        kl_from_teacher: mean of KL(teacher || student) over the rows, in nats; None without a teacher.
        nll: mean negative log-likelihood of the labels, in nats.
        ece: expected calibration error of the top class over 15 bins of equal width, in [0, 1].
        per_class: accuracy on each class; None for a class that the data lack.
        confusion: counts; rows are true classes, columns predicted ones.
        rows: number of images.
    """

    accuracy: Interval
    agreement: Interval | None
    kl_from_teacher: float | None
    nll: float
    ece: float
    per_class: tuple[float | None, ...]
    confusion: tuple[tuple[int, ...], ...]
    rows: int

    def to_json(self) -> dict[str, Any]:
        """Return the scores as plain JSON values."""
        return {
            "accuracy": self.accuracy.to_json(),
            "agreement": self.agreement.to_json() if self.agreement else None,
            "kl_from_teacher": self.kl_from_teacher,
            "nll": self.nll,
            "ece": self.ece,
            "per_class": list(self.per_class),
            "confusion": [list(row) for row in self.confusion],
            "rows": self.rows,
        }


def evaluate(
    model: nn.Module,
    data: ImageSet,
    *,
    teacher: nn.Module | None = None,
    teacher_logits: Float[Tensor, "rows others"] | None = None,
    batch_size: int = 512,
) -> Evaluation:
    """Score a classifier, in float64, from one pass over the data.

    Args:
        model: takes float32 images in [0, 1], NCHW, and gives logits; left in the modes it is found in.
        data: labelled images.
        teacher: the network to compare with, if any.
        teacher_logits: or its answers on the same rows, where they are known already.
        batch_size: rows of one forward pass; the scores do not depend on it.

    Raises:
        ShapeError: the images do not fit a network, or the two networks have different numbers of classes.
        DataError: a label lies outside the network's classes.
        DivergenceError: a network answers with NaN or infinity.
        ConfigError: both a teacher and its logits are given.
    """
    if teacher is not None and teacher_logits is not None:
        raise ConfigError("both a teacher and its logits are given", expected="one of them")
    if teacher is not None:
        teacher_logits = predict(teacher, data, batch_size=batch_size)
    return evaluate_logits(predict(model, data, batch_size=batch_size), data, teacher_logits=teacher_logits)


def evaluate_logits(
    logits: Float[Tensor, "rows classes"],
    data: ImageSet,
    *,
    teacher_logits: Float[Tensor, "rows others"] | None = None,
) -> Evaluation:
    """Score answers that are known already, as `evaluate` does.

    Raises:
        ShapeError: answers and teacher's answers are not of one shape.
        DataError: a label lies outside the classes.
    """
    student = logits.cpu().double()  # the one read from the device
    classes = student.shape[1]
    check_fits(data, input_shape=data.shape, classes=classes, what="the network")

    labels, rows = data.labels.cpu(), len(data)
    confusion = _confusion(labels, student.argmax(1), classes)
    hits = confusion.diagonal().tolist()
    totals = confusion.sum(1).tolist()
    close = divergence = None
    if teacher_logits is not None:
        close = agreement(student, teacher_logits)
        divergence = _mean_kl(teacher_logits.cpu().double(), student)
    return Evaluation(
        accuracy=wilson(sum(hits), rows),
        agreement=close,
        kl_from_teacher=divergence,
        nll=functional.cross_entropy(student, labels, reduction="mean").item(),
        ece=_calibration_error(student, labels),
        per_class=tuple(hit / total if total else None for hit, total in zip(hits, totals, strict=True)),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        rows=rows,
    )


def predict(model: nn.Module, data: ImageSet, *, batch_size: int = 512) -> Float[Tensor, "n classes"]:
    """Return a network's logits on all rows, in order, as float32 on the network's device.

    Raises:
        ShapeError: the images do not fit the network, or its answers are not (rows, classes).
        DataError: a label lies outside the network's classes.
        DivergenceError: an answer is NaN or infinite.
    """
    check_fits(
        data,
        input_shape=getattr(model, "input_shape", data.shape),
        classes=getattr(model, "classes", len(data.classes)),
        what="the network",
    )
    images = data.to(device_of(model)).images
    with answering(model):
        starts = range(0, len(data), batch_size)
        parts = [model(as_float(images[start : start + batch_size])).float() for start in starts]
    logits = torch.cat(parts)  # outside inference mode, so that it may be trained against
    if logits.ndim != 2 or len(logits) != len(data):
        raise ShapeError(f"the network answers with shape {tuple(logits.shape)}", expected=f"({len(data)}, classes)")
    broken = int((~logits.isfinite()).any(1).sum())
    if broken:
        raise DivergenceError(
            f"the network answers {broken} of {len(data)} images with NaN or infinity",
            where=f"{data.name}, split {data.split}",
            fix="check its weights; train it again with a smaller learning rate or in float32",
        )
    return logits


def agreement(student_logits: Float[Tensor, "n classes"], teacher_logits: Float[Tensor, "rows others"]) -> Interval:
    """Return the share of rows on which student and teacher pick the same class, with its 95 % interval.

    Raises:
        ShapeError: the two are not of one shape.
    """
    if student_logits.shape != teacher_logits.shape:
        raise ShapeError(
            f"student logits of shape {tuple(student_logits.shape)}, teacher's {tuple(teacher_logits.shape)}",
            expected="the same rows and the same classes",
        )
    same = student_logits.argmax(1) == teacher_logits.argmax(1).to(student_logits.device)
    return wilson(int(same.sum()), len(same))


def _confusion(labels: Int64[Tensor, " n"], predicted: Int64[Tensor, " n"], classes: int) -> Int64[Tensor, "k k"]:
    return torch.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def _mean_kl(teacher: Float[Tensor, "n k"], student: Float[Tensor, "n k"]) -> float:
    log_teacher, log_student = teacher.log_softmax(1), student.log_softmax(1)
    return functional.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True).item()


def _calibration_error(logits: Float[Tensor, "n k"], labels: Int64[Tensor, " n"]) -> float:
    """Sum over bins of |hits - confidence|, over all rows: Guo et al. 2017, equation 3."""
    confidence, predicted = logits.softmax(1).max(1)
    bins = (confidence * ECE_BINS).ceil().long().sub_(1).clamp_(0, ECE_BINS - 1)  # ((b-1)/15, b/15]
    gaps = (predicted == labels).double() - confidence
    return torch.zeros(ECE_BINS, dtype=torch.float64).index_add_(0, bins, gaps).abs().sum().item() / len(labels)
