"""What filed answers save where many students learn from one teacher, as ratios measured in one run.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python benchmarks/resistance.py

Plain distillation of four students at three temperatures, twelve trainings from one teacher, done twice: by a loop
that asks the teacher for every batch of every epoch, and by the method with its answers filed in one folder that all
twelve share. Once with the images as they are, and once with crops of 4 pixels and flips, where most views are new.
The teacher's share is the time spent in it over the time of the whole sweep: the hashing, filing and reading of answers
is part of the whole.

Both ways take turns, so that a busy machine slows both; medians over the turns are reported, by the clock and by
processor time, in which other processes count less.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from robust import between, network, now, pictures
from synthesis import machine
from understudy.data import Augment, Batch, ImageSet
from understudy.methods.baseline.kd import KD
from understudy.methods.distiller import Taught
from understudy.models import count_macs, freeze
from understudy.runs.files import write_json
from understudy.runs.options import RunOptions
from understudy.runs.run import Run
from understudy.training import Recipe
from understudy.training.answers import Answers
from understudy.training.from_images import fit_on_images

CROPS: dict[str, Augment] = {"images as they are": Augment(), "crops and flips": Augment(crop_padding=4, flip=True)}


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    teacher: str = "resnet18:width=32"
    students: tuple[str, ...] = (
        "resnet18:width=8",
        "mobilenet_v2:width=0.25",
        "cnn:widths=16-32-64",
        "mlp:widths=256-256",
    )
    temperatures: tuple[float, ...] = (1.0, 4.0, 20.0)
    rows: int = 256
    """Images that students learn from."""
    batch: int = 64
    """Images of a training step."""
    epochs: int = 8
    """Passes over the images; real sweeps take more, and file more crops."""
    repeats: int = 3
    """Turns of each comparison."""

    def method(self, temperature: float, augment: Augment) -> KD:
        """Return plain distillation at a temperature."""
        fit = Recipe(epochs=self.epochs, batch_size=self.batch, learning_rate=0.05)
        crops = {"crop_padding": augment.crop_padding, "flip": augment.flip}
        return KD(temperature=temperature, fit=fit, **crops)


@dataclass
class Sweep:
    """What twelve trainings took."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    teacher_s: float = 0.0
    """By the clock, in the teacher and in reading and filing while it is asked."""
    answers: int = 0
    """Images that the teacher has seen."""


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=Size.repeats, help="turns of each comparison")
    parser.add_argument("--epochs", type=int, default=Size.epochs)
    parser.add_argument("--rows", type=int, default=Size.rows, help="images that students learn from")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--quick", action="store_true", help="small networks and one turn, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "resistance.json")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    size = Size(rows=arguments.rows, epochs=arguments.epochs, repeats=arguments.repeats)
    if arguments.quick:
        size = Size(
            "cnn:widths=8-8", ("cnn:widths=2", "mlp:widths=8"), (1.0, 4.0), rows=32, batch=16, epochs=2, repeats=1
        )
    macs = {spec: count_macs(network(spec)) for spec in (size.teacher, *size.students)}
    found = {words: compare(size, augment, device) for words, augment in CROPS.items()}
    for words, result in found.items():
        print("\n".join(shown(words, result)))
    if not arguments.quick:
        results = {"machine": machine(device), "settings": asdict(size), "multiply_adds": macs, "sweeps": found}
        write_json(arguments.out, results)
        print(f"written to {arguments.out}")


def compare(size: Size, augment: Augment, device: torch.device) -> dict[str, object]:
    """Do the sweep in both ways, turn by turn, and return medians and the ratio of each turn."""
    turns: dict[str, list[Sweep]] = {"asked for every batch": [], "filed answers": []}
    data = pictures(size.rows)
    for _ in range(size.repeats):
        with tempfile.TemporaryDirectory() as folder:
            asked = asked_each_epoch(size, augment, data, runs(Path(folder) / "asked", device), device)
            filed = from_filed_answers(
                size, augment, data, runs(Path(folder) / "filed", device), Path(folder) / "answers"
            )
        turns["asked for every batch"].append(asked)
        turns["filed answers"].append(filed)
    both = list(zip(turns["asked for every batch"], turns["filed answers"], strict=True))
    found: dict[str, object] = {name: summary(sweeps) for name, sweeps in turns.items()}
    return {
        **found,
        "times_as_fast": spread([asked.wall_s / filed.wall_s for asked, filed in both]),
        "times_as_fast_cpu": spread([asked.cpu_s / filed.cpu_s for asked, filed in both]),
    }


