"""The page of a measurement of resistance: which teachers hold, against whom, and at what cost to their owner."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from understudy.report._format import count, duration, flatten, moment, percent
from understudy.report._page import write_page
from understudy.report._resist_figures import (
    ATTACKS_LEGEND,
    entropy_figure,
    figures_of,
    protection_figure,
    protection_legend,
)
from understudy.report._resist_findings import line_facts, resist_findings, sentence
from understudy.report._resist_lists import (
    about_teachers,
    attackers_table,
    fidelity_notes,
    short_table,
    teachers_table,
    variants_table,
)
from understudy.report._resist_meaning import meaning, silent
from understudy.report._resist_read import ResistanceRecord, parse_resistance, read_resistance
from understudy.report._resist_tables import attacks_table, failures_table, protection_table, users_table
from understudy.report._resist_words import regime_label, regime_of, regimes_in_use, spread, students_in
from understudy.report._table import Fact


def write_resistance(folder: Path, out: Path | None = None) -> Path:
    """Write the page of a measurement of resistance, by default to `resistance.html` beside its `resistance.json`.

    The page holds all it shows: it opens offline, asks no server for anything, and may be moved or mailed.

    Raises:
        ConfigError: there is no `resistance.json` in the folder.
        IntegrityError: it is damaged, or of a newer format.
        StorageError: the page cannot be written.
    """
    record = read_resistance(folder)
    config = folder / "config.toml"
    text = config.read_text(encoding="utf-8") if config.is_file() else ""
    values = {**_values(record), "config": text}
    figures = bool(values["protection_figure"] or values["entropy"] or any(one["figures"] for one in values["regimes"]))
    return write_page(out or folder / "resistance.html", "resistance.html", values, figures=figures)


def summarise_resistance(raw: object) -> list[str]:
    """Return what a measurement of resistance found, in plain sentences, from the content of its `resistance.json`.

    Raises:
        IntegrityError: the content is not that of a measurement of resistance.
    """
    return resist_findings(parse_resistance(raw, where="resistance.json")).sentences


def resistance_table(record: object) -> tuple[list[str], list[list[str]], str]:
    """Return headings, rows and caption of a short table for a terminal, from the content of a `resistance.json`.

    Raises:
        IntegrityError: the content is not that of a measurement of resistance.
    """
    table = short_table(parse_resistance(record, where="resistance.json"))
    return (
        [column.title for column in table.columns],
        [[cell.text for cell in row] for row in table.rows],
        table.caption,
    )


def _values(record: ResistanceRecord) -> dict[str, Any]:
    findings = resist_findings(record)
    names = [teacher.name for teacher in record.defended]
    return {
        "title": f"Distillation resistance: {', '.join(names) or record.name}",
        "heading": _heading(names),
        "record": record,
        "about": _about(record),
        "findings": findings,
        "facts": line_facts(findings.lines[0]) if len(findings.lines) == 1 else [],
        "meaning": meaning(record),
        "silent": silent(record),
        "spread": spread(record),
        "protection": protection_table(record),
        "every_student": protection_table(record, every=True) if _several(record) else None,
        "protection_figure": protection_figure(record),
        "protection_legend": protection_legend(record),
        "verdicts": _verdicts(record),
        "regimes": [_regime(record, name) for name in regimes_in_use(record)],
        "attacks_legend": ATTACKS_LEGEND,
        "users": users_table(record),
        "entropy": entropy_figure(record),
        "variants": variants_table(record),
        "attackers": attackers_table(record),
        "teachers": teachers_table(record),
        "fidelity": fidelity_notes(record),
        "about_teachers": about_teachers(record),
        "failures": failures_table(record),
        "settings": _settings(record),
        "machine": list(flatten(record.machine)),
        "answers": _answers(record),
    }


def _heading(names: list[str]) -> str:
    if len(names) == 1:
        return f"Does “{names[0]}” resist distillation?"
    return "Which of these teachers resist distillation?"


def _about(record: ResistanceRecord) -> list[tuple[str, str]]:
    """Return what stands under the heading: on what this was measured, with how many seeds, and when."""
    seeds = count(len(record.seeds)) if record.seeds else ""
    tested = f"{record.test.source}, {count(record.test.rows)} images" if record.test.rows else record.test.source
    facts = [
        ("", record.name),
        ("teachers trained on", record.data.source),
        ("students judged on", tested),
        ("seeds", seeds),
        ("", _date(record)),
    ]
    return [(name, value) for name, value in facts if value]


def _date(record: ResistanceRecord) -> str:
    try:
        return moment(datetime.fromisoformat(record.date).astimezone(UTC))
    except ValueError:
        return record.date


def _verdicts(record: ResistanceRecord) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return for each teacher the verdict on every student in every regime, in words."""
    found = []
    for teacher in [] if record.headline_missing else record.defended:
        verdict = record.of(teacher.name).verdict
        said = [
            (f"{regime_label(one.regime)}, {one.student}", sentence(one.words))
            for one in (verdict.findings if verdict else [])
        ]
        if said:
            found.append((teacher.name, said))
    return found if any(len(said) > 1 for _, said in found) else []


