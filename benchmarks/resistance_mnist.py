"""Protected teachers on MNIST under the whole suite of attackers: small convolutional networks, three seeds.

    UNDERSTUDY_DATA=path/to/data OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python benchmarks/resistance_mnist.py

1,500 labelled images are the owner's and the attacker's with labels; 1,500 others are the attacker's without. Six
teachers a seed: an ordinary one, Nasty, the Adversarial Sparse Teacher paired and with the released pairing, Stingy
and CMIM, each defended one against the ordinary one of its seed. `understudy resist` then trains two students from
each, with the attackers that a headline needs, with labels and without.

Runs the commands that it prints, one after the other, and goes on where it was stopped. The study's page and record,
and the settings and results of each teacher, are copied to `benchmarks/results/resistance_mnist/`.
"""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from understudy.runs.files import read_json, write_text

RESULTS = Path(__file__).parent / "results" / "resistance_mnist"
PLACE = "runs/resistance_mnist"
"""What folders are called in what is kept, wherever they were."""


ATTACKS = (
    "no_teacher:smoothing=0|0.1", "kd:temperature=1|4|20", "kd:temperature=20,squared_factor=false",
    "hard_label:smoothing=0|0.1", "uniform_tail", "centred", "composition", "skeptical", "averaging",
    "cake:sets=12,samples_per_set=50",
)  # fmt: skip
"""The least that a headline needs, with few variants; CAKE draws 600 samples instead of the preset's 10,000."""


@dataclass(frozen=True)
class Setting:
    """How much is done."""

    data: str = "mnist[:1500]"
    queries: str = "mnist[1500:3000]"
    teacher: str = "cnn:widths=16-32-64"
    students: tuple[str, ...] = ("cnn:widths=4-8-16", "mlp:widths=32-32,norm=batch")
    attacks: str = ",".join(ATTACKS)
    regimes: str = "labelled,unlabelled"
    teacher_epochs: int = 12
    teacher_batch_size: int = 64
    epochs: int = 5
    batch_size: int = 32


TEACHERS: dict[str, tuple[str, ...]] = {
    "ordinary": ("train", "supervised"),
    "nasty": ("protect", "nasty_teacher"),
    "ast": ("protect", "adversarial_sparse_teacher"),
    "ast_released": ("protect", "adversarial_sparse_teacher", "--pairing", "released"),
    "stingy": ("protect", "stingy_teacher"),
    "cmim": ("protect", "cmim"),
}
"""How each teacher is made, by the name that it has in the study."""


def commands(setting: Setting, runs: Path, seeds: list[int]) -> Iterator[list[str]]:
    """Yield every command: the teachers of each seed, the ordinary one first, and the study."""
    for seed in seeds:
        for name, words in TEACHERS.items():
            ordinary = ["--reference", str(runs / f"ordinary-s{seed}")] if words[0] == "protect" else []
            yield [
                *words, *ordinary, "--data", setting.data, "--model", setting.teacher, "--preset", "mnist",
                "--epochs", str(setting.teacher_epochs), "--batch-size", str(setting.teacher_batch_size),
                "--seed", str(seed), "--device", "cpu", "--run", str(runs / f"{name}-s{seed}"),
            ]  # fmt: skip
    teachers = [f"{name}={runs}/{name}-s{{seed}}" for name in TEACHERS]
    yield [
        "resist", "--data", setting.data, "--queries", setting.queries, "--teachers", *teachers,
        "--students", ",".join(setting.students), "--attacks", setting.attacks, "--regimes", setting.regimes,
        "--seeds", ",".join(map(str, seeds)), "--preset", "mnist", "--epochs", str(setting.epochs),
        "--batch-size", str(setting.batch_size), "--device", "cpu", "--run", str(runs / "study"),
    ]  # fmt: skip


def keep(runs: Path, seeds: list[int], results: Path) -> None:
    """Copy pages, records and settings, under folders of a fixed name."""
    files = [("study", name) for name in ("resistance.html", "resistance.json", "config.toml")]
    files += [
        (f"{name}-s{seed}", file) for name in TEACHERS for seed in seeds for file in ("result.json", "config.toml")
    ]
    for folder, name in files:
        text = (runs / folder / name).read_text(encoding="utf-8")
        place = results if folder == "study" else results / folder
        place.mkdir(parents=True, exist_ok=True)
        write_text(place / name, scrubbed(text, runs))


def scrubbed(text: str, runs: Path) -> str:
    """Return a text without the place where the runs lie."""
    for place in dict.fromkeys((str(runs.absolute()), str(runs))):
        text = text.replace(place, PLACE)
    return text


def main() -> None:
    """Run everything, keep what matters and print the verdicts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path(PLACE))
    parser.add_argument("--quick", action="store_true", help="a small case, to see that it runs; no results are kept")
    arguments = parser.parse_args()
    setting, seeds, results = Setting(), arguments.seeds, RESULTS
    if arguments.quick:
        setting = Setting(
            data="mnist[:200]", queries="mnist[200:400]", teacher="cnn:widths=4-8", students=("cnn:widths=2-4",),
            attacks="quick", teacher_epochs=1, epochs=1,
        )  # fmt: skip
        seeds, results = seeds[:2], arguments.runs / "results"
    for words in commands(setting, arguments.runs, seeds):
        print("understudy", shlex.join(words), flush=True)
        subprocess.run([sys.executable, "-m", "understudy", *words], check=True)
    keep(arguments.runs, seeds, results)
    for name, one in read_json(results / "resistance.json")["summary"].items():
        print(f"{name}: {one['verdict']['words']}")


if __name__ == "__main__":
    main()
