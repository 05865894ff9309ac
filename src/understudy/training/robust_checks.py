"""What can be seen to be wrong before robust training starts."""

import torch

from understudy.data import ImageSet, as_float, check_fits
from understudy.errors import ConfigError, DataError
from understudy.models import Classifier, evaluating
from understudy.runs.run import Run
from understudy.training.teachers import Teachers

_PROBES = 256


def check_robust(student: Classifier, data: ImageSet, *, held_out: int, teachers: Teachers | None, run: Run) -> None:
    """Refuse what cannot be trained together.

    Raises:
        ConfigError: several processes, more images held out than there are, or a teacher that does not fit.
        ShapeError, DataError: images or labels that do not fit the networks.
    """
    if run.world > 1:
        raise ConfigError(
            f"robust training over {run.world} processes",
            where=run.folder,
            fix="start a single process: the attack, filed answers and checkpoints belong to one",
        )
    if not data.labelled:
        raise DataError("robust training needs labels", where=data.name, fix="name a labelled data set")
    check_fits(data, input_shape=student.input_shape, classes=student.classes, what="the network")
    if held_out >= len(data):
        raise ConfigError(
            f"{held_out} of {len(data)} training images are held out",
            where="--held-out",
            expected=f"fewer than {len(data)}",
        )
    for name, teacher in teachers.named().items() if teachers else ():
        check_robust_teacher(teacher, student, name=name)
        _check_normalisation(teacher, data, name=name)


def check_robust_teacher(teacher: Classifier, student: Classifier, *, name: str) -> None:
    """Refuse a teacher of other classes or other inputs with a `ConfigError`."""
    for what, theirs, ours in (
        ("classes", teacher.classes, student.classes),
        ("inputs of shape", teacher.input_shape, student.input_shape),
    ):
        if theirs != ours:
            raise ConfigError(
                f"the {name} has {what} {theirs}, the student {ours}",
                where=teacher.spec,
                fix="take a teacher of the same task, or build the student for it",
            )


@torch.no_grad()
def _check_normalisation(teacher: Classifier, data: ImageSet, *, name: str) -> None:
    """Refuse a teacher that wants normalised images: one without a normalisation, right on such and not on ours."""
    inside = teacher.normalise
    if bool(inside.mean.any()) or bool((inside.std != 1).any()):
        return
    few = data.take(torch.arange(min(_PROBES, len(data)))).to(inside.mean.device)
    x = as_float(few.images)
    mean, std = (torch.tensor(values, device=x.device).view(-1, 1, 1) for values in (data.mean, data.std))
    with evaluating(teacher):
        found, moved = (float((teacher(z).argmax(dim=1) == few.labels).float().mean()) for z in (x, (x - mean) / std))
    if moved > found + 0.25 and moved > 2 * found:
        raise ConfigError(
            f"the {name} is right on {found:.0%} of images in [0, 1], and on {moved:.0%} of normalised ones: "
            "its normalisation lies outside of it",
            where=teacher.spec,
            expected="a network for images in [0, 1], with normalisation as its first layer",
            fix="give mean and std as attributes of the module, so that a radius means pixels",
        )