def runs(folder: Path, device: torch.device) -> Iterator[Run]:
    """Yield runs in folders of their own, without end."""
    options = RunOptions(device=device.type, log_every=1000)  # type: ignore[arg-type]
    number = 0
    while True:
        yield Run(folder / str(number), {}, options)
        number += 1


def from_filed_answers(size: Size, augment: Augment, data: ImageSet, fresh: Iterator[Run], store: Path) -> Sweep:
    """Train all students by the method; the first asks, and all read the folder."""
    sweep, teacher = Sweep(), network(size.teacher)
    for spec in size.students:
        for temperature in size.temperatures:
            student, run = network(spec), next(fresh)
            begun = now(run.device)
            outcome = size.method(temperature, augment).run(
                teacher=teacher, student=student, data=data, run=run, store=store
            )
            taken = between(begun, now(run.device))
            asking = sum(seconds for phase, seconds in run.timing().items() if phase.startswith("ask"))
            add(sweep, taken.wall_s, taken.cpu_s, asking, outcome.facts["teacher_evaluations"])
    return sweep


def asked_each_epoch(size: Size, augment: Augment, data: ImageSet, fresh: Iterator[Run], device: torch.device) -> Sweep:
    """Train all students by a loop that asks the teacher for each batch; everything else is as in the method."""
    sweep, answering = Sweep(), freeze(network(size.teacher).to(device))
    for spec in size.students:
        for temperature in size.temperatures:
            student, run, method = network(spec), next(fresh), size.method(temperature, augment)
            asking = Stopwatch(device)

            def objective(
                module: nn.Module, batch: Batch, method: KD = method, asking: Stopwatch = asking
            ) -> dict[str, Tensor]:
                with asking, torch.no_grad():
                    logits = answering(batch.x)
                known = torch.ones_like(batch.labels, dtype=torch.bool)
                taught = Taught(batch.x, batch.rows_cpu, batch.labels, known, Answers(logits, "logits"))
                return {"loss": method.loss(module(batch.x), taught)}

            begun = now(device)
            fit_on_images(student, data, objective=objective, augment=augment, recipe=method.fit, run=run)
            taken = between(begun, now(device))
            seen = size.epochs * size.rows
            add(sweep, taken.wall_s, taken.cpu_s, asking.seconds, seen)
    return sweep


@dataclass
class Stopwatch:
    """Adds up the time spent in a block."""

    device: torch.device
    seconds: float = 0.0

    def __enter__(self) -> None:
        self._begun = self._now()

    def __exit__(self, *_: object) -> None:
        self.seconds += self._now() - self._begun

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def add(sweep: Sweep, wall: float, cpu: float, teacher: float, answers: int) -> None:
    """Count one training."""
    sweep.wall_s += wall
    sweep.cpu_s += cpu
    sweep.teacher_s += teacher
    sweep.answers += answers


def summary(sweeps: list[Sweep]) -> dict[str, object]:
    """Return the medians over the turns, and the teacher's share."""
    return {
        "wall_s": round(statistics.median(sweep.wall_s for sweep in sweeps), 2),
        "cpu_s": round(statistics.median(sweep.cpu_s for sweep in sweeps), 2),
        "teacher_s": round(statistics.median(sweep.teacher_s for sweep in sweeps), 2),
        "teacher_share": spread([sweep.teacher_s / sweep.wall_s for sweep in sweeps]),
        "answers": sweeps[0].answers,
    }


def spread(values: list[float]) -> dict[str, float]:
    """Return median, lowest and highest."""
    found = {"median": statistics.median(values), "low": min(values), "high": max(values)}
    return {name: round(value, 4) for name, value in found.items()}


def shown(words: str, found: dict[str, object]) -> Iterator[str]:
    """Yield the lines of one comparison."""
    yield f"{words}:"
    for name in ("asked for every batch", "filed answers"):
        one = found[name]
        assert isinstance(one, dict)
        share = one["teacher_share"]
        yield (
            f"    {name:<22} {one['wall_s']:8.1f} s, teacher {one['teacher_s']:7.1f} s, {share['median']:.1%} "
            f"({share['low']:.1%} to {share['high']:.1%}) of it; {one['answers']:,} answers"
        )
    for clock, key in (("the clock", "times_as_fast"), ("processor time", "times_as_fast_cpu")):
        ratio = found[key]
        assert isinstance(ratio, dict)
        times = f"{ratio['median']:.2f} times as fast ({ratio['low']:.2f} to {ratio['high']:.2f})"
        yield f"    filed answers, {clock}: {times}"


if __name__ == "__main__":
    main()
