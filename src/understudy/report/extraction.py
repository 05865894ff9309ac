"""The page of one extraction, or of several against one target: that of an audit whose grid is these runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from understudy.errors import ConfigError
from understudy.report._audit_read import parse_audit
from understudy.report.audit import write_record
from understudy.runs.files import read_json

_UNNAMED = "not stated"


def write_extraction_report(runs: Path | Sequence[Path], out: Path | None = None) -> Path:
    """Write the page of finished extractions, by default to `report.html` in the folder of a single one.

    Args:
        runs: one run folder, or several whose target and probe data are the same.
        out: where the page goes; needed for several.

    Raises:
        ConfigError: a folder holds no finished extraction, or the runs are of several targets.
        IntegrityError: a file of a run is damaged, or of a newer format.
        StorageError: the page cannot be written.
    """
    folders = [runs] if isinstance(runs, Path) else list(runs)
    results = [_result(folder) for folder in folders]
    targets = {result["target"]["sha256"] for result in results}
    if len(targets) > 1:
        raise ConfigError(f"{len(targets)} targets on one page", fix="name runs against one target")
    record = parse_audit(as_audit(results, folders), where=folders[0] / "result.json")
    config = folders[0] / "config.toml"
    text = config.read_text(encoding="utf-8") if config.is_file() else ""
    return write_record(record, out or folders[0] / "report.html", config=text if len(folders) == 1 else "")


def is_extraction(run: Path) -> bool:
    """Return whether a folder holds the result of an extraction."""
    path = run / "result.json"
    return path.is_file() and "target" in read_json(path)


def as_audit(results: Sequence[Mapping[str, Any]], folders: Sequence[Path]) -> dict[str, Any]:
    """Return what `audit.json` would say of an audit with these runs as its cells."""
    first = results[0]
    environment = folders[0] / "environment.json"
    about = read_json(environment) if environment.is_file() else {}
    return {
        "format": 1,
        "name": folders[0].name,
        "target": first["target"],
        "owner": first["owner"] or _UNNAMED,
        "authorised_by": first["authorised_by"] or _UNNAMED,
        "surrogate": first["models"]["surrogate"]["spec"],
        "queries": first["data"],
        "probes": first["probes"],
        "methods": _distinct(result["method"] for result in results),
        "budgets": sorted({_budget(result) for result in results}),
        "defences": _distinct(result["defences"] for result in results),
        "seeds": sorted({result["seed"] for result in results}),
        "price_per_1000": first["price_per_1000"],
        "cells": [_cell(result, folder) for result, folder in zip(results, folders, strict=True)],
        "controls": {name: [found for result in results for found in _control(result, name)] for name in _CONTROLS},
        "target_scores": first["scores"]["target"],
        "carries_information": first["informative"],
        "honest": [
            {"defence": result["defences"], "seed": result["seed"], "scores": result["scores"]["honest_client"]}
            for result in results
        ],
        "command": about.get("command") or "",
        "machine": {key: about[key] for key in ("platform", "cpu", "device", "torch") if key in about},
        "timing_s": first["timing_s"],
    }


_CONTROLS = ("random", "no_query")


def _cell(result: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    kept = ("method", "seed", "images", "partial", "note", "ledger", "leakage", "cost")
    return {
        **{name: result[name] for name in kept},
        "budget": _budget(result),
        "defence": result["defences"],
        "folder": str(folder),
        "queries": result["ledger"]["extraction"]["rows"],
        "scores": result["scores"]["surrogate"],
        "fidelity": result["fidelity"]["surrogate"],
    }


def _budget(result: Mapping[str, Any]) -> int:
    """Return the budget of a run; one without any is as good as a budget of what it asked."""
    return int(result["budget"] or result["ledger"]["extraction"]["rows"])


def _control(result: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    if name not in result["scores"]:
        return []
    scores, fidelity = result["scores"][name], result["fidelity"][name]
    return [{"seed": result["seed"], "images": result["images"], "scores": scores, "fidelity": fidelity}]


def _distinct(names: Any) -> list[str]:
    return list(dict.fromkeys(names))


def _result(folder: Path) -> dict[str, Any]:
    if not is_extraction(folder):
        raise ConfigError("no finished extraction here", where=folder, expected="a run of `understudy extract`")
    found: dict[str, Any] = read_json(folder / "result.json")
    return found
