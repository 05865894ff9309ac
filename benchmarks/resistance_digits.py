"""Teachers that resist distillation, on the embedded digits: six kinds, and students that know how to get round them.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python benchmarks/resistance_digits.py --jobs 2

The 1,797 digits, with Gaussian noise of 0.15, in the order of their seed: 898 to train on, 899 to test; for students
without labels 700 of the owner's, 598 of the attacker's, 499 to test. Teachers are perceptrons 64-256-256-10 and
students perceptrons 64-12-12-10, both with batch normalisation, 60 epochs each. The ordinary teacher, which the
others are trained against, starts from weights of its own; all students of a seed start from the same ones, and see
the same batches.

Each cell (row, seed) is put on file when it is done, and a run that was stopped goes on behind it. At the end the
table is printed, our means beside the specification's, and the properties are checked; `--quick` is one seed of a few
epochs, and writes no results.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from resistance_digits_cells import STUDENT, TEACHER, Study, rows
from resistance_digits_properties import properties
from resistance_digits_table import Found, Scores, compare, shifts, table, verdict
from synthesis import machine
from understudy.runs.files import write_json

RESULTS = Path(__file__).parent / "results" / "resistance_digits.json"


class Cells:
    """Results of a seed on file, a line each; those of other settings are left out."""

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path, self.settings = path, settings
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [line for line in map(json.loads, lines) if line["settings"] == settings]
        self.found: dict[str, Scores] = {line["row"]: line["scores"] for line in kept}

    def fill(self, row: str, measure: Callable[[], Scores]) -> None:
        """Measure a cell, unless it is on file, and put it there."""
        if row in self.found:
            return
        scores = self.found[row] = measure()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"settings": self.settings, "row": row, "scores": scores}) + "\n")
        shown = ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
        print(f"{self.path.parent.name}, {row}: {shown}", flush=True)


def measure(seed: int, *, folder: Path, epochs: int) -> dict[str, Scores]:
    """Return every cell of a seed, measuring those that are not on file."""
    settings = {"teacher": TEACHER, "student": STUDENT, "epochs": epochs}
    study = Study(folder / f"seed {seed}", seed, epochs=epochs)
    cells = Cells(study.folder / "cells.jsonl", settings)
    for row in rows():
        cells.fill(row.name, partial(study.cell, row))
    return {row.name: cells.found[row.name] for row in rows()}


def by_row(found: list[dict[str, Scores]]) -> Found:
    """Return the scores of each row, a dictionary a seed."""
    return {row: [one[row] for one in found] for row in found[0]}


def tested(found: Found) -> Iterator[dict[str, Any]]:
    """Yield every property with its outcome."""
    yield from (asdict(one) for one in properties(found))


def main() -> None:
    """Do what is not on file yet, print the table, check the properties and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--runs", type=Path, default=Path("runs/resistance_digits"))
    parser.add_argument("--jobs", type=int, default=1, help="seeds measured at the same time, a process each")
    parser.add_argument("--quick", action="store_true", help="one seed, two epochs; no results are written")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    seeds, epochs = (arguments.seeds[:1], 2) if arguments.quick else (arguments.seeds, 60)
    work = partial(measure, folder=arguments.runs, epochs=epochs)
    if arguments.jobs == 1:
        found = by_row([work(seed) for seed in seeds])
    else:
        with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
            found = by_row(list(pool.map(work, seeds)))
    print("\n".join(table(found)))
    checked = list(tested(found))
    print("\n".join(f"- {'holds' if one['holds'] else 'FAILS'}: {one['number']}: {one['text']}" for one in checked))
    print("\n".join([verdict(found), *shifts(found)]))
    if arguments.quick:
        return
    cells = [{**asdict(one), "errors": one.errors} for one in compare(found)]
    settings = {"teacher": TEACHER, "student": STUDENT, "epochs": epochs, "seeds": seeds}
    facts = {"machine": machine(torch.device("cpu")), "settings": settings, "verdict": [verdict(found), *shifts(found)]}
    write_json(arguments.out, {**facts, "properties": checked, "compared": cells, "rows": found})
    print(f"written to {arguments.out}")


if __name__ == "__main__":
    main()
