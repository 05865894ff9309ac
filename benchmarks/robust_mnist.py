"""Robustness on MNIST: small students of a robust teacher, and of one that was taught wrong labels, under AutoAttack.

    UNDERSTUDY_DATA=path/to/data OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python benchmarks/robust_mnist.py

10,000 training images; pixels may change by 0.2. Two teachers are trained by PGD-AT: one on the true labels, one after
the labels of 45 % of the images, drawn at random, were moved to the next class. Students see the true labels, and are
trained with every method from the first teacher, and with two from the second. Each is attacked with PGD-20, CW
and AutoAttack on the same 1,000 test images.

Every training is an ordinary run and every attack an ordinary evaluation, in folders of their own: whatever was stopped
goes on, and what is finished is not done again. The results are written as they come. Two processes may share the work:
first `--only teachers`, then one with `--seeds 0 1` and one with `--seeds 2`.
"""

import argparse
import io
import shutil
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

from understudy import catalogue
from understudy.data import ImageSet, load_images
from understudy.evaluation.paired import mcnemar
from understudy.evaluation.robustness import Suite, make_bench, run_suite
from understudy.runs.files import read_json, write_text
from understudy.runs.options import RunOptions
from understudy.runs.seeds import stream
from understudy.study.job import execute, make_job
from understudy.study.robustness import prepare, run_robustness
from understudy.study.robustness_job import Robustness, make_robustness

RESULTS = Path(__file__).parent / "results" / "robust_mnist"
ATTACKS = "pgd20,cw,autoattack"
PAGES = ("crdnd-s0", "crdnd_erring-s0")
"""Evaluations whose pages are kept; they are compared with RSLAD's, image by image, and with the teacher."""


@dataclass(frozen=True)
class Setting:
    """How much is done."""

    teacher: str = "cnn:widths=32-32-32"
    student: str = "mlp:widths=64-64,norm=batch"
    data: str = "mnist"
    rows: int = 10_000
    epsilon: float = 0.2
    attack_steps: int = 5
    teacher_epochs: int = 8
    epochs: int = 10
    batch_size: int = 128
    wrong: float = 0.45
    """Share of the second teacher's labels that are wrong."""
    attacked: int = 1000
    attacks: str = ATTACKS

    @property
    def source(self) -> str:
        """The images to train on."""
        return f"{self.data}[:{self.rows}]"

    def options(self, method: str, *, teacher: bool) -> dict[str, Any]:
        """Return the values of a method: the same schedule for all, the same threat for those that know of one."""
        epochs, rate = (self.teacher_epochs, 0.1) if teacher else (self.epochs, 0.05)
        fit = {"epochs": epochs, "batch_size": self.batch_size, "learning_rate": rate, "schedule": "one_cycle"}
        common = {"crop_padding": 0, "flip": False, "fit": {**fit, "weight_decay": 5e-4}}
        if catalogue.entry(method).family != "robust":
            return common
        threat = {"epsilon": self.epsilon, "step_size": self.epsilon / 4, "attack_steps": self.attack_steps}
        return {**common, **threat}


@dataclass(frozen=True)
class Arm:
    """A line of the table: a method, and the teacher it learns from."""

    name: str
    title: str
    method: str
    teacher: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


TEACHERS = (
    Arm("teacher_intact", "teacher, true labels", "pgd_at"),
    Arm("teacher_erring", "teacher, 45 % of the labels wrong", "pgd_at"),
)
STUDENTS = (
    Arm("natural", "natural", "supervised"),
    Arm("pgd_at", "PGD-AT", "pgd_at"),
    Arm("trades", "TRADES", "trades"),
    *(
        Arm(method + tag, title, method, teacher)
        for tag, teacher in (("", "teacher_intact"), ("_erring", "teacher_erring"))
        for method, title in (
            ("ard", "ARD"),
            ("rslad", "RSLAD"),
            ("adaad", "AdaAD"),
            ("dgad", "DGAD"),
            ("crdnd", "CRDND-style"),
        )
        if tag == "" or method in ("rslad", "crdnd")
    ),
)


