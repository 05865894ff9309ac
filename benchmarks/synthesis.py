"""How fast synthesis is, as ratios measured in one run.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/synthesis.py

(a) one update of ours over a bare forward pass and input gradient of the same frozen teacher on the same batch;
(b) many sets drawn at once over one at a time;
(c) CAKE into a bank against the published loop into files, at equal settings, end to end;
(d) what each preparation of the frozen teacher gains on a forward pass and input gradient.

Compared things take turns, so that a busy machine slows both; the medians and the ratio of each turn are reported.
"""

import argparse
import copy
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import reference_synthesis
from understudy.methods.data_free.cake import CAKE, draw_labels
from understudy.models import Classifier, build_model, freeze
from understudy.runs.files import write_json
from understudy.runs.options import RunOptions
from understudy.runs.provenance import cpu_name, versions
from understudy.runs.run import Run
from understudy.synthesis import descend

SHAPE, CLASSES = (3, 32, 32), 10
SPEC = "resnet18:width=16"


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7, help="turns of each comparison")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "synthesis.json")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device, repeats = torch.device(arguments.device), arguments.repeats
    teacher = trained_looking(untrained(SPEC, SHAPE)).to(device)
    results = {
        "machine": machine(device),
        "network": SPEC,
        "a_update_over_bare_gradient": update_over_bare(teacher, device, repeats),
        "b_sets_at_once": sets_at_once(device, repeats),
        "c_against_published_loop": against_published(teacher, device, repeats),
        "d_preparations": preparations(teacher, device, repeats),
    }
    write_json(arguments.out, results)
    print(f"written to {arguments.out}")


def update_over_bare(teacher: Classifier, device: torch.device, repeats: int) -> dict[str, object]:
    """(a) Ten updates of CAKE over ten bare gradients, for each precision."""
    found = {}
    for precision in ("float32", "bf16"):
        network = freeze(teacher, precision=precision)
        x = batch(130, device)
        labels = draw_labels(13, 10, CLASSES, torch.Generator(device=device).manual_seed(0))[None]
        energy = CAKE().energy(network.forward_normalised, labels)
        size = torch.tensor([1e-3])
        found[precision] = compare(
            "CAKE's update", lambda x=x, e=energy, s=size: descend(x, e, step_size=s, steps=10),
            "bare gradient", lambda x=x, n=network: [bare_gradient(n.forward_normalised, x) for _ in range(10)],
            device, repeats,
        )  # fmt: skip
        show(f"(a) update over bare gradient, {precision}", found[precision], "aim <= 1.10")
    return found


def sets_at_once(device: torch.device, repeats: int) -> dict[str, object]:
    """(b) Time of 20 small sets one at a time over the time of all at once, for a small teacher and a larger one."""
    found = {}
    for spec, shape, rows in (("cnn:widths=16-32-64", (1, 8, 8), 50), (SPEC, SHAPE, 20)):
        teacher = trained_looking(untrained(spec, shape)).to(device)

        def draw(at_once: int, teacher: Classifier = teacher, rows: int = rows) -> None:
            method = CAKE(sets=20, samples_per_set=rows, steps=5, sets_at_once=at_once)
            synthesise(method, teacher, RunOptions(device=device.type))

        found[spec] = compare(
            "one at a time", lambda d=draw: d(1), "all at once", lambda d=draw: d(20), device, repeats
        )
        show(
            f"(b) one set at a time over 20 at once, {spec}, sets of {rows}", found[spec], "above 1: at once is faster"
        )
    return found


def against_published(teacher: Classifier, device: torch.device, repeats: int) -> dict[str, object]:
    """(c) The published loop over ours, from teacher to files on disk."""
    sets, rows, steps = 4, 100, 20
    method = CAKE(sets=sets, samples_per_set=rows, steps=steps, reduction="mean", sets_at_once=4)
    settings = {
        "shape": SHAPE,
        "classes": CLASSES,
        "sets": sets,
        "samples_per_set": rows,
        "group_size": 10,
        "steps": steps,
        "weights": (method.class_weight, method.contrast_weight, method.tv_weight),
        "step_size": method.step_size,
        "decades": method.decades,
        "dtype": torch.float16 if device.type == "cuda" else torch.bfloat16,
    }
    network = copy.deepcopy(teacher.net).to(memory_format=torch.contiguous_format)

    def published() -> None:
        with tempfile.TemporaryDirectory() as folder:
            reference_synthesis.draw(network, Path(folder), **settings)

    def ours() -> None:
        synthesise(method, teacher, RunOptions(device=device.type, precision="bf16"))

    found = compare("published loop", published, "ours", ours, device, repeats)
    show("(c) published loop over ours, end to end, bf16", found, "aim >= 1.5 on a CPU, >= 4 on a GPU")
    return found


