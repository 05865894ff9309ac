"""The cells of a resistance study: one training of one student by one variant of one attack."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from understudy.data import ImageSet, check_fits, load_images
from understudy.errors import ConfigError, DataError
from understudy.methods.distiller import Distiller
from understudy.methods.method import Method
from understudy.models import Classifier, resolve_model
from understudy.runs.seeds import derive_seed
from understudy.runs.tensors import digest
from understudy.study.resistance_attacks import DATA_FREE, Attack, Variant
from understudy.study.resistance_found import ALONE
from understudy.study.resistance_job import Resistance, labels_frac
from understudy.study.resistance_teachers import OWN_ORDINARY, Owner, answers_identity, make_owners
from understudy.training.knowledge import choose_rows

_UNSAFE = re.compile(r"[^\w.=,-]")
_MOST_SHARED = 0.01
"""Share of the test images that may be among those that are trained on or asked about."""
_CONTROLS_OFF = {"noise_control": False, "start_control": False}


@dataclass(frozen=True)
class Cell:
    """One training of the grid, and the folder of its run."""

    teacher: str | None
    """None for a student that learns without one."""
    student: str
    regime: str
    attack: str
    variant: Variant
    seed: int
    method: Method
    """With the values of regime and defence."""
    folder: str
    """Below the study's."""

    @property
    def words(self) -> str:
        """What it is, for a line of progress."""
        of = f" from {self.teacher}" if self.teacher else ""
        options = "" if not self.variant.options else f" ({self.variant.key})"
        return f"{self.attack}{options}{of}, {self.student}, {self.regime}, seed {self.seed}"

    def key(self) -> dict[str, Any]:
        """Return what tells it from all others, as `resistance.json` has it."""
        return {
            "teacher": self.teacher,
            "student": self.student,
            "regime": self.regime,
            "attack": self.attack,
            "variant": self.variant.key,
            "seed": self.seed,
        }


@dataclass(frozen=True)
class Grid:
    """All cells of a study, with everything loaded that they need."""

    cells: tuple[Cell, ...]
    attacks: tuple[Attack, ...]
    owners: tuple[Owner, ...]
    train: ImageSet
    queries: ImageSet
    """What is asked about where no label is known."""
    test: ImageSet
    facts: dict[str, object]
    """What the study is begun with."""
    test_logits: dict[tuple[str, int], Tensor] = field(default_factory=dict)
    """What each teacher says of the test images, by name and seed, once a cell has had to know."""

    @property
    def ordinary(self) -> Owner:
        """The teacher that is not defended."""
        return next(owner for owner in self.owners if owner.ordinary)

    def owner(self, cell: Cell) -> Owner:
        """Return the teacher of a cell; that of a student without one only says what classes there are."""
        return next((owner for owner in self.owners if owner.name == cell.teacher), self.ordinary)

    def images(self, regime: str) -> ImageSet:
        """Return the images that attackers have in a regime."""
        return self.queries if regime == "unlabelled" else self.train

    def student(self, cell: Cell) -> Classifier:
        """Return the student as it starts: the same for all teachers and attacks of a seed.

        It is normalised by the statistics of the data, which is what an attacker has; where there are no data, as
        the teacher is. Its stream is not that of the teachers: from the weights that one of them started from, a
        student of the same architecture would be taught more by it than by the others.
        """
        data, seed = self.train, derive_seed(cell.seed, "resisted student")
        mean, std = list(data.mean), list(data.std)
        if cell.attack == DATA_FREE:
            normalise = self.owner(cell).network(cell.seed).normalise
            mean, std = normalise.mean.flatten().tolist(), normalise.std.flatten().tolist()
        return resolve_model(
            cell.student, input_shape=data.shape, classes=self.ordinary.classes, mean=mean, std=std, seed=seed
        )


def make_grid(job: Resistance) -> Grid:
    """Load teachers and images, and lay out every cell; nothing is asked and nothing written.

    Raises:
        UnderstudyError: something is missing or damaged, or does not fit: teachers, students, data and defences.
    """
    train, test = load_images(job.data, "train"), load_images(job.data, "test")
    queries = load_images(job.queries, "train") if job.queries else train
    if job.queries:
        check_fits(queries, input_shape=train.shape, classes=len(queries.classes), what="the images of --data")
    for source, images in {job.data: train, job.queries or job.data: queries}.items():
        _check_unseen(test, images, source)
    owners = make_owners(job.teachers, job.ordinary, job.seeds, train)
    _check_ordinary(next(owner for owner in owners if owner.ordinary))
    attacks = job.resolved()
    cells = tuple(_cells(job, attacks, owners))
    facts: dict[str, object] = {
        f"{name}_sha256": digest({"images": images.images, "labels": images.labels})
        for name, images in (("train", train), ("test", test), ("queries", queries))
    }
    for owner in owners:
        facts |= {f"teacher {owner.name}, seed {seed}": sha for seed, sha in owner.digests.items()}
        facts[f"defence of {owner.name}"] = answers_identity(owner)
    grid = Grid(cells, attacks, owners, train, queries, test, facts)
    _check_cells(grid)
    return grid


