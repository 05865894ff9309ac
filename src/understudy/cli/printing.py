"""What the verbs print: tables for people, one JSON object for programs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w
from rich import box
from rich.console import Console
from rich.table import Table

_WIDEST = 10_000
"""Columns of a terminal on which every table fits."""
_LEAST = 12
"""Columns that words of a table keep on the narrowest terminal."""


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object and nothing else."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def print_result(result: Mapping[str, Any]) -> None:
    """Print the scores of a finished run, and where it lies."""
    console = Console(highlight=False)
    if result.get("scores"):
        console.print(scores_table(result["scores"], result["models"]))
    if robust := {key: row["robust"] for key, row in result.get("scores", {}).items() if row.get("robust")}:
        console.print(under_attack(robust), soft_wrap=True)
    if result.get("measured_by"):
        console.print(f"accuracy is that of a {result['measured_by']} on frozen embeddings", soft_wrap=True)
    synthetic = result.get("synthetic", {}).get("agreement")
    if synthetic:
        console.print(f"agreement with the teacher on held-out synthetic samples: {percent(synthetic)}", soft_wrap=True)
    console.print(f"report: {result['folder']}/report.html", soft_wrap=True, markup=False)
    console.print(f"run:    {result['folder']}", soft_wrap=True, markup=False)


def under_attack(robust: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what a first look at robustness found, and where to learn more."""
    threat = next(iter(robust.values()))
    found = ", ".join(f"{key.replace('_', ' ')} {spread(row['worst'])}" for key, row in robust.items())
    attacks = " and ".join(threat["attacks"])
    where = f"{threat['norm']} {threat['epsilon']:.3g}, {attacks}, {threat['rows']} images"
    return f"under attack ({where}): {found}\na first look; `understudy evaluate --attack` says more"


def print_extraction(result: Mapping[str, Any]) -> None:
    """Print how good the copy is, what it cost, and where the run lies."""
    console = Console(highlight=False)
    for probed in result["probes"]:
        console.print(copies_table(result, probed["source"]))
    asked = result["ledger"]["extraction"]
    within = "" if asked["budget"] is None else f" of {asked['budget']:,}"
    cost = "" if result["cost"] is None else f", {result['cost']:,.2f} at {result['price_per_1000']:,.2f} per 1,000"
    lines = [f"queries charged: {asked['rows']:,}{within}{cost}"]
    if result["partial"]:
        lines.append("the budget ended early: this is a partial result")
    if result["note"]:
        lines.append(f"note: {result['note']}")
    lines += [result["verdict"], f"report: {result['folder']}/report.html", f"run:    {result['folder']}"]
    for line in lines:
        console.print(line, soft_wrap=True, markup=False)


def copies_table(result: Mapping[str, Any], source: str) -> Table:
    """Return a table of the scores on one data set: the target, who asks it, and the controls."""
    scores = result["scores"]
    names = list(next(iter(scores.values()))[source])
    table = plain_table(source, *(name.replace("_", "-") for name in names), "fidelity", numbers=len(names) + 1)
    for key, row in scores.items():
        fidelity = result["fidelity"].get(key)
        shown = f"{fidelity['value']:.3f}" if fidelity else "–"
        table.add_row(key.replace("_", " "), *(percent(row[source][name]) for name in names), shown)
    return table


def print_plan(planned: Mapping[str, Any]) -> None:
    """Print what a run would do."""
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.print(tomli_w.dumps(planned["config"]))
    for name, value in planned["cost"].items():
        console.print(f"{name.replace('_', ' ')}: {value:,}")
    console.print(f"folder: {planned['folder']} ({planned['state']})")


def scores_table(scores: Mapping[str, Any], models: Mapping[str, Any]) -> Table:
    """Return a table with a row for each network; a network without facts of its own is built as the student."""
    table = plain_table("", "network", "parameters", "accuracy (95 %)", "agreement")
    for key, row in scores.items():
        model = models.get(key, models.get("student", {}))
        table.add_row(
            key.replace("_", " "),
            model.get("spec", ""),
            f"{model['parameters']:,}" if "parameters" in model else "",
            spread(row["accuracy"]),
            percent(row["agreement"]) if row["agreement"] else "–",
        )
    return table


def plain_table(*headings: str, numbers: int = 3) -> Table:
    """Return a table that fits 80 columns: long specs are folded, the last `numbers` columns never are."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for position, heading in enumerate(headings):
        last = position >= len(headings) - numbers
        whole = position == 0 or last
        table.add_column(heading, justify="right" if last else "left", no_wrap=whole, overflow="fold")
    return table


def print_table(console: Console, table: Table) -> None:
    """Print a table with every number whole: as wide as it is into a pipe, in parts on a terminal too narrow for it."""
    whole = _width(console, table)
    if whole > console.width and not console.is_terminal:
        narrow, console.width = console.width, whole
        console.print(table)
        console.width = narrow
        return
    for part in [table] if whole <= console.width else _parts(console, table):
        console.print(part)


def _width(console: Console, table: Table) -> int:
    """Return the columns that a table takes on a console that is as wide as it likes."""
    return console.measure(table, options=console.options.update(width=_WIDEST)).maximum


def _parts(console: Console, table: Table) -> list[Table]:
    """Return tables that fit, each with the columns of words and as many columns of numbers as there is room for."""
    numbers = [place for place, column in enumerate(table.columns) if column.justify == "right"]
    parts: list[list[int]] = [[]]
    for place in numbers:
        if parts[-1] and _width(console, _taken(console, table, [*parts[-1], place])) > console.width:
            parts.append([])
        parts[-1].append(place)
    found = [_taken(console, table, part) for part in parts]
    found[-1].caption = table.caption
    return found


def _taken(console: Console, table: Table, numbers: list[int]) -> Table:
    """Return the table with some of its columns of numbers; words give way, so that the numbers stay whole."""
    part = Table(box=table.box, pad_edge=False)
    places = [place for place, one in enumerate(table.columns) if place in numbers or one.justify != "right"]
    for place in places:
        column, number = table.columns[place], place in numbers
        most = None if number else max(_LEAST, console.width // 3)
        part.add_column(column.header, justify=column.justify, no_wrap=number, overflow="fold", max_width=most)
    cells = [list(table.columns[place].cells) for place in places]
    for row in zip(*cells, strict=True):
        part.add_row(*row)
    return part


def percent(interval: Mapping[str, Any]) -> str:
    """Return an interval's value as a percentage."""
    return f"{interval['value']:.1%}"


def spread(interval: Mapping[str, Any]) -> str:
    """Return an interval's value with its ends, as percentages."""
    return f"{percent(interval)} ({100 * interval['low']:.1f}–{100 * interval['high']:.1f})"


def how_to_go_on(folder: Path, *, fresh: bool) -> str:
    """Return what to say after Ctrl-C."""
    again = f"run the same command with --run {folder} and without --fresh" if fresh else "run the same command again"
    return f"What was done is on file in {folder}; {again} to go on."
