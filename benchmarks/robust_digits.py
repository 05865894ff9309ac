"""Robustness handed down on the embedded digits: every method from a robust teacher, and from one that errs.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python benchmarks/robust_digits.py --seeds 0 1 2

The 1,797 digits in one fixed order: 1,200 to train on, 597 to test. The teacher of a seed is a perceptron 64-512-512-10
trained by PGD-AT for 60 epochs; the students are perceptrons 64-32-32-10, all of a seed from the same weights, trained
for 40. Images differ by at most 0.12 in each pixel. A student counts as robust on an image that stands 40 steps of PGD
on the cross-entropy and 40 on the margin. The teacher that errs is the same network with its top logit exchanged for
that of a wrong class on 40 % of the training images, wherever in their ball it is asked.

Each cell (row, teacher, seed) is put on file when it is done, and a run that was stopped goes on behind it. At the end
the thresholds are checked, and the table is printed; `--quick` is one seed of a few rows and epochs, and writes no
results.
"""

import argparse
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from robust_digits_properties import TEACHERS, Found, Scores, properties, table
from robust_digits_teacher import draw_errors, make_err
from synthesis import machine
from understudy import catalogue
from understudy.attacks import Attack, CrossEntropy, Margin, perturb
from understudy.data import ImageSet, as_float
from understudy.methods.method import Method, Outcome
from understudy.models import Classifier, build_model, freeze, load_model, model_digest, save_model
from understudy.runs.files import write_json
from understudy.runs.options import RunOptions
from understudy.runs.run import Run
from understudy.runs.seeds import derive_seed, stream
from understudy.training import Recipe

RESULTS = Path(__file__).parent / "results"
TEACHER, STUDENT = "mlp:widths=512-512", "mlp:widths=32-32"
EPSILON, ERRING = 0.12, 0.4
RADIUS = EPSILON + 1e-4  # rounding must not put an attacked image outside its ball
THREAT = {"epsilon": EPSILON, "step_size": EPSILON / 4, "attack_steps": 7, "crop_padding": 0, "flip": False}
DENOISE = {"relation_weight": 0.0, "contrast_weight": 0.0}


@dataclass(frozen=True)
class Row:
    """A row of the table: a method with its settings."""

    name: str
    method: str
    settings: dict[str, Any] = field(default_factory=dict)
    teachers: tuple[str, ...] = ("intact", "errs")

    def build(self, epochs: int) -> Method:
        """Return the method at the threat and the schedule of the study."""
        entry = catalogue.entry(self.method)
        threat = THREAT if entry.family == "robust" else {}
        return catalogue.load(self.method)(**{**threat, "fit": recipe(epochs), **self.settings})


def recipe(epochs: int) -> Recipe:
    """Return SGD with momentum 0.9, a tenth of the rate after 70 % and after 90 % of the epochs."""
    milestones = tuple(max(1, round(share * epochs)) for share in (0.7, 0.9))
    return Recipe(
        epochs=epochs,
        batch_size=100,
        learning_rate=0.1,
        weight_decay=2e-4,
        schedule="multi_step",
        milestones=milestones,
    )


def rows() -> Iterator[Row]:
    """Yield every row of the table."""
    yield Row("natural", "supervised", teachers=("none",))
    yield Row("PGD-AT", "pgd_at", teachers=("none",))
    yield Row("ARD, temperature 2", "ard", {"temperature": 2.0})  # at 30 and this rate it does not always learn
    yield Row("RSLAD", "rslad")
    yield Row("AdaAD", "adaad")
    yield Row("DGAD", "dgad")
    yield Row("CRDND denoise", "crdnd", DENOISE)
    yield Row("CRDND denoise, clean view", "crdnd", {**DENOISE, "teacher_view": "clean"})
    yield Row("CRDND full", "crdnd")
    yield Row("CRDND denoise, m = 0", "crdnd", {**DENOISE, "margin": 0.0})
    yield Row("CRDND denoise, m = 0.3", "crdnd", {**DENOISE, "margin": 0.3})
    yield Row("CRDND denoise, transition", "crdnd", {**DENOISE, "compensation": "transition"})