def regime_rows(grid: Grid, job: Resistance, regime: str) -> dict[str, Any]:
    """Return what `resistance.json` says of a regime."""
    if regime == "data_free":
        return {"name": regime, "words": "no images at all", "images": 0, "labels": 0, "held_out": 0}
    data, share = grid.images(regime), labels_frac(regime)
    rows = choose_rows(len(data), labels_frac=share, held_out_frac=job.held_out, only_known=False, seed=job.seeds[0])
    words = "the owner's images, all with their labels"
    if regime == "unlabelled":
        words = "other images than the owner's, without labels" if job.queries else "the owner's images without labels"
    elif share < 1:
        words = f"the owner's images, with labels for {100 * share:g} % of them"
    known = int(rows.known[rows.train].sum())
    return {"name": regime, "words": words, "images": len(rows.train), "labels": known, "held_out": len(rows.held)}


def _cells(job: Resistance, attacks: tuple[Attack, ...], owners: tuple[Owner, ...]) -> Iterator[Cell]:
    """Yield all cells, seed by seed and regime by regime, students without a teacher first."""
    ordered = sorted(attacks, key=lambda attack: attack.name != ALONE)
    for seed in job.seeds:
        for regime in job.all_regimes:
            for student in job.students:
                for attack in ordered:
                    if regime not in attack.regimes(job.all_regimes):
                        continue
                    asked = [None] if attack.name == ALONE else list(owners)
                    for owner in asked:
                        for variant in attack.variants:
                            yield _cell(job, seed, regime, student, attack.name, variant, owner)


def _cell(
    job: Resistance, seed: int, regime: str, student: str, attack: str, variant: Variant, owner: Owner | None
) -> Cell:
    values: Mapping[str, Any] = _CONTROLS_OFF
    if isinstance(variant.method, Distiller):
        values = {
            "labels_frac": labels_frac(regime),
            "held_out_frac": job.held_out,
            "defence": owner.serving if owner else "none",
        }
    method = type(variant.method).checked({**variant.method.model_dump(), **values}, where=f"options of {attack}")
    parts = (regime, student, owner.name if owner else "alone", f"{attack}-{variant.key}-s{seed}")
    folder = "/".join(["cells", *(_UNSAFE.sub("-", part) for part in parts)])
    name = owner.name if owner else None
    return Cell(name, student, regime, attack, variant, seed, method, folder)


def _check_unseen(test: ImageSet, images: ImageSet, source: str) -> None:
    """Refuse test images that attackers have, pixel for pixel: a student would be measured on what it has learnt."""
    seen = set(_hashes(images))
    share = sum(row in seen for row in _hashes(test)) / len(test)
    if share > _MOST_SHARED:
        raise DataError(
            f"{100 * share:.1f} % of the test images are among the {len(images)} images of {source}",
            where=f"{test.name}, split {test.split}",
            expected=f"{100 * _MOST_SHARED:g} % at most",
            fix="take images that are in no test set",
        )


def _hashes(images: ImageSet) -> list[bytes]:
    return [hashlib.sha256(row).digest() for row in images.images.cpu().flatten(1).numpy()]


def _check_ordinary(owner: Owner) -> None:
    """Refuse a teacher as the ordinary one that is defended, by what it learnt or by what stands before it."""
    if owner.chain:
        raise ConfigError(
            f"the ordinary teacher {owner.name!r} is served through a defence",
            where="--teachers",
            fix="name the one that is not defended with --ordinary",
        )
    if owner.protected_by:
        raise ConfigError(
            f"the ordinary teacher {owner.name!r} is a protected one, made by {owner.protected_by}",
            where="--teachers",
            fix="name the one that is not with --ordinary, or add the one that it started from: "
            f"ordinary=RUN/{OWN_ORDINARY}",
        )


def _check_cells(grid: Grid) -> None:
    """Refuse students and attacks that cannot be, before anything is written: one cell of each kind will do."""
    folders: dict[str, Cell] = {}
    for cell in grid.cells:
        if (other := folders.setdefault(cell.folder, cell)) is not cell:
            raise ConfigError(
                f"two cells would share a folder: {cell.words}; {other.words}",
                where=cell.folder,
                fix="write the specs so that they differ in more than punctuation",
            )
    first = {(cell.teacher, cell.student, cell.attack, cell.variant.key): cell for cell in reversed(grid.cells)}
    teachers = {owner.name: owner.network(next(iter(owner.paths))) for owner in grid.owners}
    students: dict[tuple[str, str], Classifier] = {}
    for cell in first.values():
        teacher = teachers[grid.owner(cell).name]
        key = (cell.student, grid.owner(cell).name if cell.attack == DATA_FREE else "")
        cell.method.check_teacher(teacher, students.setdefault(key, grid.student(cell)))