def preparations(teacher: Classifier, device: torch.device, repeats: int) -> dict[str, object]:
    """(d) Each preparation of the frozen teacher, added one after the other, over none."""
    plain = {"channels_last": False, "fold": False}
    variants: dict[str, dict[str, object]] = {
        "float32": plain,
        "float32, channels-last": {"fold": False},
        "float32, channels-last, folded": {},
        "float32, channels-last, folded, compiled": {"compiled": True},
        "bf16": {"precision": "bf16", **plain},
        "bf16, channels-last": {"precision": "bf16", "fold": False},
        "bf16, channels-last, folded": {"precision": "bf16"},
    }
    x = batch(128, device)
    calls = {}
    for name, options in variants.items():
        network = freeze(teacher, **options)  # type: ignore[arg-type]
        inputs = x if options.get("channels_last", True) else x.contiguous()
        calls[name] = lambda n=network, i=inputs: bare_gradient(n.forward_normalised, i)
    seconds = take_turns(list(calls.values()), device, repeats)
    base = seconds[0]
    found: dict[str, object] = {}
    print("(d) forward pass and input gradient, batch 128")
    for name, times in zip(calls, seconds, strict=True):
        gain = statistics.median(b / t for b, t in zip(base, times, strict=True))
        found[name] = {
            "median_ms": round(statistics.median(times) * 1e3, 2),
            "times_faster_than_float32": round(gain, 2),
        }
        print(f"    {name:<42} {statistics.median(times) * 1e3:8.1f} ms  {gain:5.2f} times as fast")
    return found


def untrained(spec: str, shape: tuple[int, int, int]) -> Classifier:
    """Return a network at its first weights."""
    halves = [0.5] * shape[0]
    return build_model(spec, input_shape=shape, classes=CLASSES, mean=halves, std=halves, seed=0)


def trained_looking(model: Classifier) -> Classifier:
    """Give batch normalisations statistics as after training, so that folding has something to fold."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return model


def synthesise(method: CAKE, teacher: Classifier, options: RunOptions) -> None:
    """Draw a bank into a temporary run folder."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder) / "run", {}, options)
        method.synthesise(teacher, run, folder=run.folder / "bank", phase="synthesise")


def batch(rows: int, device: torch.device) -> Tensor:
    """Return noise in channels-last memory."""
    noise = torch.randn(rows, *SHAPE, generator=torch.Generator().manual_seed(0))
    return noise.to(device).contiguous(memory_format=torch.channels_last)


def bare_gradient(forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return the gradient of the summed logits with respect to the input, and nothing else."""
    x = x.detach().requires_grad_(True)
    return torch.autograd.grad(forward(x).sum(), x)[0]


def compare(
    first: str, one: Callable[[], object], second: str, other: Callable[[], object], device: torch.device, repeats: int
) -> dict[str, object]:
    """Return medians of two calls that take turns, and the median of the ratios of each turn."""
    a, b = take_turns([one, other], device, repeats)
    ratios = sorted(x / y for x, y in zip(a, b, strict=True))
    return {
        f"{first}_ms": round(statistics.median(a) * 1e3, 2),
        f"{second}_ms": round(statistics.median(b) * 1e3, 2),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_range": [round(ratios[0], 3), round(ratios[-1], 3)],
        "repeats": repeats,
    }


def take_turns(calls: list[Callable[[], object]], device: torch.device, repeats: int) -> list[list[float]]:
    """Return the seconds of each call in each turn, after one turn that does not count."""
    seconds: list[list[float]] = [[] for _ in calls]
    for turn in range(repeats + 1):
        for times, call in zip(seconds, calls, strict=True):
            start = time.perf_counter()
            call()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn:
                times.append(time.perf_counter() - start)
    return seconds


def show(title: str, found: dict[str, object], remark: str) -> None:
    """Print one comparison."""
    low, high = found["ratio_range"]  # type: ignore[misc]
    print(f"{title}: {found['ratio']} (turns {low} to {high}; {remark})")


def machine(device: torch.device) -> dict[str, object]:
    """Return what the numbers were measured on."""
    return {
        "processor": cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "load_at_start": os.getloadavg()[0],
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "default"),
        "python": platform.python_version(),
        "packages": versions(),
    }


if __name__ == "__main__":
    main()
