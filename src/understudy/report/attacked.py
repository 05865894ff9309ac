"""The page of a text model that was attacked itself: its accuracy, attack by attack, and how each attack went."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from understudy.errors import ConfigError, IntegrityError
from understudy.report._format import DASH, count, decimal
from understudy.report._page import write_page
from understudy.report._read import Interval
from understudy.report._table import Cell, Column, Table, interval_cell, with_marks
from understudy.runs.files import read_json

RECORD = "attacked.json"
_COUNTS = ("sentences", "success", "failed", "skipped", "exhausted", "no_candidates")


def is_attacked(folder: Path) -> bool:
    """Return whether a folder holds a finished evaluation of a text model."""
    return (folder / RECORD).is_file()


def write_attacked(folder: Path, out: Path | None = None) -> Path:
    """Write the page of an evaluation of a text model, by default to `report.html` in its folder.

    Raises:
        ConfigError: the folder holds no finished evaluation.
        IntegrityError: its record is damaged.
        StorageError: the page cannot be written.
    """
    if not is_attacked(folder):
        raise ConfigError("this is no finished evaluation of a text model", where=folder, expected=RECORD)
    record = read_json(folder / RECORD)
    try:
        values = _values(record)
    except (KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(
            f"the record is damaged: {type(error).__name__} at {error}",
            where=folder / RECORD,
            fix="evaluate the model again, with --fresh",
        ) from None
    config = folder / "config.toml"
    text = config.read_text(encoding="utf-8") if config.is_file() else ""
    return write_page(out or folder / "report.html", "attacked.html", {**values, "config": text}, figures=False)


def _values(record: Mapping[str, Any]) -> dict[str, Any]:
    name = Path(str(record["model"])).name
    data = record["data"]
    return {
        "title": f"{name} under attack: {data['source']}",
        "name": name,
        "data": data["source"],
        "rows": count(data["rows"]),
        "attacked_rows": count(data["attacked_rows"]),
        "protocol": record["protocol"],
        "passes": f"{record['passes']:g}",
        "accuracy": _accuracy(record),
        "counts": _counts(record["attacks"]),
        "constraints": [
            f"{spec}: {line}" for spec, one in record["attacks"].items() for line in one.get("constraints", ())
        ],
    }


def _accuracy(record: Mapping[str, Any]) -> Table:
    columns = [
        Column("Sentences", numeric=False),
        Column("Accuracy", "share of all sentences on which the class is right, with its 95 % interval"),
        Column("Success rate", "attacks that changed the answer, among the sentences that were right before"),
        Column("Queries", "texts that the attack asked about, a sentence"),
        Column("Words changed", "share of the words of a sentence, in the successes"),
    ]
    rows = [[Cell("Unchanged"), interval_cell(_interval(record["clean"])), Cell(DASH), Cell(DASH), Cell(DASH)]]
    for spec, one in record["attacks"].items():
        changed = one["changed_share"]
        rows.append(
            [
                Cell(spec, note="adaptive"),
                interval_cell(_interval(one["accuracy"])),
                interval_cell(_interval(one["success_rate"])),
                Cell(decimal(one["queries"], 1)),
                Cell(DASH if changed is None else f"{changed:.1%}"),
            ]
        )
    return with_marks(Table(columns, rows, caption="Accuracy on unchanged sentences and under each attack"))


def _counts(attacks: Mapping[str, Any]) -> Table:
    columns = [
        Column("Attack", numeric=False),
        Column("Attacked"),
        Column("Misled"),
        Column("Held"),
        Column("Wrong before"),
        Column("Out of queries"),
        Column("No word to change"),
    ]
    rows = [[Cell(spec), *(Cell(count(one[name])) for name in _COUNTS)] for spec, one in attacks.items()]
    return Table(columns, rows, caption="How each attack went")


def _interval(found: Mapping[str, Any] | None) -> Interval | None:
    return None if found is None else Interval.model_validate(found)
