"""`understudy quickstart`."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

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
    family: Literal["data_free", "adapters"] = "data_free",
    seed: Annotated[int, Parameter(converter=whole_numbers)] = 0,
    run: Path | None = None,
    fresh: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    json: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
) -> None:
    """Take a first look, without a download: distillation without data, or text classifiers under attack.

    data_free: a teacher is trained on the digits that scikit-learn ships. A smaller student of its answers to
    synthesised samples (CAKE) stands beside one trained on Gaussian noise, one on the samples as they start, before
    any update, and one distilled on the real digits.

    adapters: a tiny encoder is trained on a few embedded sentences, one adapter on clean ones and two on attacked
    ones, and they are mixed for each sentence (AdpMixup). It shows the mechanics, and says nothing of real encoders.

    Args:
        family: What to look at.
        seed: Seed of every random stream.
        run: Folder of the runs (default: runs/quickstart, or runs/quickstart-adapters).
        fresh: Start over in a new folder instead of resuming.
        json: Print one JSON object and nothing else.
    """
    if family == "adapters":
        _text(seed, run or Path("runs/quickstart-adapters"), fresh=fresh, json=json)
    else:
        _data_free(seed, run or Path("runs/quickstart"), fresh=fresh, json=json)


def _text(seed: int, run: Path, *, fresh: bool, json: bool) -> None:
    # Imported here, as in every verb: the help must not wait for torch.
    from understudy.cli.adapt_command import show_adapters
    from understudy.study.quickstart_text import quickstart_text

    found = _carried_out(quickstart_text, seed, run, fresh=fresh, json=json)
    print_json(found) if json else show_adapters(found)


def _data_free(seed: int, run: Path, *, fresh: bool, json: bool) -> None:
    from understudy.study.quickstart import quickstart as first_look

    results = _carried_out(first_look, seed, run, fresh=fresh, json=json)
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


def _carried_out(
    look: Callable[..., dict[str, Any]], seed: int, run: Path, *, fresh: bool, json: bool
) -> dict[str, Any]:
    from understudy.runs.interrupts import Interrupted, graceful_interrupts
    from understudy.runs.progress import for_stream
    from understudy.study.job import fresh_folder

    folder = fresh_folder(run) if fresh else run
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    errors.quiet = json
    try:
        with graceful_interrupts():
            return look(folder, seed=seed, progress=for_stream(quiet=json), announce=errors.print)
    except Interrupted:
        raise KeyboardInterrupt(how_to_go_on(folder, fresh=fresh)) from None


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
