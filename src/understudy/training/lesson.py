"""Before a student is trained: what it will look at, what is asked of its teacher, and what it knows then."""

from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor

from understudy.data import Augment, Batches, ImageSet, check_fits
from understudy.data.batches import distinct
from understudy.errors import DataError
from understudy.models import Classifier
from understudy.runs.run import Run
from understudy.training.knowledge import Asker, Knowledge, Rows, training_images
from understudy.training.recipe import Recipe
from understudy.training.served import Served


@dataclass(frozen=True, eq=False)
class Lesson:
    """What is fixed before anything is asked.

    Args:
        data: images as given; of their labels only those of known rows are read.
        rows: what is known, trained on and held out.
        recipe: of the student's training.
        asks: whether the teacher is asked at all.
    """

    data: ImageSet
    rows: Rows
    recipe: Recipe
    asks: bool

    def know(self, student: Classifier, asker: Asker) -> Knowledge:
        """Ask all that the training will want to know, and put it together with the labels that are known.

        Raises:
            ShapeError, DataError: the images do not fit the teacher, or the labels do not.
            ConfigError, IntegrityError, DivergenceError: as `gather` does.
        """
        rows, classes, run = self.rows.train, asker.teacher.classes, asker.run
        known, labels = self.rows.known[rows], torch.zeros_like(rows)
        if bool(self.rows.known.any()):
            check_labelled(self.data, asker.teacher)
            labels = torch.where(known, self.data.labels.cpu()[rows], labels)
        images = training_images(self.data, rows, labels, classes, run)
        check_fits(images, input_shape=asker.teacher.input_shape, classes=classes, what="the teacher")
        served = self._ask(images, asker)
        if not bool(known.all()):
            plain = served.at(rows, torch.full_like(rows, asker.augment.plain))
            labels = torch.where(known, labels, plain.top1().cpu())
            images = training_images(self.data, rows, labels, classes, run)
        return Knowledge(
            data=images,
            rows=rows,
            known=known,
            labels=labels,
            served=served,
            classes=classes,
            augment=asker.augment,
            student=student,
            run=run,
            asker=asker,
        )

    def batches(self, images: ImageSet, augment: Augment, run: Run) -> Batches:
        """Return the training's batches."""
        return Batches(images, batch_size=self.recipe.batch_size, seed=run.seed, augment=augment, device=run.device)

    def looked_up(self) -> int:
        """Return how many answers the training and the plain images take, however often the same one."""
        steps, size = self.recipe.steps(len(self.rows.train)), min(self.recipe.batch_size, len(self.rows.train))
        return steps * size + len(self.data) if self.asks else 0

    def _ask(self, images: ImageSet, asker: Asker) -> Served:
        if self.asks:
            return asker.answers(self._queries(images, asker.augment, asker.run), asker.augment)
        none = torch.zeros(0, dtype=torch.int64)
        values = torch.zeros(0, asker.teacher.classes)
        return Served(none, values, kind="logits", views=asker.augment.views, device=asker.run.device)

    def _queries(self, images: ImageSet, augment: Augment, run: Run) -> Int64[Tensor, " m"]:
        """Return the keys of all training views, and of every image as it is."""
        batches, views = self.batches(images, augment, run), augment.views
        keys = batches.keys(self.recipe.epochs * batches.steps_per_epoch)
        wanted = self.rows.train[keys // views] * views + keys % views
        return distinct(wanted, torch.arange(len(self.data)) * views + augment.plain)


def check_labelled(data: ImageSet, teacher: Classifier) -> None:
    """Refuse images whose labels the teacher cannot give, or that have none.

    Raises:
        ShapeError, DataError: with what does not fit.
    """
    if not data.labelled:
        raise DataError(
            "the images have no labels",
            where=data.name,
            expected="a label each, for the share that labels_frac names",
            fix="set --labels-frac 0, and the student learns from the answers alone",
        )
    check_fits(data, input_shape=teacher.input_shape, classes=teacher.classes, what="the teacher")
