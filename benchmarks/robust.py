"""How fast robust training is, as ratios measured in one run.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python benchmarks/robust.py

(a) a training step of each method over the bare work in it: the forward passes, input gradients and weight updates of
    the cost table, done once each, with nothing between them;
(b) RSLAD against the published loop written plainly (`reference_robust.py`), end to end at equal settings: a first
    student, and a second one from the same teacher, whose answers are on file then;
(c) what the teacher's answers on file gain by themselves: the second student with and without them.

Compared things take turns, so that a busy machine slows all of them; medians and the ratios of each turn are reported,
once by the clock and once by processor time, in which other processes count less.
"""

import argparse
import copy
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

import reference_robust
from extraction import Turn, compared, new_runs, show, take_turns
from synthesis import machine, trained_looking
from understudy import catalogue
from understudy.data import ImageSet
from understudy.methods.method import Method
from understudy.methods.robust.rslad import RSLAD
from understudy.methods.robust_method import RobustDistiller, RobustMethod
from understudy.models import Classifier, Frozen, build_model, count_macs, freeze, save_model
from understudy.runs.files import write_json
from understudy.runs.run import Run
from understudy.training import Recipe

SHAPE, CLASSES, SEED = (3, 32, 32), 10, 0
PRECISIONS = ("float32", "bf16")
METHODS = ("pgd_at", "trades", "mart", "ard", "iad", "rslad", "akd", "gacd", "adaad", "dgad", "mtard", "crdnd")


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    student: str = "resnet18:width=16"
    """Student of (a)."""
    teacher: str = "resnet18:width=16"
    """Teacher of (a); as small, for what is looked at is the work between the passes."""
    pairs: tuple[tuple[str, str], ...] = (
        ("resnet18", "wide_resnet:depth=34,widen=10"),
        ("mobilenet_v2", "wide_resnet:depth=34,widen=10"),
    )
    """Students and their teachers of (b) and (c): those of the literature."""
    batch: int = 32
    """Images of a training step of (a)."""
    steps: int = 4
    """Steps of one turn of (a), the first of which does not count."""
    pair_batch: int = 16
    """Images of a training step of (b) and (c); the papers take 128."""
    epochs: int = 1
    """Passes over the images of (b) and (c)."""
    batches: int = 3
    """Batches in one pass of (b) and (c)."""
    attack_steps: int = 10
    """Steps of the attack."""
    repeats: int = 3
    """Turns of each comparison."""

    @staticmethod
    def recipe(epochs: int, batch: int) -> Recipe:
        """Return SGD as RSLAD is trained with."""
        return Recipe(epochs=epochs, batch_size=batch, learning_rate=0.1, weight_decay=2e-4, schedule="constant")


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=Size.repeats, help="turns of each comparison")
    parser.add_argument("--batch", type=int, default=Size.batch, help="images of a training step of (a)")
    parser.add_argument("--batches", type=int, default=Size.batches, help="training steps of (b) and (c)")
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=METHODS, help="of (a)")
    parser.add_argument("--pair", nargs=2, action="append", metavar=("STUDENT", "TEACHER"), help="of (b) and (c)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="as OMP_NUM_THREADS says if unset")
    parser.add_argument("--quick", action="store_true", help="small networks and little data, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "robust.json")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    pairs = tuple((student, teacher) for student, teacher in arguments.pair or Size.pairs)
    size = Size(pairs=pairs, batch=arguments.batch, batches=arguments.batches, repeats=arguments.repeats)
    if arguments.quick:
        pairs = (("resnet18:width=2", "resnet18:width=4"), ("mobilenet_v2:width=0.1", "resnet18:width=4"))
        size = Size("resnet18:width=2", "resnet18:width=4", pairs, batch=8, pair_batch=8, steps=3, repeats=1)
    specs = dict.fromkeys([size.student, size.teacher, *(spec for pair in size.pairs for spec in pair)])
    results: dict[str, Any] = {
        "machine": machine(device),
        "networks": {spec: count_macs(network(spec)) for spec in specs},
        "batch": {"a": size.batch, "b": size.pair_batch},
        "attack_steps": size.attack_steps,
        "b_c_against_published_loop": {},
        "a_step_over_bare_work": {precision: {} for precision in PRECISIONS},
    }
    for student, teacher in size.pairs:
        found = end_to_end(size, student, teacher, device)
        results["b_c_against_published_loop"][f"{student} from {teacher}"] = found
        write_json(arguments.out, results)
    for precision, name in itertools.product(PRECISIONS, arguments.methods):
        results["a_step_over_bare_work"][precision][name] = step_over_bare(size, name, precision, device)
        write_json(arguments.out, results)
    print(f"written to {arguments.out}")


def step_over_bare(size: Size, name: str, precision: str, device: torch.device) -> dict[str, object]:
    """(a) A step of a method as a run takes it, batch and log and all, over the bare work in it."""
    data = pictures(size.batch * size.steps)
    with tempfile.TemporaryDirectory() as folder:
        method = build(name, size, epochs=1, natural=saved(size.teacher, Path(folder) / "natural"))
        runs = new_runs(Path(folder), size.repeats + 1, device, precision)
        turns: dict[str, list[Turn]] = {"step": [], "bare work": []}
        bare = Bare(method, size, precision, device)
        for turn in range(size.repeats + 1):
            taken = {"step": steps_of(method, data, size, next(runs)), "bare work": bare.timed(size.steps)}
            for key, found in taken.items():
                turns[key] += [found] if turn else []  # the first turn does not count
    found = compared(turns, "bare work")
    show(f"(a) a step of {name} over its bare work, {precision}: {bare.words()}", found, "aim <= 1.10")
    return {**found, "work": bare.work}


def steps_of(method: RobustMethod, data: ImageSet, size: Size, run: Run) -> Turn:
    """Return the median time from one step to the next within a run, told by the student's passes in train mode."""
    student, marks = network(size.student), list[Turn]()

    def mark(module: nn.Module, _: object) -> None:
        if module.training:
            marks.append(now(run.device))

    student.register_forward_pre_hook(mark)
    if isinstance(method, RobustDistiller):
        method.run(teacher=network(size.teacher), student=student, data=data, run=run)
    else:
        method.run(model=student, data=data, run=run)  # type: ignore[call-arg]
    begun = marks[:: len(marks) // size.steps]
    return median_of([between(*pair) for pair in itertools.pairwise(begun)][1:])


@dataclass
class Bare:
    """The forward passes, gradients and weight updates of a method's step, and nothing else.

    Args:
        method: what they are the work of.
        size: networks and batch.
        precision: of the networks.
        device: where.
    """

    method: RobustMethod
    size: Size
    precision: str
    device: torch.device
    work: dict[str, int] = field(init=False)
    """How often each is done in a step."""

    def __post_init__(self) -> None:
        plan = self.method.plan()
        steps, uses, inner = plan.attack.steps, plan.uses, self.method.inner
        others = len(self.method.other_teachers()) if isinstance(self.method, RobustDistiller) else 0
        self.work = {
            "student forwards": int(inner == "kl_student"),
            "student input gradients": steps,
            "student weight gradients": 1 + ("student_clean" in uses),
            "teacher forwards": sum(name in uses for name in ("teacher_clean", "teacher_adversarial")) + others,
            "teacher input gradients": steps if inner == "moving" else 0,
        }
        self._student = network(self.size.student).to(self.device).train()
        self._student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._mirror, self._teacher = self._frozen(self.size.student), self._frozen(self.size.teacher)
        self._optimiser = torch.optim.SGD(self._student.parameters(), 0.01, momentum=0.9, weight_decay=2e-4)
        noise = torch.rand(self.size.batch, *SHAPE, generator=torch.Generator().manual_seed(SEED))
        self._x = noise.to(self.device).contiguous(memory_format=torch.channels_last)

    def words(self) -> str:
        """Return the work in words."""
        return ", ".join(f"{count} {name}" for name, count in self.work.items() if count)

    def timed(self, steps: int) -> Turn:
        """Return the median time of a step's work."""
        marks = [now(self.device)]
        for _ in range(steps):
            self._once()
            marks.append(now(self.device))
        return median_of([between(*pair) for pair in itertools.pairwise(marks)][1:])

    def _once(self) -> None:
        for name, network in (("student", self._mirror), ("teacher", self._teacher)):
            with torch.no_grad():
                for _ in range(self.work[f"{name} forwards"]):
                    network(self._x)
            for _ in range(self.work[f"{name} input gradients"]):
                x = self._x.detach().requires_grad_(True)
                torch.autograd.grad(network(x).sum(), x)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            logits = [self._student(self._x).float() for _ in range(self.work["student weight gradients"])]
        torch.stack(logits).sum().backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)

    def _frozen(self, spec: str) -> Frozen:
        return freeze(network(spec), precision=self.precision).to(self.device)  # type: ignore[arg-type]


def end_to_end(size: Size, student: str, teacher: str, device: torch.device) -> dict[str, object]:
    """(b) and (c): from a teacher and images to a trained student, everything of ours on file."""
    data = pictures(size.pair_batch * size.batches)
    images = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in data.images]
    source, method = network(teacher), rslad(size)
    without, attack = method.model_copy(update={"file_answers": False}), method.attack()

    def plain() -> None:
        reference_robust.train(
            copy.deepcopy(first).to(device),
            copy.deepcopy(source).to(device),
            images,
            epsilon=attack.epsilon,
            step_size=attack.step,
            steps=attack.steps,
            epochs=size.epochs,
            batch_size=size.pair_batch,
            learning_rate=method.fit.learning_rate,
            weight_decay=method.fit.weight_decay,
            seed=SEED,
        )

    first = network(student)
    with tempfile.TemporaryDirectory() as folder:
        calls: dict[str, Callable[[], object]] = {"published loop": plain}
        for precision in PRECISIONS:
            runs = new_runs(Path(folder), 3 * size.repeats + 4, device, precision)
            kept = next(runs)
            method.run(teacher=source, student=copy.deepcopy(first), data=data, run=kept)
            calls |= students(method, without, source, first, data, runs, kept.folder / "bank", precision)
        turns = take_turns(calls, device, size.repeats)
    found = compared(turns, "published loop", inverse=True)
    gains = {precision: gain(turns, precision) for precision in PRECISIONS}
    title = f"(b) times as fast as the published loop (float32), {student} from {teacher}"
    show(title, found, "aim: first student >= 2.5, second student, MobileNetV2, >= 4")
    for precision, (value, low, high) in gains.items():
        print(f"(c) answers on file, second student, {precision}: {value:.2f} times as fast ({low:.2f} to {high:.2f})")
    return {**found, "c_gain_of_answers_on_file": gains, "trained_rows": size.epochs * len(data)}


def students(
    method: RSLAD,
    without: RSLAD,
    teacher: Classifier,
    student: Classifier,
    data: ImageSet,
    runs: Iterator[Run],
    bank: Path,
    precision: str,
) -> dict[str, Callable[[], object]]:
    """Return what trains a first student, one without files, and a second one on the first one's crops."""

    def train(method: RSLAD, base: Path | None) -> None:
        outcome = method.run(teacher=teacher, student=copy.deepcopy(student), data=data, run=next(runs), bank=base)
        asked = outcome.facts["teacher_evaluations"]
        if (asked == 0) != (base is not None):
            raise RuntimeError(f"the teacher was asked {asked} times")

    return {
        f"first student, {precision}": lambda: train(method, None),
        f"no answers on file, {precision}": lambda: train(without, None),
        f"second student, {precision}": lambda: train(method, bank),
    }


def gain(turns: dict[str, list[Turn]], precision: str) -> tuple[float, float, float]:
    """Return by how much answers on file speed a student up: median, lowest and highest ratio of the turns."""
    pairs = zip(turns[f"no answers on file, {precision}"], turns[f"second student, {precision}"], strict=True)
    ratios = sorted(without.wall_s / filed.wall_s for without, filed in pairs)
    return statistics.median(ratios), ratios[0], ratios[-1]


def build(name: str, size: Size, *, epochs: int, natural: str) -> RobustMethod:
    """Return a method as the literature attacks: 10 steps of 2/255 within 8/255, crops of 4 pixels and flips."""
    cls: type[Method] = catalogue.load(name)
    more: dict[str, Any] = {"mtard": {"natural_teacher": natural}, "iad": {"warm_up": 0}}.get(name, {})
    found = cls(attack_steps=size.attack_steps, fit=size.recipe(epochs, size.batch), **more)
    assert isinstance(found, RobustMethod)
    return found


def rslad(size: Size) -> RSLAD:
    """Return RSLAD with its own attack and weights."""
    return RSLAD(attack_steps=size.attack_steps, fit=size.recipe(size.epochs, size.pair_batch))


def now(device: torch.device) -> Turn:
    """Return both clocks, once the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return Turn(time.perf_counter(), time.process_time())


def between(first: Turn, second: Turn) -> Turn:
    """Return the time from one reading of the clocks to another."""
    return Turn(second.wall_s - first.wall_s, second.cpu_s - first.cpu_s)


def median_of(turns: list[Turn]) -> Turn:
    """Return the medians of both clocks."""
    return Turn(statistics.median(turn.wall_s for turn in turns), statistics.median(turn.cpu_s for turn in turns))


def pictures(rows: int) -> ImageSet:
    """Return images of noise, for the work on them does not depend on what they show."""
    generator = torch.Generator().manual_seed(SEED)
    images = torch.randint(256, (rows, *SHAPE), dtype=torch.uint8, generator=generator)
    labels = torch.randint(CLASSES, (rows,), generator=generator)
    return ImageSet("noise", "train", images, labels, tuple(map(str, range(CLASSES))))


def network(spec: str) -> Classifier:
    """Return a network at its first weights, with statistics as after training."""
    model = build_model(spec, input_shape=SHAPE, classes=CLASSES, mean=[0.5] * 3, std=[0.25] * 3, seed=SEED)
    return trained_looking(model)


def saved(spec: str, folder: Path) -> str:
    """Return the folder of a network on file, for methods that take a further teacher."""
    save_model(network(spec), folder, about={})
    return str(folder)


if __name__ == "__main__":
    main()
