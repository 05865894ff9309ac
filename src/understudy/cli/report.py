"""`understudy report`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from understudy.report import write_comparison, write_report


def report(*runs: Path, out: Annotated[Path | None, Parameter(name=("--out", "-o"))] = None) -> None:
    """Write the page of a run, or of several side by side.

    Examples: `understudy report runs/student` and `understudy report runs/seed0 runs/seed1 --out compare.html`.

    Args:
        runs: Folders of finished runs.
        out: Where the comparison goes (default: comparison.html beside the first run).
    """
    from understudy.errors import ConfigError

    if not runs:
        raise ConfigError("no run is named", expected="one or more run folders", fix="understudy report runs/NAME")
    if len(runs) == 1 and out is None:
        page = write_report(runs[0])
    else:
        page = write_comparison(list(runs), out or runs[0].parent / "comparison.html")
    Console(highlight=False, soft_wrap=True).print(f"report: {page}")
