"""What may go into a target and what may come out of it, checked at the endpoint and nowhere else."""

import torch
from torch import Tensor

from understudy.errors import DataError, ShapeError, TargetError
from understudy.targets.access import Access
from understudy.targets.target import Target

_SLACK = 1e-6  # of rounding, beyond [0, 1]


def check_images(images: Tensor, target: Target) -> None:
    """Check inputs before anything is reserved.

    Raises:
        ShapeError: they are not rows of the target's input shape.
        DataError: they are not float32 in [0, 1].
    """
    if tuple(images.shape[1:]) != tuple(target.input_shape) or images.ndim != len(target.input_shape) + 1:
        raise ShapeError(
            f"inputs of shape {tuple(images.shape)} do not fit {target.name}",
            expected=f"(rows, {', '.join(map(str, target.input_shape))})",
            fix="use data of that shape, or have them resized",
        )
    if images.dtype != torch.float32:
        raise DataError(
            f"inputs of type {images.dtype}",
            expected="float32 in [0, 1]",
            fix="divide grey levels of 0 to 255 by 255",
        )
    if len(images) == 0:
        return
    low, high = torch.stack(images.detach().aminmax()).tolist()
    if not (low >= -_SLACK and high <= 1 + _SLACK):  # and so NaN is refused
        raise DataError(f"inputs from {low} to {high}", expected="float32 in [0, 1]")


def check_answers(answers: object, rows: int, target: Target) -> Tensor:
    """Return a target's answers as float32 rows on the CPU.

    Raises:
        TargetError: fewer or more rows than were asked for, rows of another width, NaN, infinity, or a row of zeros.
    """
    if not isinstance(answers, Tensor):
        raise _fault(target, f"answered with a {type(answers).__name__}, not a tensor")
    if answers.ndim != 2 or len(answers) != rows:
        raise _fault(target, f"answered {rows} inputs with a tensor of shape {tuple(answers.shape)}")
    if answers.shape[1] != target.width:
        raise _fault(target, f"answered with rows of {answers.shape[1]} numbers, not {target.width} as before")
    plain = answers.detach().to("cpu", torch.float32)
    if not torch.isfinite(plain).all():
        count = int((~torch.isfinite(plain).all(dim=1)).sum())
        raise _fault(target, f"answered {count} of {rows} inputs with NaN or infinity")
    # Logits may all be zero; an embedding without a direction says nothing, nor do labels without a label.
    if target.access is not Access.LOGITS and not plain.any(dim=1).all():
        count = int((~plain.any(dim=1)).sum())
        raise _fault(target, f"answered {count} of {rows} inputs with rows of zeros")
    return plain


def _fault(target: Target, what: str) -> TargetError:
    return TargetError(
        f"the target {what}",
        where=target.name,
        expected=f"finite rows of {target.width} numbers, one for each input",
        fix="mend the target and run the same command again: what was answered is on file, and these are paid for",
    )
