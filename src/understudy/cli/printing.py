"""What the verbs print: tables for people, one JSON object for programs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w
from rich import box
from rich.console import Console
from rich.table import Table


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