def _several(record: ResistanceRecord) -> bool:
    return any(len(students_in(record, name)) > 1 for name in regimes_in_use(record))


def _regime(record: ResistanceRecord, name: str) -> dict[str, Any]:
    """Return everything on one regime: words, figures, and a table for each student."""
    tables = [(student, attacks_table(record, name, student)) for student in students_in(record, name)]
    main, others = (figures_of(record, name, headline=headline) for headline in (True, False))
    return {
        "name": name,
        "label": regime_label(name),
        "words": _regime_words(record, name),
        "figures": main,
        "others": others,
        "tables": [(student, table) for student, table in tables if table is not None],
    }


def _regime_words(record: ResistanceRecord, name: str) -> str:
    regime = regime_of(record, name)
    facts = [
        f"{count(regime.images)} images" if regime.images else "",
        f"{count(regime.labels)} labels" if regime.labels is not None else "",
        _held_out(regime.held_out),
    ]
    said = ", ".join(filter(None, facts))
    return " ".join(filter(None, [sentence(regime.words) if regime.words else "", sentence(said) if said else ""]))


def _held_out(held_out: int | float | None) -> str:
    if not held_out:
        return ""
    share = percent(held_out, 0) if held_out < 1 else f"{count(held_out)} more"
    return f"{share} held out to choose variants"


def _settings(record: ResistanceRecord) -> list[tuple[str, str]]:
    shown = [
        ("Owner's data", _images(record.data)),
        ("Queries", _images(record.queries) if record.queries else "the owner's images"),
        ("Test", _images(record.test)),
        ("Students", ", ".join(record.students)),
        ("Seeds", ", ".join(map(str, record.seeds))),
        *((name.replace("_", " ").capitalize(), value) for name, value in flatten(record.settings)),
    ]
    return [(name, value) for name, value in shown if value]


def _images(images: Any) -> str:
    classes = images.classes if isinstance(images.classes, int) else len(images.classes or [])
    facts = [
        images.source,
        f"{images.split} split" if images.split else "",
        f"{count(images.rows)} images" if images.rows else "",
        f"{count(classes)} classes" if classes else "",
        {True: "labelled", False: "unlabelled"}.get(images.labelled, ""),
    ]
    return ", ".join(filter(None, facts))


def _answers(record: ResistanceRecord) -> list[Fact]:
    """Return what asking the teachers cost beside training the students."""
    answers = record.answers
    if answers is None:
        return []
    asked, served = answers.asked or 0, answers.served or 0
    facts = []
    if asked + served:
        facts.append(Fact("Asked of a teacher", count(asked), "answers computed, once each"))
        facts.append(
            Fact("Served from file", percent(served / (asked + served)), f"of {count(asked + served)} answers")
        )
    if answers.gather_s is not None and answers.fit_s is not None and answers.gather_s + answers.fit_s > 0:
        share = answers.gather_s / (answers.gather_s + answers.fit_s)
        facts.append(Fact("Time asking", duration(answers.gather_s), f"{percent(share)} of the whole"))
        facts.append(Fact("Time training", duration(answers.fit_s), "students"))
    return facts
