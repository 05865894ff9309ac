"""`understudy quickstart`."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from understudy.cli.flags import whole_numbers
from understudy.cli.printing import how_to_go_on, percent, plain_table, print_json, spread

_ROWS = (
    ("teacher", "real digits", "teacher", "model"),
    ("student: CAKE", "no data", "cake", "student"),
    ("control: noise", "pure noise", "cake", "noise_control"),
    ("control: start", "unshaped start", "cake", "start_control"),
    ("control: KD", "real digits", "kd", "student"),
)


def quickstart(
    *,
    seed: Annotated[int, Parameter(converter=whole_numbers)] = 0,
    run: Path = Path("runs/quickstart"),
    fresh: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    json: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
) -> None:
    """Distil a classifier of digits without its data, beside its controls.

    A teacher is trained on the digits that scikit-learn ships. A smaller student of its answers to synthesised
    samples (CAKE) stands beside one trained on Gaussian noise, one on the samples as they start, before any
    update, and one distilled on the real digits.

    Args:
        seed: Seed of every random stream.
        run: Folder of the runs.
        fresh: Start over in a new folder instead of resuming.
        json: Print one JSON object and nothing else.
    """
    # Imported here, as in every verb: the help must not wait for torch.
    from understudy.runs.interrupts import Interrupted, graceful_interrupts
    from understudy.runs.progress import for_stream
    from understudy.study.job import fresh_folder
    from understudy.study.quickstart import quickstart as first_look

    folder = fresh_folder(run) if fresh else run
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    errors.quiet = json
    try:
        with graceful_interrupts():
            results = first_look(folder, seed=seed, progress=for_stream(quiet=json), announce=errors.print)
    except Interrupted:
        raise KeyboardInterrupt(how_to_go_on(folder, fresh=fresh)) from None
    if json:
        print_json(results)
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(_table(results))
    console.print(
        "Digits are easy: random noise labelled by the teacher already teaches most of them, and smooth noise,\n"
        "from which CAKE starts here, nearly all. Look at how far the student is above both. See the README."
    )
    console.print(f"report: {results['cake']['folder']}/report.html", markup=False)
    console.print(f"all:    {results['page']}", markup=False)


def _table(results: dict[str, Any]) -> Table:
    table = plain_table("", "trained on", "network", "accuracy (95 %)", "agreement", numbers=2)
    for title, source, run, key in _ROWS:
        result = results[run]
        score = result["scores"][key]
        spec = result["models"].get(key, result["models"].get("student"))["spec"]
        agreement = percent(score["agreement"]) if score["agreement"] else "–"
        table.add_row(title, source, spec, spread(score["accuracy"]), agreement)
    table.caption = "on test digits that none of them has seen; agreement is with the teacher"
    return table
