"""CAKE on MNIST: teachers with and without batch normalisation, students of three families, controls, several seeds.

    UNDERSTUDY_DATA=path/to/data python benchmarks/mnist.py --seeds 0 1 2

Runs the commands that it prints, one after the other, resumes if it was stopped, copies each run's `result.json` and
`config.toml` to `benchmarks/results/mnist/`, and writes the table with means over seeds beside them.
"""

import argparse
import json
import shlex
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "mnist"
TEACHERS = {"bn": "cnn:widths=16-32-64", "plain": "cnn:widths=16-32-64,norm=none"}
# Networks without convolutions are trained as is usual for them.
ADAMW = ["--optimiser", "adamw", "--learning-rate", "0.002", "--weight-decay", "0.01", "--batch-size", "256"]
# name: (teacher, student, reuses the bank of, further flags); some controls are left out to save time
STUDENTS = {
    "same": ("bn", "cnn:widths=16-32-64", None, []),
    "mlp": ("bn", "mlp:widths=256-256", "same", [*ADAMW, "--no-start-control"]),
    "vit": ("bn", "vit:patch=7,dim=64,depth=3,heads=4", "same", [*ADAMW, "--no-start-control", "--no-noise-control"]),
    "plain_teacher": ("plain", "cnn:widths=16-32-64", None, ["--no-start-control"]),
}


def main() -> None:
    """Run everything for the seeds asked for, and write the table over all seeds on file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/mnist"))
    arguments = parser.parse_args()
    for seed in arguments.seeds:
        for name, words in commands(arguments.runs, seed):
            folder = arguments.runs / name
            print("understudy", shlex.join(words), flush=True)
            subprocess.run([sys.executable, "-m", "understudy", *words, "--run", str(folder)], check=True)
            kept = RESULTS / name
            kept.mkdir(parents=True, exist_ok=True)
            for file in ("result.json", "config.toml"):
                shutil.copy(folder / file, kept / file)
    table = "\n".join(rows())
    (RESULTS / "table.md").write_text(table + "\n", encoding="utf-8")
    print(table)


def commands(runs: Path, seed: int) -> Iterator[tuple[str, list[str]]]:
    """Yield each run's name with its command, without the folder; bf16 slows a small ViT down."""
    common = ["--data", "mnist", "--preset", "mnist", "--seed", str(seed)]
    fast = ["--precision", "bf16"]
    for name, spec in TEACHERS.items():
        yield f"teacher_{name}-s{seed}", ["train", "--model", spec, *common, *fast]
    for name, (teacher, spec, bank, flags) in STUDENTS.items():
        given = ["--teacher", str(runs / f"teacher_{teacher}-s{seed}"), "--student", spec, *flags]
        reuse = ["--bank", str(runs / f"cake_{bank}-s{seed}" / "bank")] if bank else []
        yield f"cake_{name}-s{seed}", ["distil", "cake", *given, *reuse, *common, *([] if name == "vit" else fast)]
    given = ["--teacher", str(runs / f"teacher_bn-s{seed}"), "--student", TEACHERS["bn"]]
    yield f"kd_same-s{seed}", ["distil", "kd", *given, "--epochs", "3", *common, *fast]


def rows() -> Iterator[str]:
    """Yield the lines of the table: means over the seeds on file, with the range."""
    yield "| run | network | seeds | accuracy | agreement | noise control | start control | evaluations |"
    yield "|---|---|---|---|---|---|---|---|"
    groups: dict[str, list[dict]] = {}
    for path in sorted(RESULTS.glob("*/result.json")):
        groups.setdefault(path.parent.name.rpartition("-s")[0], []).append(json.loads(path.read_text()))
    for name, results in groups.items():
        key = "student" if "student" in results[0]["scores"] else "model"
        spec = results[0]["models"][key]["spec"]
        cells = [
            spread([result["scores"].get(role, {}).get(what, {}) for result in results])
            for role, what in (
                (key, "accuracy"), (key, "agreement"), ("noise_control", "accuracy"), ("start_control", "accuracy"),
            )
        ]  # fmt: skip
        evaluations = results[0].get("teacher_evaluations")
        cost = f"{evaluations:,}" if evaluations else "–"
        yield f"| {name} | `{spec}` | {len(results)} | {' | '.join(cells)} | {cost} |"


def spread(intervals: list[dict | None]) -> str:
    """Return the mean over seeds, and lowest to highest."""
    values = [interval["value"] for interval in intervals if interval]
    if not values:
        return "–"
    return f"{statistics.mean(values):.1%} ({min(values):.1%} to {max(values):.1%})"


if __name__ == "__main__":
    main()