QUICK = ("natural", "PGD-AT", "RSLAD", "CRDND denoise", "CRDND denoise, transition")


class Study:
    """The data and the teachers; runs one cell at a time."""

    def __init__(self, folder: Path, *, epochs: int = 40, teacher_epochs: int = 60) -> None:
        self.folder, self.epochs, self.teacher_epochs = folder, epochs, teacher_epochs
        digits = shuffled_digits()
        self.train, self.test = digits.take(range(1200)), digits.take(range(1200, 1797))
        self.teacher = cache(self._teacher)

    def _teacher(self, kind: str, seed: int) -> Classifier:
        """Return the teacher of a seed, from file if it is there: intact, or one that errs."""
        if kind == "errs":
            errors = draw_errors(self.train, share=ERRING, radius=RADIUS, seed=seed)
            return make_err(self.teacher("intact", seed), self.train, errors, radius=RADIUS)
        saved = self.folder / f"teacher-s{seed}-{self.teacher_epochs}"
        if not saved.exists():
            teacher = self._untrained(TEACHER, derive_seed(seed, "teacher"))
            method = Row("teacher", "pgd_at").build(self.teacher_epochs)
            with self._run(method, seed) as run:
                method.run(model=teacher, data=self.train, run=run)
            save_model(teacher, saved, about={"method": "pgd_at", "seed": seed})
        return load_model(saved)

    def _untrained(self, spec: str, seed: int) -> Classifier:
        """Return a network that takes pixels as they are, with the weights that torch's own layers start from.

        Ours start larger, and at this rate the errors of a teacher then throw students off for good.
        """
        model = build_model(spec, input_shape=self.train.shape, classes=10, mean=[0.0], std=[1.0], seed=seed)
        generator = stream(seed, "weights")
        for layer in model.modules():
            if isinstance(layer, torch.nn.Linear):
                bound = layer.in_features**-0.5
                for values in (layer.weight, layer.bias):
                    torch.nn.init.uniform_(values, -bound, bound, generator=generator)
        return model

    def teacher_itself(self, kind: str, seed: int) -> Scores:
        """Return the teacher's own scores, and its accuracy on the training images."""
        teacher = self.teacher(kind, seed)
        answers = freeze(teacher)(as_float(self.train.images))
        right = float((answers.argmax(dim=1) == self.train.labels).float().mean())
        return {**score(teacher, self.test, seed=seed), "train": right}

    def cell(self, row: Row, kind: str, seed: int) -> Scores:
        """Return the scores of one student."""
        method, student = row.build(self.epochs), self._untrained(STUDENT, derive_seed(seed, "student"))
        with self._run(method, seed) as run:
            if kind == "none":
                outcome = method.run(model=student, data=self.train, run=run)
            else:
                teacher = self.teacher(kind, seed)
                outcome = method.run(teacher=teacher, student=student, data=self.train, run=run)
            found = score(outcome.model, self.test, seed=seed)
            if row.settings.get("compensation") == "transition":
                found["diagonal"] = mean_diagonal(outcome, run)
        return found

    @contextmanager
    def _run(self, method: Method, seed: int) -> Iterator[Run]:
        """Open a run in a folder of its own, which is thrown away."""
        folder = self.folder / "cell"
        shutil.rmtree(folder, ignore_errors=True)
        yield Run(folder, method.model_dump(mode="json"), RunOptions(seed=seed, device="cpu", log_every=1000))
        shutil.rmtree(folder)


def shuffled_digits() -> ImageSet:
    """Return all 1,797 digits, 8 x 8 pixels, in the order of NumPy's RandomState(0)."""
    from sklearn.datasets import load_digits

    source = load_digits()
    order = np.random.RandomState(0).permutation(len(source.target))
    levels = torch.from_numpy(source.images[order]).unsqueeze(1) * (255 / 16)
    images, labels = levels.round().to(torch.uint8), torch.from_numpy(source.target[order]).long()
    return ImageSet("digits", "train", images, labels, tuple(map(str, source.target_names)))