@dataclass(frozen=True)
class Study:
    """Runs and evaluations in a folder."""

    folder: Path
    setting: Setting
    results: Path

    def train(self, arm: Arm, seed: int) -> None:
        """Train the network of an arm, or go on with it."""
        setting, method = self.setting, arm.method
        data = self.wrong_labels() if arm.name == "teacher_erring" else setting.source
        job = make_job(
            method,
            verb="distil" if arm.teacher else "train",
            model=setting.teacher if arm in TEACHERS else setting.student,
            options={**setting.options(method, teacher=arm in TEACHERS), **arm.options},
            run_options={"seed": seed, "device": "cpu", "precision": "bf16"},
            teacher=str(self.folder / arm.teacher) if arm.teacher else None,
            data=data,
        )
        self._timed(f"{self.name(arm, seed)}: trained", lambda: execute(job, self.folder / self.name(arm, seed)))
        self._keep(self.name(arm, seed), "result.json", "config.toml")

    def attack(self, arm: Arm, seed: int) -> None:
        """Attack the network of an arm, or go on with it."""
        name = self.name(arm, seed)
        job, folder = self.evaluation(arm, seed), self.attacked(arm, seed)
        self._timed(f"{name}: attacked", lambda: run_robustness(job, folder))
        self._keep(f"attacked/{name}", "robustness.json", "config.toml")
        if name in PAGES:
            self._keep(f"attacked/{name}", "robustness.html")

    def evaluation(self, arm: Arm, seed: int) -> Robustness:
        """Return what an arm's evaluation is asked to do; the teachers are spared AutoAttack, for it takes an hour."""
        setting, name = self.setting, self.name(arm, seed)
        more = {}
        if name in PAGES:
            more = {
                "against": str(self.folder / name.replace("crdnd", "rslad")),
                "teacher": str(self.folder / str(arm.teacher)),
            }
        return make_robustness(
            {
                "model": str(self.folder / name),
                "data": setting.data,
                "attacks": "pgd20,cw" if arm in TEACHERS else setting.attacks,
                "epsilon": setting.epsilon,
                "rows": setting.attacked,
                "batch_size": setting.attacked,
                "run": RunOptions(device="cpu"),
                **more,
            }
        )

    def attacked(self, arm: Arm, seed: int) -> Path:
        """Return the folder of an arm's evaluation."""
        return self.folder / "attacked" / self.name(arm, seed)

    def name(self, arm: Arm, seed: int) -> str:
        """Return the name of an arm's run; there is one teacher for all seeds."""
        return arm.name if arm in TEACHERS else f"{arm.name}-s{seed}"

    def suite(self, arm: Arm, seed: int) -> Suite | None:
        """Return the verdicts on each image, from the files of a finished evaluation."""
        job, folder = self.evaluation(arm, seed), self.attacked(arm, seed)
        if not (folder / "robustness.json").exists():
            return None
        ready = prepare(job)
        bench = make_bench(
            ready.networks["last"], ready.data, epsilon=job.epsilon, norm=job.norm, seed=job.run.seed,
            folder=folder / "outcomes" / "last", batch_size=job.batch_size, name="last",
        )  # fmt: skip
        return run_suite(bench, job.attacks)

    def wrong_labels(self) -> str:
        """Return a data set whose training labels are partly wrong, from file if it is there."""
        folder = self.folder / "wrong_labels"
        if not (folder / "test.parquet").exists():
            folder.mkdir(parents=True, exist_ok=True)
            train, test = load_images(self.setting.source, "train"), load_images(self.setting.data, "test")
            write_parquet(folder / "train.parquet", train, moved(train.labels, self.setting.wrong, len(train.classes)))
            write_parquet(folder / "test.parquet", test, test.labels)
        return str(folder)

    def _timed(self, words: str, work: Any) -> None:
        begun = time.monotonic()
        work()
        if (taken := time.monotonic() - begun) > 2:
            print(f"{words} in {taken:.0f} s", flush=True)

    def _keep(self, name: str, *files: str) -> None:
        (self.results / name).mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copy(self.folder / name / file, self.results / name / file)


def moved(labels: Tensor, share: float, classes: int) -> Tensor:
    """Return the labels with that share of them, drawn at random, one class further."""
    wrong = torch.rand(len(labels), generator=stream(0, "wrong labels")) < share
    return torch.where(wrong, (labels + 1) % classes, labels)


def write_parquet(path: Path, data: ImageSet, labels: Tensor) -> None:
    """Write grey images with other labels, in the layout of the Hugging Face hub."""
    encoded = []
    for image in data.images:
        content = io.BytesIO()
        Image.fromarray(image[0].numpy()).save(content, "PNG")
        encoded.append({"bytes": content.getvalue(), "path": None})
    pq.write_table(pa.table({"image": encoded, "label": labels.tolist()}), path)


