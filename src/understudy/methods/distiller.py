"""What every distiller on images shares: which labels it knows, what it asks, and the training itself.

A method is its fields, its presets and its `loss`; `prepare`, `trained` and `main` are there for those that need more.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field, NonNegativeInt, field_validator
from torch import Tensor, nn

from understudy.data import Augment, Batches, ImageSet
from understudy.errors import ConfigError
from understudy.evaluation import predict, wilson
from understudy.methods.method import Access, Method, Outcome
from understudy.models import Classifier, Network
from understudy.runs.run import Run
from understudy.targets.class_defences import ClassDefence, parse_class_defences
from understudy.training import Recipe, fit
from understudy.training.from_images import cost_on_images
from understudy.training.knowledge import Asker, Knowledge, Taught, choose_rows, training_images
from understudy.training.lesson import Lesson
from understudy.training.served import Answers

__all__ = ["Answers", "Distiller", "Knowledge", "Taught"]


class Distiller(Method):
    """Base of the methods that distil from answers to images; the fields of a subclass come after these."""

    requires: ClassVar[Access] = Access.LOGITS
    needs_data: ClassVar[bool] = True
    asks: ClassVar[bool] = True
    """Whether the teacher is asked at all."""

    crop_padding: NonNegativeInt = 0
    """Pixels of padding for random crops; 0 leaves images where they are."""
    flip: bool = False
    """Whether images are mirrored at random, left to right."""
    labels_frac: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the images whose labels the student knows; 0 for none."""
    held_out_frac: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the labelled images (of all, without labels) that is only validated on."""
    defence: str = "none"
    """What stands before the teacher when it answers, such as top_k:k=2; several joined with +."""
    fit: Recipe = Recipe(epochs=20, batch_size=128, learning_rate=0.1)
    """How the student is trained."""

    @field_validator("defence")
    @classmethod
    def _is_a_defence(cls, spec: str) -> str:
        try:
            parse_class_defences(spec)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return spec

    def prepare(self, knowledge: Knowledge) -> Callable[[Taught], Taught]:  # noqa: ARG002
        """Return what is done to each batch before the loss; further networks may be trained here, in own phases."""
        return lambda taught: taught

    def trained(self, student: Classifier, knowledge: Knowledge) -> nn.Module:  # noqa: ARG002
        """Return what is trained: the student, or a network around it of which it is a part."""
        return student

    @abstractmethod
    def loss(self, outputs: Any, taught: Taught) -> Tensor:
        """Return the loss of a batch.

        Args:
            outputs: what the trained network says of `taught.x`.
            taught: images, labels and answers, after `prepare`.
        """

    def main(self, outputs: Any) -> Tensor:
        """Return the student's logits among the outputs."""
        logits: Tensor = outputs
        return logits

    def done(self, module: nn.Module) -> None:
        """Let go of what `trained` put around the student."""

    def augment(self) -> Augment:
        """Return what is done to training images."""
        return Augment(crop_padding=self.crop_padding, flip=self.flip)

    def chain(self) -> tuple[ClassDefence, ...]:
        """Return the defence that stands before the teacher."""
        return parse_class_defences(self.defence)

    def reads_bank(self) -> bool:
        """Answers on file are of use to whoever asks."""
        return self.asks

    def cost(self, model: Network, *, rows: int | None, bank: object = None) -> dict[str, int]:  # noqa: ARG002
        """Return training steps, images seen, parameters, and answers needed if nothing is on file."""
        everything = rows or 0
        known = max(round(self.labels_frac * everything), 1) if self.labels_frac else 0
        held = round(self.held_out_frac * (known or everything))
        cost = cost_on_images(model, self.fit, max((everything if self.asks else known) - held, 1))
        views = 2**self.flip * (2 * self.crop_padding + 1) ** 2
        asked = min(cost["images_seen"] + everything, everything * views) if self.asks else 0
        return {**cost, "teacher_evaluations": asked}

    def check_teacher(self, teacher: Classifier, student: Classifier, *, bank: object = None) -> None:  # noqa: ARG002
        """Refuse a student of other classes or inputs, and a defence that the teacher's classes do not allow.

        Raises:
            ConfigError: with what does not fit.
        """
        if (teacher.classes, teacher.input_shape) != (student.classes, student.input_shape):
            raise ConfigError(
                f"a student of {student.classes} classes for inputs {student.input_shape}",
                expected=f"what the teacher has: {teacher.classes} classes, inputs {teacher.input_shape}",
            )
        for each in self.chain():
            each.check(teacher.classes)

    def run(
        self,
        *,
        teacher: Classifier,
        student: Classifier,
        data: ImageSet,
        run: Run,
        bank: Path | None = None,
        store: Path | None = None,
    ) -> Outcome:
        """Train `student` in place on images, the labels that it knows, and the teacher's answers to the same crops.

        Args:
            teacher: the network that is asked; its weights are not looked at.
            student: the network to train.
            data: images; where no label is known, their labels are never read.
            run: where everything is put on file.
            bank: answers that an earlier run has filed, in its folder; they are taken over.
            store: a folder of answers shared with other runs, extended in place; None files them in this run's.

        Raises:
            ConfigError: networks, data, defence or bank do not fit together.
            DivergenceError: the loss is no longer finite; the last good checkpoint is kept.
        """
        self.check_teacher(teacher, student)
        rows = choose_rows(
            len(data),
            labels_frac=self.labels_frac,
            held_out_frac=self.held_out_frac,
            only_known=not self.asks,
            seed=run.seed,
        )
        lesson = Lesson(data, rows, self.fit, self.asks)
        knowledge = lesson.know(student, Asker(teacher, data, self.augment(), run, self.chain(), bank, store))
        self._fit(student, knowledge, lesson.batches(knowledge.data, knowledge.augment, run))
        return Outcome(student, facts={**self._facts(lesson, knowledge), **validation(student, lesson, knowledge)})

    def _fit(self, student: Classifier, knowledge: Knowledge, batches: Batches) -> None:
        prepared = self.prepare(knowledge)
        module = self.trained(student, knowledge)

        @torch.no_grad()
        def batch_at(step: int) -> Taught:
            return prepared(knowledge.taught(batches, step))

        def objective(module: nn.Module, taught: Taught) -> Mapping[str, Tensor]:
            outputs = module(taught.x)
            top1 = self.main(outputs).argmax(dim=1)
            return {
                "loss": self.loss(outputs, taught),
                "accuracy": (top1 == taught.labels).float().mean(),
                "agreement": (top1 == taught.answers.top1()).float().mean(),
            }

        try:
            fit(
                module,
                batch_at=batch_at,
                objective=objective,
                recipe=self.fit,
                steps_per_epoch=batches.steps_per_epoch,
                run=knowledge.run,
                phase="fit",
            )
        finally:
            self.done(module)

    def _facts(self, lesson: Lesson, knowledge: Knowledge) -> dict[str, Any]:
        calls = knowledge.asker.calls
        asked = sum(call.asked for call in calls)
        looked_up = lesson.looked_up() + sum(len(call) for call in calls[1:])
        return {
            "teacher_evaluations": asked,
            "answers": {"asked": asked, "served": looked_up - asked},
            "queries": sum(len(call) for call in calls),
            "defence": self.defence,
            "labels": {"known": int(lesson.rows.known.sum()), "of": len(lesson.data)},
        }


def validation(student: Classifier, lesson: Lesson, knowledge: Knowledge) -> dict[str, Any]:
    """Return, under "validation", the share of held-out images on which the student is right; None where none is held.

    Right is what the label says, or what the teacher answers where no label is known.
    """
    held, labelled = lesson.rows.held, bool(lesson.rows.known.any())
    if not len(held):
        return {"validation": None}
    plain = torch.full_like(held, knowledge.augment.plain)
    truth = lesson.data.labels.cpu()[held] if labelled else knowledge.served.at(held, plain).top1().cpu()
    images = training_images(lesson.data, held, truth, knowledge.classes, knowledge.run)
    right = int((predict(student, images).argmax(dim=1).cpu() == truth).sum())
    found = wilson(right, len(truth)).to_json()
    return {"validation": {**found, "by": "labels" if labelled else "answers"}}
