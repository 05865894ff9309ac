"""The page of text classifiers under attack: what withstands, in which protocol, and at what cost."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any

from understudy.report._adapt_figures import entropy_figure, trade_figure, trade_legend
from understudy.report._adapt_findings import adapt_findings, meaning, silent
from understudy.report._adapt_lists import (
    attackers_table,
    confusion_table,
    cost_table,
    failures_table,
    fidelity_notes,
    gather_table,
    methods_table,
    options_of,
    roc_table,
    slots_table,
)
from understudy.report._adapt_read import STUDY, AdaptersRecord, parse_adapters, read_adapters
from understudy.report._adapt_sentences import OPEN, kinds_of_text, sentences_shown, slot_legend
from understudy.report._adapt_tables import attacks_table, effort_table, gains_table, means_table, terminal_table
from understudy.report._adapt_words import has_adaptive, method_label, no_constraints, rows_of, spread
from understudy.report._format import count, duration, flatten, magnitude, moment, name_of
from understudy.report._page import write_page
from understudy.report._robust_words import listed


def write_adapters(folder: Path, out: Path | None = None) -> Path:
    """Write the page of a study or of a run, by default to `withstand.html` or `report.html` in its folder.

    The page holds all it shows: it opens offline, asks no server for anything, and may be moved or mailed.

    Raises:
        ConfigError: the folder holds no finished study or run of this family.
        IntegrityError: its record is damaged, or of a newer format.
        StorageError: the page cannot be written.
    """
    record, path = read_adapters(folder)
    config = folder / "config.toml"
    text = config.read_text(encoding="utf-8") if config.is_file() else ""
    values = {**_values(record), "config": text, "file": path.name}
    figures = bool(values["trade"] or values["entropy"])
    name = "withstand.html" if path.name == STUDY else "report.html"
    return write_page(out or folder / name, "adapters.html", values, figures=figures)


def summarise_adapters(raw: object) -> list[str]:
    """Return what a study found, in plain sentences, from the content of its record.

    Raises:
        IntegrityError: the content is not that of a study of this family.
    """
    return adapt_findings(parse_adapters(raw, where=STUDY)).sentences


def adapters_table(record: object) -> tuple[list[str], list[list[str]], str]:
    """Return headings, rows and caption of a short table for a terminal, from the content of a record.

    Each cell has accuracy in per cent, static / adaptive.

    Raises:
        IntegrityError: the content is not that of a study of this family.
    """
    return terminal_table(parse_adapters(record, where=STUDY))


def _values(record: AdaptersRecord) -> dict[str, Any]:
    subject, sentences = record.subject, sentences_shown(record)
    title = method_label(record, subject.key) if subject else "Text classifiers"
    return {
        "title": f"{title} under attack: {record.data.source or record.name}",
        "heading": f"Does {title} withstand attacks on sentences?" if subject else "Text classifiers under attack",
        "record": record,
        "about": _about(record),
        "findings": adapt_findings(record),
        "spread": spread(record),
        "means": means_table(record),
        "attacks": attacks_table(record),
        "gains": gains_table(record),
        "gainer": title,
        "effort": effort_table(record),
        "adaptive": has_adaptive(record),
        "on_rows": _on_rows(record),
        "trade": trade_figure(record),
        "trade_legend": trade_legend(record),
        "cost": cost_table(record),
        "sentences": sentences,
        "open": OPEN,
        "measured_on": listed(dict.fromkeys(slot.on for slot in record.slots if slot.on)),
        "slot_legend": slot_legend(record),
        "entropy": entropy_figure(record),
        "weights": kinds_of_text(record),
        "roc": roc_table(record),
        "confusion": confusion_table(record),
        "slots": slots_table(record),
        "gather": gather_table(record),
        "attackers": attackers_table(record),
        "unconstrained": listed([attack.label or attack.name for attack in no_constraints(record)]),
        "methods": methods_table(record),
        "options": options_of(record),
        "fidelity": fidelity_notes(record),
        "failures": failures_table(record),
        "meaning": meaning(record),
        "silent": silent(record),
        "settings": _settings(record),
        "timing": [(name_of(phase), duration(seconds)) for phase, seconds in record.timing_s.items()],
        "machine": list(flatten(record.machine)),
    }


def _about(record: AdaptersRecord) -> list[tuple[str, str]]:
    """Return what stands under the heading: on what this was measured, with how many seeds, and when."""
    subject = record.subject
    own = subject is not None and subject.fidelity == "instantiation"
    facts = [
        ("study" if "methods" in record.settings else "run", record.name),
        ("backbone", _backbone(record)),
        ("data", record.data.source),
        ("seeds", count(len(record.seeds)) if record.seeds else ""),
        ("", _date(record)),
        ("", f"{method_label(record, subject.key)} is an independent instantiation" if own and subject else ""),
    ]
    return [(name, value) for name, value in facts if value]


def _backbone(record: AdaptersRecord) -> str:
    """Return the backbone as it was asked for; of a long path the end, the whole stands among the settings."""
    asked = record.settings.get("text")
    if isinstance(asked, Mapping) and asked.get("backbone") == "tiny":
        return "tiny"
    parts = PurePath(record.backbone.spec).parts
    return str(PurePath(*parts[-2:])) if len(parts) > 2 else record.backbone.spec


def _date(record: AdaptersRecord) -> str:
    try:
        when = datetime.fromisoformat(record.date)
    except ValueError:
        return record.date
    # A day without an hour has no zone either, and is shown as it is.
    return moment(when.astimezone(UTC)) if when.tzinfo is not None else f"{when.day} {when:%B %Y}"


def _on_rows(record: AdaptersRecord) -> str:
    """Return on how many test sentences each number was counted."""
    found = [
        f"clean on {count(record.rows.clean)} test sentences" if record.rows.clean else "",
        *(f"{name} on {rows_of(record, name)}" for name in ("static", "adaptive") if rows_of(record, name)),
    ]
    said = ", ".join(filter(None, found))
    return f"{said[:1].upper()}{said[1:]}, in each seed." if said else ""


def _settings(record: AdaptersRecord) -> list[tuple[str, str]]:
    backbone, data = record.backbone, record.data
    network = [
        backbone.spec,
        backbone.architecture,
        f"{count(backbone.layers)} layers" if backbone.layers else "",
        f"width {count(backbone.hidden)}" if backbone.hidden else "",
        f"{magnitude(backbone.parameters)} parameters" if backbone.parameters else "",
        f"{count(backbone.max_length)} tokens at most" if backbone.max_length else "",
    ]
    texts = [
        data.source,
        f"{count(data.train_rows)} training sentences" if data.train_rows else "",
        f"{count(data.test_rows)} test sentences" if data.test_rows else "",
        f"classes {', '.join(data.classes)}" if data.classes else "",
        f"{count(data.removed_duplicates)} that stand in both taken out" if data.removed_duplicates else "",
    ]
    shown = [
        ("Backbone", ", ".join(filter(None, network))),
        ("Backbone sha256", backbone.sha256),
        ("Data", ", ".join(filter(None, texts))),
        ("Seeds", ", ".join(map(str, record.seeds))),
        *((name.replace("_", " ").capitalize(), value) for name, value in flatten(record.settings)),
    ]
    return [(name, value) for name, value in shown if value]
