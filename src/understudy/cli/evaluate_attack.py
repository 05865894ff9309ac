"""`understudy evaluate --attack`: what stays right under attack, and whether the number can be believed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from understudy.cli.printing import how_to_go_on, percent, plain_table, print_json, spread
from understudy.errors import UnderstudyError


def evaluate_attack(values: Mapping[str, Any], *, out: Path | None, json: bool) -> None:
    """Carry out an evaluation under attack, or go on with it, and print what it found.

    Args:
        values: the flags by name.
        out: also write the record to this JSON file.
        json: print one JSON object and nothing else.

    Raises:
        UnderstudyError: something to mend; among it, after all is printed, a red flag that is not acknowledged.
        KeyboardInterrupt: the user asked to stop; it says how to go on.
    """
    from understudy.runs.files import write_json
    from understudy.runs.interrupts import Interrupted, graceful_interrupts
    from understudy.runs.progress import for_stream
    from understudy.study.job import fresh_folder
    from understudy.study.robustness import check_acknowledged, make_robustness, run_robustness

    given = dict(values)
    own = {name: given.pop(name) for name in ("acknowledge", "run", "fresh", "seed", "device")}
    options = {"seed": own["seed"], "device": own["device"]}
    job = make_robustness({**given, "run": {name: value for name, value in options.items() if value is not None}})
    acknowledged = check_acknowledged(own["acknowledge"])
    folder = own["run"] or job.default_folder()
    folder = fresh_folder(folder) if own["fresh"] else folder
    errors = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    errors.quiet = json
    try:
        with graceful_interrupts():
            found = run_robustness(
                job, folder, acknowledged=acknowledged, progress=for_stream(quiet=json), announce=errors.print
            )
    except Interrupted:
        raise KeyboardInterrupt(how_to_go_on(folder, fresh=bool(own["fresh"]))) from None
    if out is not None:
        write_json(out, found)
    print_json(found) if json else _print(found)
    _check_flags(found)


def _print(found: Mapping[str, Any]) -> None:
    """Print the table, the notes, the verdict, and where the page lies."""
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.print(_table(found))
    for line in found["notes"]:
        console.print(f"note: {line}")
    for flag in found["flags"]:
        if flag["acknowledged"]:
            console.print(f"acknowledged red flag {flag['name']} ({flag['model']}): {flag['measured']}")
    if found["verdict"] is not None:
        console.print(found["verdict"])
    console.print(f"report: {found['folder']}/robustness.html")
    console.print(f"run:    {found['folder']}")


def _table(found: Mapping[str, Any]) -> Table:
    """Return a table with a row for each attack and a column for each network."""
    networks = list(found["scores"])
    shown = spread if len(networks) < 4 else percent
    threat = found["threat"]
    table = plain_table(f"{threat['norm']} {threat['text']}", *networks, numbers=len(networks))
    table.add_row("no attack", *(shown(found["scores"][key]["clean"]) for key in networks))
    for attack in found["attacks"]:
        of = [found["scores"][key]["attacks"].get(attack["name"]) for key in networks]
        table.add_row(attack["name"], *(shown(one["robust"]) if one else "–" for one in of))
    table.add_row("worst case", *(shown(found["scores"][key]["worst"]) for key in networks))
    return table


def _check_flags(found: Mapping[str, Any]) -> None:
    """Raise where red flags stop the verdict, after everything that there is has been shown."""
    from understudy.study.robustness_verdict import open_flags, withheld

    if lines := withheld(found):
        names = ",".join(dict.fromkeys(flag["name"] for flag in open_flags(found)))
        reasons = "\n  - ".join(["", *lines])
        raise UnderstudyError(
            f"no verdict: there are signs that these numbers cannot be believed{reasons}",
            where=found["folder"],
            fix=f"mend what is wrong; or, knowing what it means, run the same command again with --acknowledge {names}",
        )
