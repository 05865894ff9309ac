"""The cells of the digits study of resistance: data, teachers and students; used by `resistance_digits.py`."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from resistance_digits_properties import NO_TERM
from resistance_digits_table import (
    ITSELF,
    LABELLED,
    NASTIER,
    NASTY,
    ORDINARY,
    PAIRED,
    RELEASED,
    STINGY,
    UNLABELLED,
    Scores,
)
from understudy import catalogue
from understudy.data import ImageSet, as_float
from understudy.losses import kl_divergence
from understudy.methods.method import Method
from understudy.models import Classifier, build_model, freeze, load_model, save_model
from understudy.runs.files import read_json, write_json
from understudy.runs.options import RunOptions
from understudy.runs.run import Run
from understudy.runs.seeds import derive_seed, stream
from understudy.training import Recipe

TEACHER, STUDENT = "mlp:widths=256-256,norm=batch", "mlp:widths=12-12,norm=batch"
NOISE = 0.15
PARTS = {LABELLED: (0, 898, 0, 898, 1797), UNLABELLED: (0, 700, 700, 1298, 1797)}
"""Rows that the owner trains on (first, last), rows that the attacker has, and the last of the test rows."""
SAME_START = "AST paired, alpha 0.05, reference of the same start"

_AST = "adversarial_sparse_teacher"
_ATTACK = {"epsilon": 0.15, "step_size": 0.01, "attack_steps": 20, "box": "valid", "coordinates": "pixels"}
_SPARSE = {**_ATTACK, "temperature": 6.0, "k": 2, "divergence": "epd"}
_PLAIN: dict[str, Any] = {"temperature": 4.0, "clip_norm": None, "ramp_epochs": 0, "kl_cap": None}
PROTECTED: dict[str, tuple[str, dict[str, Any]]] = {
    NO_TERM: ("nasty_teacher", {**_PLAIN, "omega": 0.0}),
    NASTY: ("nasty_teacher", {**_PLAIN, "omega": 0.02}),
    NASTIER: ("nasty_teacher", {**_PLAIN, "omega": 0.04}),
    "AST paired, alpha 0.02": (_AST, {**_SPARSE, "alpha": 0.02, "pairing": "paired"}),
    PAIRED: (_AST, {**_SPARSE, "alpha": 0.05, "pairing": "paired"}),
    SAME_START: (_AST, {**_SPARSE, "alpha": 0.05, "pairing": "paired"}),
    RELEASED: (_AST, {**_SPARSE, "alpha": 0.05, "pairing": "released"}),
    STINGY: ("stingy_teacher", {"k": 2}),
}
"""Method and settings of each protected teacher."""


@dataclass(frozen=True)
class Row:
    """A row of the table: a student's method with its settings, or a teacher on its own."""

    regime: str
    teacher: str
    what: str
    method: str = ""
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What the row is called on file."""
        return f"{self.regime} | {self.teacher} | {self.what}"


def rows() -> Iterator[Row]:
    """Yield every row of the study."""
    yield Row(LABELLED, "none", "alone", "no_teacher")
    yield Row(LABELLED, "none", "alone, smoothed", "no_teacher", {"smoothing": 0.1})
    yield Row(UNLABELLED, "none", "alone, true labels", "no_teacher")
    for teacher in (ORDINARY, *PROTECTED):
        yield Row(LABELLED, teacher, ITSELF)
        if teacher == NO_TERM:
            continue
        yield from plain(LABELLED, teacher)
        if teacher in (ORDINARY, NASTIER, RELEASED, STINGY):
            yield from adaptive(teacher)
    for teacher in (ORDINARY, NASTY, PAIRED, RELEASED, STINGY):
        yield Row(UNLABELLED, teacher, ITSELF)
        yield from plain(UNLABELLED, teacher)


def plain(regime: str, teacher: str) -> Iterator[Row]:
    """Yield plain distillation at three temperatures, and the hard label."""
    for temperature in (1, 4, 20):
        settings = {"temperature": float(temperature), "alpha": 0.9}
        yield Row(regime, teacher, f"KD T={temperature}", "kd", settings)
    yield Row(regime, teacher, "hard label", "hard_label")


def adaptive(teacher: str) -> Iterator[Row]:
    """Yield the attackers that know what they are up against; they have labels."""
    soft = {"temperature": 20.0, "alpha": 0.9}
    yield Row(LABELLED, teacher, "KD T=20 without T²", "kd", {**soft, "squared_factor": False})
    if teacher != STINGY:  # what was left out of an answer has no logit to centre
        yield Row(LABELLED, teacher, "KD T=20, centred logits", "centred", soft)
    yield Row(LABELLED, teacher, "uniform tail", "uniform_tail", {"temperature": 1.0, "alpha": 1.0})
    yield Row(LABELLED, teacher, "composition T=50", "composition", {"temperature": 50.0, "beta": 0.5})
    yield Row(LABELLED, teacher, "skeptical T=20", "skeptical", soft)


class Study:
    """The data and the teachers of a seed; trains and scores one cell at a time."""

    def __init__(self, folder: Path, seed: int, *, epochs: int) -> None:
        self.folder, self.seed = folder, seed
        self.recipe = Recipe(
            epochs=epochs,
            batch_size=64,
            learning_rate=0.05,
            weight_decay=5e-4,
            schedule="multi_step",
            milestones=(max(epochs // 2, 1), max(epochs * 3 // 4, 1)),
        )
        digits = noisy_digits(seed)
        self.owners, self.attackers, self.test = {}, {}, {}
        for regime, (first, last, begin, end, stop) in PARTS.items():
            self.owners[regime] = digits.take(range(first, last))
            self.attackers[regime] = digits.take(range(begin, end))
            self.test[regime] = digits.take(range(end, stop))
        self.teacher = cache(self._teacher)

    def cell(self, row: Row) -> Scores:
        """Return the scores of a row."""
        if not row.method:
            return self.itself(row)
        teacher, defence = self.teacher(row.regime, ORDINARY if row.teacher == "none" else row.teacher)
        student = self._untrained(STUDENT, "student")
        method = self._method(
            row.method,
            **row.settings,
            defence=defence,
            labels_frac=1.0 if row.regime == LABELLED or row.teacher == "none" else 0.0,
        )
        with self._run(self.folder / "cell", method, self.seed) as run:
            data = self.attackers[row.regime]
            method.run(teacher=teacher, student=student, data=data, run=run, store=self.folder / "answers")
        shutil.rmtree(self.folder / "cell")
        test = self.test[row.regime]
        ours, theirs = logits(student, test).argmax(dim=1), logits(teacher, test).argmax(dim=1)
        found = {"accuracy": share(ours == test.labels)}
        return found if row.teacher == "none" else {**found, "agreement": share(ours == theirs)}

    def itself(self, row: Row) -> Scores:
        """Return a teacher's own scores, and what is known of its protection."""
        teacher, _ = self.teacher(row.regime, row.teacher)
        data, test = self.owners[row.regime], self.test[row.regime]
        found = {"accuracy": share(logits(teacher, test).argmax(dim=1) == test.labels)}
        if row.teacher != STINGY:
            found |= {f"entropy {t}": entropy(logits(teacher, test) / t) for t in (1, 4, 20)}
        if row.teacher in (NO_TERM, NASTY, NASTIER):
            ordinary = logits(self.teacher(row.regime, ORDINARY)[0], data)
            divergence = kl_divergence(ordinary, logits(teacher, data), temperature=4.0, reduction="batchmean")
            found["divergence"] = float(divergence)
        histogram = read_json(self._folder(row.regime, row.teacher) / "facts.json").get("support")
        return {**found, "support": max(histogram)} if histogram else found

    def _teacher(self, regime: str, name: str) -> tuple[Classifier, str]:
        """Return a teacher, from file if it is there, and the defence that it is served through."""
        folder = self._folder(regime, name)
        if not (folder / "facts.json").exists():
            start = ORDINARY if name in (ORDINARY, SAME_START) else "protected"
            seed = derive_seed(self.seed, start)
            model = self._untrained(TEACHER, f"teacher {start}")
            method = self._method("supervised") if name == ORDINARY else self._protector(regime, name)
            with self._run(folder, method, seed) as run:
                outcome = method.run(model=model, data=self.owners[regime], run=run)
            save_model(outcome.model, folder / "model", about={"method": name})
            about = outcome.facts.get("resistance", {})
            support = about.get("support", {}).get("histogram")
            kept = {"serving": outcome.facts.get("serving", "none"), "support": support}
            write_json(folder / "facts.json", kept)
        return load_model(folder), read_json(folder / "facts.json")["serving"]

    def _protector(self, regime: str, name: str) -> Method:
        self.teacher(regime, ORDINARY)
        method, settings = PROTECTED[name]
        return self._method(method, **settings, reference=str(self._folder(regime, ORDINARY)))

    def _folder(self, regime: str, name: str) -> Path:
        return self.folder / f"{regime}, {name}"

    def _method(self, method: str, **settings: Any) -> Method:
        return catalogue.load(method)(**settings, fit=self.recipe)

    def _untrained(self, spec: str, name: str) -> Classifier:
        """Return a network that takes pixels as they are, with the weights that torch's own layers start from."""
        seed = derive_seed(self.seed, name)
        shape = self.owners[LABELLED].shape
        model = build_model(spec, input_shape=shape, classes=10, mean=[0.0], std=[1.0], seed=seed)
        generator = stream(seed, "weights")
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                bound = layer.in_features**-0.5
                for values in (layer.weight, layer.bias):
                    if values is not None:  # before a batch normalisation there is no bias
                        nn.init.uniform_(values, -bound, bound, generator=generator)
        return model

    @contextmanager
    def _run(self, folder: Path, method: Method, seed: int) -> Iterator[Run]:
        """Open a run in an empty folder."""
        shutil.rmtree(folder, ignore_errors=True)
        yield Run(folder, method.model_dump(mode="json"), RunOptions(seed=seed, device="cpu", log_every=10_000))


def noisy_digits(seed: int) -> ImageSet:
    """Return all 1,797 digits, 8 x 8 pixels, with noise and in the order of a seed; in 256 grey levels."""
    from sklearn.datasets import load_digits

    source, generator = load_digits(), np.random.RandomState(seed)
    order = generator.permutation(len(source.target))
    noise = generator.normal(0.0, NOISE, source.images.shape)
    pixels = np.clip(source.images / 16 + noise, 0.0, 1.0)[order]
    images = torch.from_numpy(np.rint(pixels * 255).astype(np.uint8)).unsqueeze(1)
    labels = torch.from_numpy(source.target[order]).long()
    return ImageSet("digits", "train", images, labels, tuple(map(str, source.target_names)))


def logits(model: Classifier, data: ImageSet) -> Tensor:
    """Return a network's logits on all images."""
    answers: Tensor = freeze(model)(as_float(data.images)).detach()
    return answers


def share(right: Tensor) -> float:
    """Return the share that is true."""
    return float(right.double().mean())


def entropy(softened: Tensor) -> float:
    """Return the mean entropy of logits that are divided by their temperature, in nats."""
    return float(torch.distributions.Categorical(logits=softened).entropy().mean())