def score(model: Classifier, data: ImageSet, *, seed: int) -> Scores:
    """Return clean accuracy, and the share of images that stand both attacks as well."""
    network, x, labels = freeze(model), as_float(data.images), data.labels
    standing = network(x).argmax(dim=1) == labels
    found = {"clean": float(standing.float().mean())}
    attack = Attack(epsilon=EPSILON, step=EPSILON / 10, steps=40, start="uniform", early_exit=True)
    for objective in (CrossEntropy(labels), Margin(labels)):
        generator = stream(seed, f"evaluation {type(objective).__name__}")
        x_adv = perturb(network, x, objective, attack=attack, generator=generator, labels=labels)
        standing &= network(x_adv).argmax(dim=1) == labels
    return {**found, "robust": float(standing.float().mean())}


def mean_diagonal(outcome: Outcome, run: Run) -> float:
    """Return the mean diagonal of the learned transition, from the checkpoint of the training."""
    del outcome
    (name,) = (run.folder / "checkpoint").glob("*.safetensors")
    tensors = load_file(name)
    (logits,) = (value for key, value in tensors.items() if "extras" in key and value.shape == (10, 10))
    return float(logits.softmax(dim=1).diagonal().mean())


class Cells:
    """Results on file, a line each; those of other settings are left out."""

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path, self.settings = path, settings
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [line for line in map(json.loads, lines) if line["settings"] == settings]
        self.found = {(line["key"], line["seed"]): line["scores"] for line in kept}

    def fill(self, key: str, seed: int, measure: Callable[[], Scores]) -> None:
        """Measure a cell, unless it is on file, and put it there."""
        if (key, seed) in self.found:
            return
        scores = self.found[key, seed] = measure()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"settings": self.settings, "key": key, "seed": seed, "scores": scores}) + "\n")
        print(f"seed {seed}, {key}: " + ", ".join(f"{name} {value:.4g}" for name, value in scores.items()), flush=True)

    def rows(self, seeds: list[int]) -> Found:
        """Return the scores of each row, a dictionary a seed."""
        keys = dict.fromkeys(key for key, _ in self.found)
        return {key: [self.found[key, seed] for seed in seeds if (key, seed) in self.found] for key in keys}


def fill(study: Study, cells: Cells, seeds: list[int], chosen: list[Row]) -> None:
    """Measure every cell that is not on file."""
    for seed in seeds:
        for kind in TEACHERS[1:]:
            cells.fill(f"teacher itself | {kind}", seed, partial(study.teacher_itself, kind, seed))
        for row in chosen:
            for kind in row.teachers:
                cells.fill(f"{row.name} | {kind}", seed, partial(study.cell, row, kind, seed))


def main() -> None:
    """Do what is not on file yet, check the thresholds, print the table and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/robust_digits"))
    parser.add_argument("--quick", action="store_true", help="one seed, a few rows and epochs; no results are written")
    parser.add_argument("--out", type=Path, default=RESULTS / "robust_digits.json")
    arguments = parser.parse_args()
    seeds, chosen, study = arguments.seeds, list(rows()), Study(arguments.runs)
    if arguments.quick:
        seeds, chosen = seeds[:1], [row for row in chosen if row.name in QUICK]
        study = Study(arguments.runs, epochs=2, teacher_epochs=2)
    settings = {"teacher": TEACHER, "student": STUDENT, "epochs": [study.teacher_epochs, study.epochs], **THREAT}
    cells = Cells(study.folder / "cells.jsonl", settings)
    fill(study, cells, seeds, chosen)
    found = cells.rows(seeds)
    print("\n".join(table(found)))
    if arguments.quick:
        return
    tested = [asdict(one) for one in properties(found)]
    print("\n".join(f"- {'holds' if one['holds'] else 'FAILS'}: {one['name']}: {one['text']}" for one in tested))
    teachers = {f"s{seed}": model_digest(study.teacher("intact", seed)) for seed in seeds}
    facts = {"machine": machine(torch.device("cpu")), "settings": {**settings, "seeds": seeds, "teachers": teachers}}
    write_json(arguments.out, {**facts, "thresholds": tested, "rows": found})
    print(f"written to {arguments.out}")


if __name__ == "__main__":
    main()
