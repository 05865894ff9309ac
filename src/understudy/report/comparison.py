"""The page of several runs side by side: one table, means over seeds, curves laid over each other."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from understudy.errors import ConfigError
from understudy.report._adapt_read import is_adapters
from understudy.report._curves import SYNTHESIS, WATCHED, curve, is_drawn, is_share, rank
from understudy.report._figures import Figure, line_figure
from understudy.report._format import DASH, count, duration, name_of, percent
from understudy.report._page import write_page
from understudy.report._read import Interval, ModelFacts, Result, RunRecord, read_run
from understudy.report._robust_read import is_robustness
from understudy.report._seeds import by_config, mean_interval
from understudy.report._table import Cell, Column, Table, interval_cell, with_marks
from understudy.report._words import control_key, heading, images, noise_verdict, value_of
from understudy.report.extraction import is_extraction, write_extraction_report

_COLOURS = 8
_LINES = {"solid": "solid", "dash": "dashed", "dot": "dotted"}
"""The page's word for each line of the figures; eight more colours of each before they repeat."""


def write_comparison(run_folders: Sequence[Path], out: Path) -> Path:
    """Write one page on several finished runs to `out` and return its path.

    Names of runs link to their own `report.html`, where there is one, by relative path.

    Raises:
        ConfigError: no folder is given, or one is no finished run.
        IntegrityError: a file of a run is damaged, or of a newer format.
        StorageError: the page cannot be written.
    """
    folders = list(dict.fromkeys(folder.resolve() for folder in run_folders))
    if not folders:
        raise ConfigError("no run to compare", expected="one run folder or more", fix="name the run folders")
    if any(map(is_extraction, folders)):
        return write_extraction_report(folders, out)
    _no_evaluation(folders)
    _no_adapters(folders)
    runs = [read_run(folder) for folder in folders]
    values = _values(runs, out.resolve().parent)
    return write_page(out, "comparison.html", values, figures=bool(values["figures"]))


def _no_evaluation(folders: Sequence[Path]) -> None:
    for folder in folders:
        if is_robustness(folder):
            raise ConfigError(
                "an evaluation under attack is no run, and has a page of its own",
                where=folder,
                expected="folders of finished runs",
                fix="compare two networks with understudy evaluate MODEL --attack ... --against OTHER",
            )


def _no_adapters(folders: Sequence[Path]) -> None:
    for folder in folders:
        if is_adapters(folder):
            raise ConfigError(
                "text classifiers are compared by understudy withstand, which attacks all on the same sentences",
                where=folder,
                expected="folders of finished runs of another family",
                fix="understudy withstand --methods NAME,NAME ... with the same backbone and data; for the page of one "
                "run, name it alone",
            )


def _values(runs: Sequence[RunRecord], base: Path) -> dict[str, Any]:
    doubtful = [run.name for run in runs if noise_verdict(run.result) == "as good"]
    return {
        "title": f"{count(len(runs))} {'run' if len(runs) == 1 else 'runs'} side by side",
        "methods": ", ".join(dict.fromkeys(heading(run.result) for run in runs)),
        "finding": _finding(runs),
        "doubtful": doubtful,
        "summary": _summary(runs, base),
        "seeds": _seeds(runs),
        "figures": _figures(runs),
        "legend": [(run.name, *_look(at)) for at, run in enumerate(runs)],
    }


def _finding(runs: Sequence[RunRecord]) -> str:
    scored = [(value, run.name) for run in runs if (value := value_of(run.result.score.accuracy)) is not None]
    data = [run.result.data for run in runs]
    if len(scored) < 2 or data[0] is None:
        return ""
    if any(one != data[0] for one in data):
        return "These runs were not all scored on the same data, so their accuracies cannot be compared."
    (low, worst), (high, best) = min(scored), max(scored)
    ends = f"from {percent(low)} ({worst}) to {percent(high)} ({best})"
    return f"On the {images(runs[0].result)}, accuracy goes {ends}."


