"""What whoever distils a network knows: images, some labels, and the answers to the queries."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from understudy.data import Augment, Batches, ImageSet
from understudy.data.batches import distinct, uploaded
from understudy.errors import ConfigError
from understudy.models import Classifier, model_digest
from understudy.runs.run import Run
from understudy.runs.seeds import stream
from understudy.runs.tensors import digest
from understudy.targets.class_defences import ClassDefence
from understudy.training.served import Answers, Served, gather


@dataclass(frozen=True, eq=False)
class Taught:
    """A batch as the student sees it."""

    x: Float[Tensor, "b c h w"]
    """Images in [0, 1]."""
    rows: Int64[Tensor, " b"]
    """Positions in the training images, on the CPU."""
    labels: Int64[Tensor, " b"]
    """True classes where they are known, elsewhere the class of the answer."""
    known: Bool[Tensor, " b"]
    """Which labels are known."""
    answers: Answers
    """What the teacher says of exactly these views."""
    epoch: int = 0
    """Passes over the training images before this one."""


@dataclass(frozen=True)
class Rows:
    """Which rows of the data are used for what; each ascending, on the CPU."""

    train: Int64[Tensor, " n"]
    held: Int64[Tensor, " h"]
    """Rows to validate on, never trained on."""
    known: Bool[Tensor, " rows"]
    """Of all rows, whose labels the student knows."""


def choose_rows(rows: int, *, labels_frac: float, held_out_frac: float, only_known: bool, seed: int) -> Rows:
    """Return whose labels are known, what is held out, and what is trained on.

    Args:
        rows: number of images.
        labels_frac: share of rows with a known label, in [0, 1]; above 0 it is one row at least.
        held_out_frac: share to hold out, of the rows with a label, or of all where none has one; in [0, 1).
        only_known: train on rows with a known label alone.
        seed: the run's.

    Raises:
        ConfigError: nothing is left to train on.
    """
    count = max(round(labels_frac * rows), 1) if labels_frac else 0
    known = torch.zeros(rows, dtype=torch.bool)
    known[torch.randperm(rows, generator=stream(seed, "labelled"))[:count]] = True
    pool = (known if count else ~known).nonzero().flatten()
    size = max(round(held_out_frac * len(pool)), 1) if held_out_frac else 0
    held = pool[torch.randperm(len(pool), generator=stream(seed, "held_out"))[:size]].sort().values
    trained = known.clone() if only_known else torch.ones(rows, dtype=torch.bool)
    trained[held] = False
    if not bool(trained.any()):
        raise ConfigError(
            f"of {rows} images, {count} of them labelled, none is left to train on",
            where="--labels-frac, --held-out-frac",
            fix="know more labels, or hold fewer rows out",
        )
    return Rows(trained.nonzero().flatten(), held, known)


@dataclass(frozen=True, eq=False)
class Asker:
    """Asks a teacher for a run, and keeps the answers where they belong."""

    teacher: Classifier
    data: ImageSet
    """All images, by whose rows answers are filed."""
    augment: Augment
    """Of the training."""
    run: Run
    defence: tuple[ClassDefence, ...] = ()
    bank: Path | None = None
    """Answers of an earlier run that are taken over."""
    store: Path | None = None
    """Folder that many runs share; None files the answers in the run's own."""
    calls: list[Served] = field(default_factory=list)

    def answers(self, keys: Int64[Tensor, " m"], augment: Augment) -> Served:
        """Return the answers to views under an augmentation, which need not be the training's."""
        served = gather(
            self.teacher,
            self.data,
            keys,
            augment=augment,
            run=self.run,
            folder=self.folder(augment),
            defence=self.defence,
            base=self.bank if augment.views == self.augment.views else None,
            phase="ask" if not self.calls else f"ask_{len(self.calls) + 1}",
        )
        self.calls.append(served)
        return served

    def folder(self, augment: Augment) -> Path:
        """Return the folder of the answers to an augmentation's views."""
        if self.store is not None:
            teacher, images = model_digest(self.teacher), digest({"images": self.data.images})
            name = f"{teacher[:12]}-{images[:12]}-{self.run.options.precision}-padding{augment.crop_padding}"
            return self.store / name
        own = augment.views == self.augment.views
        return self.run.folder / ("bank" if own else f"bank-padding{augment.crop_padding}")


@dataclass(frozen=True, eq=False)
class Knowledge:
    """What a distiller has to work with, apart from the hyperparameters."""

    data: ImageSet
    """The training images, on the run's device; the labels are those below."""
    rows: Int64[Tensor, " n"]
    """Their rows in the data as given, on the CPU."""
    known: Bool[Tensor, " n"]
    """Whose labels are known, on the CPU."""
    labels: Int64[Tensor, " n"]
    """True classes where they are known, elsewhere the served class of the plain image; on the CPU."""
    served: Served
    """All answers to the training's queries and to every plain image; empty for who asks nothing."""
    classes: int
    augment: Augment
    student: Classifier
    """The network to train, as it was given."""
    run: Run
    asker: Asker

    @property
    def defence(self) -> tuple[ClassDefence, ...]:
        """The serving-time defence that stands before the teacher, as far as is known."""
        return self.asker.defence

    def taught(self, batches: Batches, step: int) -> Taught:
        """Return this process's share of the batch of a step with what is known of it; `batches` are of `data`."""
        batch = batches.at(step, rank=self.run.rank, world=self.run.world)
        known = uploaded(self.known[batch.rows_cpu], self.run.device)
        if len(self.served):
            answers = self.served.at(self.rows[batch.rows_cpu], batch.view)
        else:  # of what nobody asked, the label is all that is known
            certain = torch.nn.functional.one_hot(batch.labels, self.classes).float()
            answers = Answers(certain, "probabilities")
        labels = torch.where(known, batch.labels, answers.top1())
        return Taught(batch.x, batch.rows_cpu, labels, known, answers, step // batches.steps_per_epoch)

    def ask(self, positions: Int64[Tensor, " m"], views: Int64[Tensor, " m"], augment: Augment) -> Answers:
        """Return the answers to further queries, which are filed and counted as the others.

        Args:
            positions: positions in `data`, on the CPU. Shape (m,).
            views: which view of each, by `augment.number`, on the CPU. Shape (m,).
            augment: what the numbers are of; need not be the training's.
        """
        rows = self.rows[positions]
        served = self.asker.answers(distinct(rows * augment.views + views), augment)
        return served.at(rows, views)


def training_images(
    data: ImageSet, rows: Int64[Tensor, " n"], labels: Int64[Tensor, " n"], classes: int, run: Run
) -> ImageSet:
    """Return rows of the data under labels of our own, so that nothing after this can see the true ones."""
    names: Sequence[str] = data.classes if len(data.classes) == classes else [str(k) for k in range(classes)]
    images = data.images[rows.to(data.images.device)]
    return replace(data, images=images, labels=labels.to(images.device), classes=tuple(names)).to(run.device)
