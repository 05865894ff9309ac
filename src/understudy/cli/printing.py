"""What the verbs print: tables for people, one JSON object for programs."""

import json
from collections.abc import Mapping
from typing import Any

import tomli_w
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
    synthetic = result.get("synthetic", {}).get("agreement")
    if synthetic:
        console.print(f"agreement on held-out synthetic samples: {percent(synthetic)}")
    console.print(f"report: {result['folder']}/report.html", soft_wrap=True)
    console.print(f"run:    {result['folder']}", soft_wrap=True)


def print_plan(planned: Mapping[str, Any]) -> None:
    """Print what a run would do."""
    console = Console(highlight=False)
    console.print(tomli_w.dumps(planned["config"]), markup=False)
    for name, value in planned["cost"].items():
        console.print(f"{name.replace('_', ' ')}: {value:,}")
    console.print(f"folder: {planned['folder']} ({planned['state']})", soft_wrap=True)


def scores_table(scores: Mapping[str, Any], models: Mapping[str, Any]) -> Table:
    """Return a table with a row for each network."""
    table = Table()
    for heading in ("", "network", "parameters", "accuracy", "95 % interval", "agreement"):
        table.add_column(heading, justify="left" if heading in ("", "network") else "right")
    for key, row in scores.items():
        model = models.get(key, models.get("student", {}))
        interval = f"{row['accuracy']['low']:.1%} to {row['accuracy']['high']:.1%}"
        agreement = percent(row["agreement"]) if row["agreement"] else "–"
        table.add_row(
            key.replace("_", " "),
            model.get("spec", ""),
            f"{model['parameters']:,}" if "parameters" in model else "",
            percent(row["accuracy"]),
            interval,
            agreement,
        )
    return table


def percent(interval: Mapping[str, Any]) -> str:
    """Return an interval's value as a percentage."""
    return f"{interval['value']:.1%}"
