"""Copying a CIFAR-10 encoder: four methods and two controls at equal starts and equal work, several seeds.

    UNDERSTUDY_DATA=path/to/data OMP_NUM_THREADS=1 python benchmarks/extraction_cifar10.py --seeds 0 1 2

The target is a SimCLR encoder trained on the first half of CIFAR-10's training images, the queries come from the second
half. Every surrogate starts from the same weights of its seed and is trained on the same number of rows (`--rows`).
Runs the commands that it prints, resumes if it was stopped, copies each `result.json` and `config.toml` to
`benchmarks/results/extraction_cifar10/`, and writes the table beside them.
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

RESULTS = Path(__file__).parent / "results" / "extraction_cifar10"
TARGET = "cnn:widths=32-64-128-256"
BATCH = 100
# name: (method, images, rows that the surrogate sees of an image in an epoch, further flags)
ARMS = {
    "rda": ("rda", 1000, 5, ["--views", "10", "--surrogate-views", "5"]),
    "rda_one_view": ("rda", 1000, 5, ["--views", "1", "--surrogate-views", "5"]),
    "rda_one_surrogate_view": ("rda", 1000, 1, ["--views", "10", "--surrogate-views", "1"]),
    "conventional": ("conventional", 1000, 1, []),
    "conventional_equal_queries": ("conventional", 10_000, 1, []),
    "stolen_encoder": ("stolen_encoder", 1000, 2, ["--preset", "official_rda"]),
    "stolen_encoder_equal_queries": ("stolen_encoder", 10_000, 2, ["--preset", "official_rda"]),
    "cont_steal_end_to_end": ("cont_steal", 1000, 1, []),
    "cont_steal_cached": ("cont_steal", 1000, 5, ["--cached-views", "10", "--surrogate-views", "5"]),
    "cont_steal_stopped": ("cont_steal", 1000, 1, ["--budget", "10000"]),
    "no_query": ("no_query", 1000, 2, []),
    "random_surrogate": ("random_surrogate", 1000, 1, []),
}
SCORES = (("cifar10", "linear"), ("cifar10", "few_shot"), ("mnist", "linear"), ("mnist", "few_shot"))


def main() -> None:
    """Run everything for the seeds asked for, and write the table over all seeds on file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/extraction_cifar10"))
    parser.add_argument("--rows", type=int, default=100_000, help="rows that each surrogate is trained on")
    parser.add_argument("--epochs", type=int, default=40, help="epochs of the target")
    parser.add_argument("--surrogate", default="cnn:widths=16-32-64-256")
    parser.add_argument("--arms", nargs="+", choices=[*ARMS], default=[*ARMS])
    arguments = parser.parse_args()
    for name, words in commands(arguments):
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


def commands(arguments: argparse.Namespace) -> Iterator[tuple[str, list[str]]]:
    """Yield each run's name with its command, without the folder."""
    fast = ["--precision", "bf16", "--log-every", "50"]
    given = ["--model", TARGET, "--data", "cifar10[:25000]", "--preset", "cifar10"]
    yield "target", ["train", "simclr", *given, "--epochs", str(arguments.epochs), *fast]
    target = str(arguments.runs / "target")
    common = ["--target", target, "--surrogate", arguments.surrogate, "--data", "cifar10[25000:]"]
    for seed in arguments.seeds:
        for name in arguments.arms:
            method, images, seen, flags = ARMS[name]
            epochs = max(1, round(arguments.rows / (seen * (images - images % BATCH))))
            sizes = ["--images", str(images), "--epochs", str(epochs), "--batch-size", str(BATCH)]
            probes = ["--probe", "cifar10", "--probe", "mnist", "--train-rows", "5000", "--no-knn"]
            alone = ["--no-random-control", "--no-no-query-control"]
            words = ["extract", method, *common, *flags, *sizes, *probes, *alone, "--seed", str(seed), *fast]
            yield f"{name}-s{seed}", words


def rows() -> Iterator[str]:
    """Yield the lines of the table: means over the seeds on file, with the range."""
    found: dict[str, list[dict]] = {}
    for path in sorted(RESULTS.glob("*-s*/result.json")):
        found.setdefault(path.parent.name.rpartition("-s")[0], []).append(json.loads(path.read_text()))
    headings = ["run", "seeds", "queries", "rows", *(f"{data} {probe}" for data, probe in SCORES), "fidelity"]
    yield f"| {' | '.join(heading.replace('_', '-') for heading in headings)} |"
    yield "|---" * len(headings) + "|"
    everyone = [result for results in found.values() for result in results]
    if everyone:
        yield line("target", "–", "–", "–", scores(everyone, "target"), "1")
    for name in (arm for arm in ARMS if arm in found):
        results = found[name]
        queries = f"{results[0]['ledger']['extraction']['rows']:,}"
        fidelity = spread([result["fidelity"]["surrogate"] for result in results], "{:.3f}")
        work = f"{results[0]['surrogate_rows']:,}"
        yield line(name, str(len(results)), queries, work, scores(results, "surrogate"), fidelity)


def scores(results: list[dict], role: str) -> list[str]:
    """Return the cells of one network."""
    return [spread([result["scores"][role][data].get(probe) for result in results]) for data, probe in SCORES]


def line(name: str, seeds: str, queries: str, work: str, cells: list[str], fidelity: str) -> str:
    """Return one line of the table."""
    return "| " + " | ".join([name.replace("_", " "), seeds, queries, work, *cells, fidelity]) + " |"


def spread(intervals: list[dict | None], form: str = "{:.1%}") -> str:
    """Return the mean over seeds, and lowest to highest."""
    values = [interval["value"] for interval in intervals if interval]
    if not values:
        return "–"
    low, high = form.format(min(values)), form.format(max(values))
    return form.format(statistics.mean(values)) + (f" ({low} to {high})" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
