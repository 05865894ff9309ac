"""How fast extraction is, as ratios measured in one run.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/extraction.py

(a) gathering prototypes, with views, hashing, ledger and bank, over bare forward passes of the same frozen target on
    as many rows;
(b) one training step of RDA over a bare forward pass, backward pass and Adam step of the same network on as many rows;
(c) RDA from target to trained surrogate, everything on file, against a plain script of the same work: views one image
    at a time in Pillow, prototypes in a dictionary, float32 in contiguous memory, nothing on file.

Compared things take turns, so that a busy machine slows all of them; medians and the ratios of each turn are reported,
once by the clock and once by processor time, in which other processes count less and waiting for the disk not at all.
"""

import argparse
import copy
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

import reference_extraction
from synthesis import machine, trained_looking
from understudy.bank import Prototypes, PrototypeWriter
from understudy.data import ImageSet, ViewStream, batch_views
from understudy.methods.extraction.rda import RDA
from understudy.methods.extractor import RDA_RECIPE
from understudy.models import Encoder, build_encoder, freeze
from understudy.runs.files import write_json
from understudy.runs.options import RunOptions
from understudy.runs.run import Run
from understudy.targets import Access, Endpoint, Ledger, ModuleTarget, Target
from understudy.training.meter import Meter
from understudy.training.optimiser import build_optimiser

SHAPE, SEED = (3, 32, 32), 0
PRECISIONS = ("float32", "bf16")


