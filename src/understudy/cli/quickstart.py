"""`understudy quickstart`."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from understudy.cli.printing import percent, print_json
from understudy.runs.interrupts import Interrupted, graceful_interrupts
from understudy.runs.progress import Silent, for_stream
from understudy.study.job import fresh_folder
from understudy.study.quickstart import quickstart as first_look


def quickstart(
    *,
    seed: int = 0,
    run: Path = Path("runs/quickstart"),
    fresh: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Distil a classifier of digits without its data, beside two controls: a first look, without any download.

    A teacher is trained on the digits that scikit-learn ships. A smaller student of its answers to synthesised
    samples (CAKE) stands beside one trained on Gaussian noise, and one distilled on the real digits.

    Args:
        seed: Seed of every random stream.
        run: Folder of the runs.
        fresh: Start over in a new folder instead of resuming.
        json: Print one JSON object and nothing else.
    """
    folder = fresh_folder(run) if fresh else run
    errors = Console(stderr=True, highlight=False)
    try:
        with graceful_interrupts():
            results = first_look(
                folder,
                seed=seed,
                progress=Silent() if json else for_stream(),
                announce=(lambda line: None) if json else errors.print,  # noqa: ARG005
            )
    except Interrupted:
        raise KeyboardInterrupt(f"What was done is on file in {folder}; run the same command again to go on.") from None
    if json:
        print_json(results)
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(_table(results))
    console.print(
        "Digits are easy: random noise labelled by the teacher already teaches most of them. Look at how far the\n"
        "student is above the noise control; harder data (MNIST, CIFAR-10) tell more. See the README."
    )
    console.print(f"report: {results['cake']['folder']}/report.html")
    console.print(f"all:    {results['page']}")


def _table(results: dict[str, Any]) -> Table:
    rows = [
        ("teacher", "real digits", results["teacher"], "model"),
        ("student: CAKE", "no data", results["cake"], "student"),
        ("control: noise", "Gaussian noise", results["cake"], "noise_control"),
        ("control: KD", "real digits", results["kd"], "student"),
    ]
    table = Table(title="Test digits never seen by any of them")
    for heading in ("", "trained on", "network", "accuracy", "95 % interval", "agreement with the teacher"):
        table.add_column(heading)
    for title, source, result, key in rows:
        score = result["scores"][key]
        spec = result["models"].get(key, result["models"].get("student"))["spec"]
        interval = f"{score['accuracy']['low']:.1%} to {score['accuracy']['high']:.1%}"
        agreement = percent(score["agreement"]) if score["agreement"] else "–"
        table.add_row(title, source, spec, percent(score["accuracy"]), interval, agreement)
    return table