def main() -> None:
    """Do what is not done yet, and write the table over all seeds on file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help=f"teachers, {', '.join(arm.name for arm in STUDENTS)}"
    )
    parser.add_argument("--stage", choices=("train", "attack", "both"), default="both")
    parser.add_argument("--runs", type=Path, default=Path("runs/robust_mnist"))
    parser.add_argument(
        "--quick", action="store_true", help="a small case, to see that it runs; no results are written"
    )
    arguments = parser.parse_args()
    study = Study(arguments.runs, Setting(), RESULTS)
    if arguments.quick:
        small = Setting(
            "cnn:widths=8-8",
            "cnn:widths=2-4",
            rows=512,
            teacher_epochs=1,
            epochs=1,
            attack_steps=2,
            attacked=20,
            attacks="pgd20,cw",
        )
        study = Study(arguments.runs, small, arguments.runs / "results")
    carry_out(study, arguments.seeds, arguments.only, arguments.stage)
    text = "\n".join([*table(study, arguments.seeds), "", *comparisons(study, arguments.seeds)])
    write_text(study.results / "table.md", text + "\n")
    print(text)


def carry_out(study: Study, seeds: list[int], only: list[str] | None, stage: str) -> None:
    """Train and attack, the teachers first, then seed by seed."""
    teachers = [(arm, 0) for arm in TEACHERS if only is None or "teachers" in only]
    students = [(arm, seed) for seed in seeds for arm in STUDENTS if only is None or arm.name in only]
    for arm, seed in teachers:
        if stage != "attack":
            study.train(arm, seed)
        if stage != "train":
            study.attack(arm, seed)
    for arm, seed in students if stage != "attack" else ():
        study.train(arm, seed)
    for arm, seed in students if stage != "train" else ():
        study.attack(arm, seed)


def table(study: Study, seeds: list[int]) -> Iterator[str]:
    """Yield the lines of the table: means over the seeds on file, with the range."""
    names = ["clean", *study.setting.attacks.split(","), "worst"]
    yield "| student | teacher | seeds | " + " | ".join(_WORDS.get(name, name) for name in names) + " |"
    yield "|---|---|---|" + "---|" * len(names)
    for arm in (*TEACHERS, *STUDENTS):
        mine = [0] if arm in TEACHERS else seeds
        paths = [study.attacked(arm, seed) / "robustness.json" for seed in mine]
        scores = [read_json(path)["scores"]["last"] for path in paths if path.exists()]
        if scores:
            cells = [spread([value_of(score, name) for score in scores]) for name in names]
            teacher = {None: "–", "teacher_intact": "true labels", "teacher_erring": "wrong labels"}[arm.teacher]
            yield f"| {arm.title} | {teacher} | {len(scores)} | {' | '.join(cells)} |"


_WORDS = {"pgd20": "PGD-20", "cw": "CW", "autoattack": "AutoAttack"}


def value_of(score: dict[str, Any], name: str) -> float | None:
    """Return a share of images: clean, under one attack, or under all."""
    interval = score[name] if name in ("clean", "worst") else score["attacks"].get(name, {}).get("robust")
    return None if interval is None else interval["value"]


def spread(values: list[float | None]) -> str:
    """Return the mean over seeds, and lowest to highest."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    return f"{statistics.mean(known):.1%}" + (f" ({min(known):.1%} to {max(known):.1%})" if len(known) > 1 else "")


def comparisons(study: Study, seeds: list[int]) -> Iterator[str]:
    """Yield what is expected of CRDND-style and RSLAD, and what was found, image by image over all seeds on file."""
    arms = {arm.name: arm for arm in STUDENTS}
    for tag, words in (("", "true labels"), ("_erring", "wrong labels")):
        pairs = [(study.suite(arms["crdnd" + tag], seed), study.suite(arms["rslad" + tag], seed)) for seed in seeds]
        both = [(ours.worst, theirs.worst) for ours, theirs in pairs if ours is not None and theirs is not None]
        if not both:
            continue
        ours, theirs = (torch.cat(verdicts) for verdicts in zip(*both, strict=True))
        found = mcnemar(ours, theirs)
        holds = found.low > 0 if tag else found.high >= 0
        expected = "above it" if tag else "not below it by more than the interval"
        each = ", ".join(f"{float(a.float().mean() - b.float().mean()):+.1%}" for a, b in both)
        yield (
            f"- {'holds' if holds else 'FAILS'}: teacher with {words}: CRDND-style over RSLAD, worst of all attacks: "
            f"{found.difference:+.1%} (95 % interval {found.low:+.1%} to {found.high:+.1%}; expected: {expected}; "
            f"by seed {each}; McNemar p = {found.p_value:.2g})"
        )


if __name__ == "__main__":
    main()