@dataclass(frozen=True)
class Size:
    """How much is measured; the numbers of views are RDA's own."""

    width: int = 64
    """Channels of the ResNet-18's first stage; 64 is the usual network."""
    images: int = 256
    """Images that are asked about."""
    batch: int = 100
    """Images of a training step."""
    epochs: int = 2
    """Epochs of the comparison end to end; the released setting is 100."""
    repeats: int = 5
    """Turns of each comparison."""

    @property
    def spec(self) -> str:
        """The network, of target and surrogate alike."""
        return f"resnet18:width={self.width}"

    @property
    def method(self) -> RDA:
        """RDA with its own views."""
        recipe = RDA_RECIPE.model_copy(update={"epochs": self.epochs, "batch_size": self.batch})
        return RDA(images=self.images, random_control=False, no_query_control=False, fit=recipe)


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=Size.repeats, help="turns of each comparison")
    parser.add_argument("--width", type=int, default=Size.width, help="channels of the ResNet-18's first stage")
    parser.add_argument("--narrow", type=int, default=16, help="width of the second comparison end to end; 0 for none")
    parser.add_argument("--images", type=int, default=Size.images, help="images that are asked about")
    parser.add_argument("--epochs", type=int, default=Size.epochs, help="epochs of the comparison end to end")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="as OMP_NUM_THREADS says if unset")
    parser.add_argument("--quick", action="store_true", help="a small network and little data, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "extraction.json")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    size = Size(arguments.width, arguments.images, epochs=arguments.epochs, repeats=arguments.repeats)
    if arguments.quick:
        size, arguments.narrow = Size(width=8, images=40, batch=20, epochs=1, repeats=2), 0
    widths = dict.fromkeys(width for width in (size.width, arguments.narrow) if width)
    results = {
        "machine": machine(device),
        "network": size.spec,
        "a_gathering_over_bare_forward": {name: gathering(size, name, device) for name in PRECISIONS},
        "b_step_over_bare_step": {name: step(size, name, device) for name in PRECISIONS},
        "c_against_plain_script": {
            chosen.spec: end_to_end(chosen, device) for chosen in (replace(size, width=width) for width in widths)
        },
    }
    write_json(arguments.out, results)
    print(f"written to {arguments.out}")


def gathering(size: Size, precision: str, device: torch.device) -> dict[str, object]:
    """(a) The real path over bare forward passes, and what its parts take by themselves."""
    method, data = size.method, pictures(size.images)
    encoder = new_encoder(size.spec)
    target = ModuleTarget(encoder, device=device, precision=precision)  # type: ignore[arg-type]
    answers = target.answer(torch.rand(size.images, *SHAPE))
    network = freeze(encoder, precision=precision).to(device)  # type: ignore[arg-type]
    views = ViewStream(method.views_with(method.crop_target, method.target_augment), SEED, "target_views")
    rows = data.to(device).images.float() / 255

    def draw() -> None:
        for view in range(method.views):
            drawn = views.parameters(SHAPE, torch.arange(size.images), view, device=device)
            views.views.apply(data.images.to(device), drawn)

    def forward() -> None:
        with torch.inference_mode():
            for _ in range(method.views):
                for part in rows.split(256):
                    network(part).cpu()

    with tempfile.TemporaryDirectory() as folder:
        runs = new_runs(Path(folder), 3 * (size.repeats + 1), device)

        def store() -> None:
            writer = PrototypeWriter(next(runs).folder / "prototypes", {})
            writer.write(0, answers, answers.norm(dim=1))
            writer.finish(1)
            Prototypes(writer.folder)

        calls = {
            "gathering": lambda: gather(method, target, data, next(runs)),
            "bare forward": forward,
            "views": draw,
            "views, hashing, ledger and bank": lambda: gather(method, Instant(target, answers), data, next(runs)),
            "bank": store,
        }
        turns = take_turns(calls, device, size.repeats)
    found = compared(turns, "bare forward")
    found["rows"] = size.images * method.views
    found["prototypes_per_s"] = round(size.images / median_s(turns["gathering"]), 2)
    found["bare_forward_rows_per_s"] = round(size.images * method.views / median_s(turns["bare forward"]), 1)
    show(f"(a) gathering over bare forward passes, {size.spec}, {precision}", found, "aim: gathering <= 1.25")
    return found


class Instant(Target):
    """A target that takes no time."""

    def __init__(self, target: Target, answers: Tensor) -> None:
        self.access = Access.EMBEDDINGS
        self.name, self.identity = "instant", "instant"
        self.input_shape, self.width = target.input_shape, target.width
        self._answers = answers

    def answer(self, images: Tensor) -> Tensor:
        """Return rows that were made before."""
        return self._answers[: len(images)].clone()


def gather(method: RDA, target: Target, data: ImageSet, run: Run) -> Prototypes:
    """Ask about all images, with a new ledger."""
    queries = len(data) * method.views
    with Ledger(
        run.folder / "ledger.sqlite", target=target.identity, width=target.width, budgets={"extraction": queries}
    ) as ledger:
        endpoint = Endpoint(target, ledger, replay=method.replay)
        found = method.gather(endpoint, data, width=target.width, run=run)
        if endpoint.counts().answered != queries:
            raise RuntimeError(f"{endpoint.counts()}, and {queries} were expected")
    return found


def new_runs(folder: Path, count: int, device: torch.device, precision: str = "float32") -> Iterator[Run]:
    """Return runs in folders of their own, made beforehand: it takes a fixed time to note down the environment."""
    options = RunOptions(device=device.type, precision=precision, seed=SEED)  # type: ignore[arg-type]
    return iter([Run(folder / f"{precision}-{number}", {}, options) for number in range(count)])


def step(size: Size, precision: str, device: torch.device) -> dict[str, object]:
    """(b) One step of RDA, without and with the making of its views, over a bare step."""
    method, data = size.method, pictures(2500).to(device)
    rows = torch.randperm(len(data), generator=torch.Generator().manual_seed(SEED))[: size.batch]
    views, count = method.views_of_surrogate(), method.surrogate_views
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
    made = itertools.count()

    def draw() -> Tensor:
        chosen = data.images[rows.to(device)]
        return batch_views(chosen, views, count, seed=SEED, name="surrogate_views", step=next(made))

    x, meter = draw(), Meter(device)

    def bare(network: Encoder, _: Prototypes) -> Tensor:
        with autocast:
            return network(x).float().sum()

    def on_views(network: Encoder, prototypes: Prototypes, x: Tensor = x) -> Tensor:
        p = prototypes.rows(rows).to(device)
        with autocast:
            embeddings = network(x).float()
            with torch.autocast(device.type, enabled=False):
                scalars = method.terms(embeddings.unflatten(0, (-1, len(p))), p)
        meter.add(scalars)
        return scalars["loss"]

    def whole(network: Encoder, prototypes: Prototypes) -> Tensor:
        return on_views(network, prototypes, draw())

    with tempfile.TemporaryDirectory() as folder:
        prototypes = bank(Path(folder), len(data), new_encoder(size.spec).width)
        calls = {
            name: stepping(objective, size, prototypes, device)
            for name, objective in {"RDA": on_views, "RDA with views": whole, "bare step": bare}.items()
        }
        turns = take_turns(calls, device, size.repeats)
    found = compared(turns, "bare step")
    found["rows"] = len(x)
    show(f"(b) a step of RDA over a bare step, {size.spec}, {precision}", found, "aim: RDA <= 1.10")
    return found


def stepping(
    objective: Callable[[Encoder, Prototypes], Tensor], size: Size, prototypes: Prototypes, device: torch.device
) -> Callable[[], None]:
    """Return a training step: objective, backward pass and Adam, on a network of its own."""
    network = new_encoder(size.spec).to(device).train()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = build_optimiser(size.method.fit, network.parameters(), total=1000)

    def take() -> None:
        objective(network, prototypes).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return take


def end_to_end(size: Size, device: torch.device) -> dict[str, object]:
    """(c) From a target and images to a trained surrogate."""
    method, data = size.method, pictures(size.images)
    target, surrogate = new_encoder(size.spec), new_encoder(size.spec)
    images = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in data.images]

    def plain() -> None:
        plain_target = copy.deepcopy(target.net).to(device)  # its inputs are in [-1, 1] already
        plain_surrogate = copy.deepcopy(surrogate.net).to(device)
        prototypes = reference_extraction.build_prototypes(
            plain_target, images, views=method.views, area=method.crop_target, batch_size=size.batch, seed=SEED
        )
        reference_extraction.train(
            plain_surrogate,
            images,
            prototypes,
            views=method.surrogate_views,
            area=method.crop_surrogate,
            epochs=size.epochs,
            batch_size=size.batch,
            seed=SEED,
        )

    def ours(run: Run) -> None:
        asked = ModuleTarget(target, device=device, precision=run.options.precision)
        prototypes = gather(method, asked, data, run)
        method.train(copy.deepcopy(surrogate), prototypes, data, run=run)

    with tempfile.TemporaryDirectory() as folder:
        calls: dict[str, Callable[[], object]] = {"plain script": plain}
        for name in PRECISIONS:
            runs = new_runs(Path(folder), size.repeats + 1, device, name)
            calls[name] = lambda runs=runs: ours(next(runs))  # type: ignore[misc]
        turns = take_turns(calls, device, size.repeats)
    found = compared(turns, "plain script", inverse=True)
    found["queries"] = size.images * method.views
    found["trained_rows"] = size.images // size.batch * size.batch * size.epochs * method.surrogate_views
    show(f"(c) times as fast as the plain script (float32), end to end, {size.spec}", found, "aim >= 2")
    return found