def _summary(runs: Sequence[RunRecord], base: Path) -> Table:
    robust = any(map(_robust, runs))
    columns = [
        Column("Run", numeric=False),
        Column("Method", numeric=False),
        Column("Seed"),
        Column("Student", numeric=False),
        Column("Accuracy", "share of real images on which the class is right, with its 95 % Wilson interval"),
        Column("Agreement", "share of real images on which the class is the teacher's"),
        *([Column("Robust", "share right after a first look with short attacks, the worst case")] if robust else []),
        Column("Noise control", "accuracy of the same student, trained on Gaussian noise"),
        Column("Samples"),
        Column("Evaluations", "of the teacher: samples times steps"),
        Column("Time", "all phases"),
    ]
    rows = [_row(run, at, base, robust=robust) for at, run in enumerate(runs)]
    return with_marks(Table(columns, rows, caption="All runs"))


def _row(run: RunRecord, at: int, base: Path, *, robust: bool) -> list[Cell]:
    result = run.result
    student = result.models.get(result.subject, ModelFacts())
    return [
        Cell(run.name, href=_link(run.folder / "report.html", base), colour=_look(at)[0]),
        Cell(heading(result), note=result.preset or ""),
        Cell(DASH if result.seed is None else str(result.seed)),
        Cell(student.spec or DASH),
        interval_cell(result.score.accuracy),
        interval_cell(result.score.agreement),
        *([interval_cell(_robust(run))] if robust else []),
        interval_cell(_noise(result)),
        Cell(count(result.samples)),
        Cell(count(result.teacher_evaluations)),
        Cell(duration(sum(filter(None, result.timing_s.values())) or None)),
    ]


def _seeds(runs: Sequence[RunRecord]) -> Table | None:
    taken: dict[str, Callable[[RunRecord], Interval | None]] = {
        "Accuracy": lambda run: run.result.score.accuracy,
        "Agreement": lambda run: run.result.score.agreement,
        **({"Robust": _robust} if any(map(_robust, runs)) else {}),
        "Noise control": lambda run: _noise(run.result),
    }
    rows = []
    for group in by_config(runs):
        results = [run.result for run in group]
        seeds = ", ".join(str(result.seed) for result in results)
        spec = results[0].models.get(results[0].subject, ModelFacts()).spec
        about = ", ".join(filter(None, (results[0].preset, spec)))
        means = (mean_interval([value_of(take(run)) for run in group]) for take in taken.values())
        rows.append(
            [
                Cell(heading(results[0]), note=about),
                Cell(str(len(results)), note=f"seeds {seeds}"),
                *map(interval_cell, means),
            ]
        )
    if not rows:
        return None
    columns = [Column("Configuration", numeric=False), Column("n", "number of seeds"), *map(Column, taken)]
    return with_marks(Table(columns, rows, caption="Means over seeds"))


def _figures(runs: Sequence[RunRecord]) -> list[Figure]:
    """One figure for each phase and metric of any run; curves of controls are on the runs' own pages."""
    found = dict.fromkeys(
        (event.phase, key)
        for run in runs
        for event in run.events
        if "control" not in event.phase and not event.phase.startswith("draw_")
        for key in event.metrics
        if is_drawn(event.phase, key)
    )
    figures = []
    for phase, key in sorted(found, key=lambda pair: (pair[0] == SYNTHESIS, rank(pair[1]))):
        curves = [
            replace(curve(run.events, phase, key, run.name, _look(at)[0]), dash=_dash(at))
            for at, run in enumerate(runs)
        ]
        drawn = [one for one in curves if any(value is not None for value in one.y)]
        if drawn:
            unit = "set" if phase == SYNTHESIS else "epoch" if phase in WATCHED else "step"
            title = f"{name_of(phase)}: {name_of(key).lower()}"
            figures.append(line_figure(title, drawn, x_title=unit, share=is_share(key), legend=False))
    return figures


def _look(at: int) -> tuple[str, str]:
    return f"c{at % _COLOURS + 1}", _LINES[_dash(at)]


def _dash(at: int) -> str:
    return list(_LINES)[at // _COLOURS % len(_LINES)]


def _robust(run: RunRecord) -> Interval | None:
    look = run.result.score.robust
    return look.worst if look is not None else None


def _noise(result: Result) -> Interval | None:
    key = control_key(result, "noise")
    return result.scores[key].accuracy if key else None


def _link(page: Path, base: Path) -> str:
    if not page.is_file():
        return ""
    return quote(Path(os.path.relpath(page, base)).as_posix())
