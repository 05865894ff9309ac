"""Several questions an image: the mean of the answers to shifted and mirrored copies, then plain distillation.

What a defence adds to an answer depends on the very pixels asked, and averages out over copies; what the teacher
knows of the image stays.

After Radosavovic, Dollár, Girshick, Gkioxari, He: Data Distillation: Towards Omni-Supervised Learning (answers to
several transformations of an image, put together). CVPR 2018, arXiv 1712.04440.

Fidelity: instantiation. The mean is that of served probabilities, over random copies drawn once for each image, the
image as it is among them; there detections are merged over fixed scales and mirrors. All crops that the student sees
of an image are taught with the one mean.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, ClassVar

import torch
from pydantic import Field, NonNegativeInt, model_validator

from understudy.data import Augment
from understudy.data.batches import uploaded
from understudy.errors import ConfigError
from understudy.methods.distiller import Knowledge, Taught
from understudy.methods.method import Fidelity
from understudy.methods.softened import Softened
from understudy.models import Classifier, Network
from understudy.runs.seeds import stream
from understudy.training.answers import Answers


class Averaging(Softened):
    """Distil the mean of the answers to several shifted or mirrored copies of each image.

    After Radosavovic et al.: Data Distillation: Towards Omni-Supervised Learning. CVPR 2018, arXiv 1712.04440.
    """

    fidelity: ClassVar[Fidelity] = "instantiation"

    views: Annotated[int, Field(ge=1)] = 8
    """Questions asked of each image: the image as it is, and random copies [m]."""
    ask_padding: NonNegativeInt = 1
    """Pixels by which copies are shifted at most, in each direction."""
    ask_flip: bool = False
    """Whether copies are mirrored at random; not for images whose mirror image means something else."""

    @model_validator(mode="after")
    def _copies_differ(self) -> "Averaging":
        if self.views > 1 and not self.ask_padding and not self.ask_flip:
            raise ValueError("copies that are neither shifted nor mirrored are all one image: raise ask_padding")
        return self

    def cost(self, model: Network, *, rows: int | None, bank: object = None) -> dict[str, int]:
        """Return what any distiller costs, with all copies asked for."""
        cost = super().cost(model, rows=rows, bank=bank)
        return {**cost, "teacher_evaluations": cost["teacher_evaluations"] + (rows or 0) * self.views}

    def check_teacher(self, teacher: Classifier, student: Classifier, *, bank: object = None) -> None:
        """Refuse what any distiller refuses, and shifts that could move an image out of sight.

        Raises:
            ConfigError: with what does not fit.
        """
        super().check_teacher(teacher, student, bank=bank)
        smallest = min(teacher.input_shape[1:])
        if self.ask_padding >= smallest:
            raise ConfigError(
                f"ask_padding is {self.ask_padding} on images of {smallest} pixels",
                where="--ask-padding",
                expected=f"less than {smallest}, or a copy could miss the image",
            )

    def prepare(self, knowledge: Knowledge) -> Callable[[Taught], Taught]:
        """Ask for all copies, and teach every crop of an image with the mean of its answers."""
        augment = Augment(crop_padding=self.ask_padding, flip=self.ask_flip)
        images, random = len(knowledge.rows), self.views - 1
        drawn = augment.draw(images * random, stream(knowledge.run.seed, "averaging"))
        view = torch.cat([torch.full((images,), augment.plain), augment.number(*drawn)])
        answers = knowledge.ask(torch.arange(images).repeat(self.views), view, augment).softened(1.0)
        means = answers.view(self.views, images, -1).mean(dim=0)  # (images, classes)

        def averaged(taught: Taught) -> Taught:
            rows = uploaded(taught.rows, means.device)
            return replace(taught, answers=Answers(means[rows], "probabilities"))

        return averaged