@dataclass(frozen=True)
class Turn:
    """What one call took in one turn."""

    wall_s: float
    cpu_s: float


def take_turns(calls: dict[str, Callable[[], object]], device: torch.device, repeats: int) -> dict[str, list[Turn]]:
    """Return what each call took in each turn, after one turn that does not count."""
    turns: dict[str, list[Turn]] = {name: [] for name in calls}
    for turn in range(repeats + 1):
        for name, call in calls.items():
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn:
                turns[name].append(Turn(time.perf_counter() - wall, time.process_time() - cpu))
    return turns


def compared(turns: dict[str, list[Turn]], base: str, *, inverse: bool = False) -> dict[str, object]:
    """Return the medians of each call, and the median and range of its ratio to the base's in each turn."""
    found: dict[str, object] = {"repeats": len(turns[base])}
    for name, taken in turns.items():
        entry: dict[str, object] = {}
        for clock in ("wall", "cpu"):
            mine, others = ([getattr(turn, f"{clock}_s") for turn in some] for some in (taken, turns[base]))
            entry[f"{clock}_ms"] = round(statistics.median(mine) * 1e3, 2)
            if name != base:
                ratios = sorted(b / t if inverse else t / b for t, b in zip(mine, others, strict=True))
                entry[f"{clock}_ratio"] = round(statistics.median(ratios), 3)
                entry[f"{clock}_range"] = [round(ratios[0], 3), round(ratios[-1], 3)]
        found[name] = entry
    return found


def median_s(taken: list[Turn]) -> float:
    """Return the median by the clock."""
    return statistics.median(turn.wall_s for turn in taken)


def show(title: str, found: dict[str, object], remark: str) -> None:
    """Print one comparison as a table."""
    print(f"{title} ({remark})")
    print(f"    {'':<32} {'clock, ms':>11} {'ratio':>7}  {'turns':<16} {'CPU, ms':>11} {'ratio':>7}  turns")
    for name, entry in found.items():
        if isinstance(entry, dict):
            words = [
                f"{entry['wall_ms']:11.1f} {_ratio(entry, 'wall')}",
                f"{entry['cpu_ms']:11.1f} {_ratio(entry, 'cpu')}",
            ]
            print(f"    {name:<32} {' '.join(words)}".rstrip(), flush=True)


def _ratio(entry: dict[str, Any], clock: str) -> str:
    if f"{clock}_ratio" not in entry:
        return " " * 25
    low, high = entry[f"{clock}_range"]
    return f"{entry[f'{clock}_ratio']:7.3f}  {f'{low} to {high}':<16}"


def pictures(rows: int) -> ImageSet:
    """Return images of noise, for the work on them does not depend on what they show."""
    images = torch.randint(256, (rows, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(SEED))
    return ImageSet("noise", "train", images, torch.zeros(rows, dtype=torch.int64), ("none",))


def new_encoder(spec: str) -> Encoder:
    """Return a network at its first weights, with statistics as after training."""
    halves = [0.5] * SHAPE[0]
    encoder = build_encoder(spec, input_shape=SHAPE, mean=halves, std=halves, seed=SEED)
    trained_looking(encoder)  # type: ignore[arg-type]
    return encoder


def bank(folder: Path, rows: int, width: int) -> Prototypes:
    """Return a bank of random prototypes, a little shorter than 1."""
    noise = torch.randn(rows, width, generator=torch.Generator().manual_seed(SEED))
    prototypes = 0.9 * torch.nn.functional.normalize(noise, dim=1)
    writer = PrototypeWriter(folder, {})
    writer.write(0, prototypes, prototypes.norm(dim=1))
    writer.finish(1)
    return Prototypes(folder)


if __name__ == "__main__":
    main()
