"""`understudy report`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from understudy.cli.printing import print_json
from understudy.errors import ConfigError


def report(
    *runs: Path,
    out: Annotated[Path | None, Parameter(name=("--out", "-o"))] = None,
    json: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
) -> None:
    """Write the page of a run, or of several side by side.

    Args:
        runs: Folders of finished runs.
        out: Where the comparison goes (default: comparison.html beside the first run).
        json: Print one JSON object and nothing else.
    """
    from understudy.report import write_comparison, write_report

    if not runs:
        raise ConfigError("no run is named", expected="one or more run folders", fix="understudy report runs/NAME")
    if len(runs) == 1:
        page = write_report(runs[0], out)
    else:
        page = write_comparison(list(runs), out or runs[0].parent / "comparison.html")
    if json:
        print_json({"report": str(page)})
    else:
        Console(highlight=False, soft_wrap=True).print(f"report: {page}", markup=False)
