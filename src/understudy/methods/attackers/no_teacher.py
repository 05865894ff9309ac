"""No teacher at all: what an attacker has without asking a single question, and what any answer must beat.

Cross-entropy against the labels that the attacker holds, with label smoothing as an option. A teacher whose students
end below this line, or on it, has kept its knowledge to itself.

Szegedy, Vanhoucke, Ioffe, Shlens, Wojna: Rethinking the Inception Architecture for Computer Vision (label smoothing).
CVPR 2016, arXiv 1512.00567.

Fidelity: paper. With all labels it is `supervised`, step for step. Where only some are known it learns from those
images alone, and in as many steps as students that learn from all images have: the epochs are multiplied, and the
milestones with them.
"""

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, model_validator
from torch import Tensor

from understudy.data import ImageSet
from understudy.losses import hard_cross_entropy
from understudy.methods.distiller import Distiller, Taught
from understudy.methods.image_presets import QuickPresets
from understudy.methods.method import Access, Fidelity, Outcome
from understudy.models import Classifier, Network
from understudy.runs.run import Run
from understudy.training.from_images import cost_on_images
from understudy.training.knowledge import choose_rows


class NoTeacher(QuickPresets, Distiller):
    """Train a student on the attacker's own labels, without one query.

    Szegedy et al.: Rethinking the Inception Architecture (label smoothing). CVPR 2016, arXiv 1512.00567.
    """

    fidelity: ClassVar[Fidelity] = "paper"
    requires: ClassVar[Access] = Access.LABELS
    asks: ClassVar[bool] = False

    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the label's mass spread over all classes; 0.1 is usual."""

    @model_validator(mode="after")
    def _has_something_to_learn_from(self) -> "NoTeacher":
        if self.labels_frac == 0:
            raise ValueError("labels_frac is 0: without labels and without a teacher there is nothing to learn from")
        return self

    def cost(self, model: Network, *, rows: int | None, bank: object = None) -> dict[str, int]:  # noqa: ARG002
        """Return training steps, images seen and parameters; the teacher is not asked."""
        if not rows:
            return {**cost_on_images(model, self.fit, 0), "teacher_evaluations": 0}
        lengthened, known = self._lengthened(rows, seed=0)
        return {**cost_on_images(model, lengthened.fit, known), "teacher_evaluations": 0}

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
        """Train `student` in place on images with known labels; `teacher` only says which classes there are.

        Raises:
            ConfigError: networks and data do not fit together, or no image is left to train on.
            DivergenceError: the loss is no longer finite; the last good checkpoint is kept.
        """
        method, _ = self._lengthened(len(data), seed=run.seed)
        return super(NoTeacher, method).run(
            teacher=teacher, student=student, data=data, run=run, bank=bank, store=store
        )

    def loss(self, outputs: Tensor, taught: Taught) -> Tensor:
        """Return the cross-entropy against the labels."""
        return hard_cross_entropy(outputs, taught.labels, smoothing=self.smoothing, reduction="mean")

    def _lengthened(self, images: int, *, seed: int) -> "tuple[NoTeacher, int]":
        """Return the method with as many steps as one that learns from all images, and how many it learns from."""
        rows = choose_rows(
            images, labels_frac=self.labels_frac, held_out_frac=self.held_out_frac, only_known=True, seed=seed
        )
        known, everything = len(rows.train), images - len(rows.held)
        times = max(round(self.fit.steps(everything) / self.fit.steps(known)), 1)
        longer = {"epochs": times * self.fit.epochs, "milestones": tuple(times * each for each in self.fit.milestones)}
        return self.model_copy(update={"fit": self.fit.model_copy(update=longer)}), known
