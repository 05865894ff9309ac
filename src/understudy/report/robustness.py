"""The page of an evaluation under attack: what stays right, against which attacker, and whether it can be believed."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from understudy.report._format import count, flatten, moment
from understudy.report._page import write_page
from understudy.report._robust_checks import checks_sentence, checks_table, plain_value
from understudy.report._robust_figures import class_sentence, classes_figure, epsilon_figure
from understudy.report._robust_findings import flag_title, main_pairs, pair_sentence, robust_findings, spared
from understudy.report._robust_images import exhibits
from understudy.report._robust_meaning import meaning, silent
from understudy.report._robust_read import RobustRecord, RobustScores, parse_robustness, read_robustness
from understudy.report._robust_tables import attacks_table, classes_table, models_table, pairs_table, scores_table
from understudy.report._robust_transfer import parting_classes, parting_sentences, parting_table, transfer_sentences
from understudy.report._robust_words import (
    epsilon_text,
    in_sentence,
    listed,
    norm_text,
    page_name,
    trained_by,
)
from understudy.report._table import Fact, interval_cell
from understudy.report._words import value_of
from understudy.runs.files import read_json


def write_robustness_report(folder: Path, out: Path | None = None) -> Path:
    """Write the page of an evaluation, by default to `robustness.html` beside its `robustness.json`.

    The page holds all it shows: it opens offline, asks no server for anything, and may be moved or mailed.

    Raises:
        ConfigError: there is no `robustness.json` in the folder.
        IntegrityError: it is damaged, or of a newer format.
        StorageError: the page cannot be written.
    """
    record = read_robustness(folder)
    config = folder / "config.toml"
    text = config.read_text(encoding="utf-8") if config.is_file() else ""
    values = {**_values(record, folder), "config": text}
    figures = bool(values["epsilon"] or values["by_class"])
    return write_page(out or folder / "robustness.html", "robustness.html", values, figures=figures)


def summarise_robustness(raw: object) -> list[str]:
    """Return what an evaluation found, in plain sentences, from the content of its `robustness.json`.

    Raises:
        IntegrityError: the content is not that of an evaluation under attack.
    """
    return robust_findings(parse_robustness(raw, where="robustness.json")).sentences


def _values(record: RobustRecord, folder: Path) -> dict[str, Any]:
    name, main = page_name(record), main_pairs(record)
    return {
        "title": f"Robustness of {name or 'a network'}",
        "name": name,
        "record": record,
        "about": _about(record),
        "findings": robust_findings(record),
        "facts": _facts(record),
        "meaning": meaning(record),
        "silent": silent(record),
        "flags": [(flag_title(flag), flag, _flag_values(record, flag)) for flag in record.flags],
        "checks": checks_table(record),
        "checks_sentence": checks_sentence(record),
        "scores": scores_table(record),
        "attacks": attacks_table(record),
        "exhibits": exhibits(record, folder),
        "epsilon": epsilon_figure(record),
        "by_class": classes_figure(record),
        "class_sentence": class_sentence(record),
        "classes": classes_table(record),
        "pairs": pairs_table(record, main),
        "other_pairs": pairs_table(record, [pair for pair in record.paired if pair not in main]),
        "pair_sentences": [pair_sentence(record, pair) for pair in main],
        "transfer": transfer_sentences(record),
        "parting": parting_table(record),
        "parting_classes": parting_classes(record),
        "parting_sentences": parting_sentences(record),
        "models": models_table(record),
        "settings": _settings(record),
        "versions": list(flatten(_versions(record))),
        "command": _command(record, folder),
    }


def _about(record: RobustRecord) -> list[tuple[str, str]]:
    """Return what stands under the heading: who trained the network, on what it was judged, and when."""
    facts = [
        ("trained with", trained_by(record, record.subject)),
        ("images", f"{record.data.source}, {record.data.split} split"),
        ("attacker", f"{norm_text(record.threat)}, {epsilon_text(record.threat)}"),
        ("", _date(record)),
    ]
    return [(name, value) for name, value in facts if value]


def _date(record: RobustRecord) -> str:
    try:
        return moment(datetime.fromisoformat(record.date).astimezone(UTC))
    except ValueError:
        return record.date


def _facts(record: RobustRecord) -> list[Fact]:
    scores = record.scores.get(record.subject, RobustScores())
    clean, worst = interval_cell(scores.clean), interval_cell(scores.worst)
    facts = [Fact("Clean accuracy", clean.text, clean.note)]
    if value_of(scores.worst) is None:
        return facts
    if record.verdict is None:
        facts.append(Fact("Right under attack", worst.text, "no verdict: a red flag stands"))
    else:
        facts.append(Fact("Robust accuracy", worst.text, worst.note))
    teacher = record.teacher
    own = interval_cell(record.scores[teacher].worst) if teacher in record.scores else None
    if teacher is not None and own is not None and own.interval is not None:
        missing = spared(record, teacher)
        facts.append(Fact("Teacher under attack", own.text, f"without {listed(missing)}" if missing else own.note))
    of = f"of {count(record.data.of)}" if record.data.of and record.data.of > record.data.rows else ""
    facts.append(Fact("Images", count(record.data.rows), of or f"{record.data.split} split"))
    return facts


def _flag_values(record: RobustRecord, flag: Any) -> list[tuple[str, str]]:
    values = [
        ("found in", in_sentence(record, flag.model) if flag.model else ""),
        ("measured", "" if flag.measured is None else plain_value(flag.measured)),
        ("expected", "" if flag.expected is None else plain_value(flag.expected)),
    ]
    return [(name, value) for name, value in values if value]


def _settings(record: RobustRecord) -> list[tuple[str, str]]:
    own = {name: value for name, value in record.settings.items() if name not in ("versions", "command")}
    of = f" of {count(record.data.of)}" if record.data.of else ""
    facts = [
        (
            "Norm and size of the change",
            f"{norm_text(record.threat)}, {epsilon_text(record.threat)}",
        ),
        ("Images", f"{record.data.source}, {record.data.split} split: {count(record.data.rows)}{of}"),
        *((name.replace("_", " ").capitalize(), value) for name, value in flatten(own)),
    ]
    hashes = [
        (f"SHA-256 of {in_sentence(record, key)}", network.sha256)
        for key, network in record.models.items()
        if network.sha256
    ]
    return [*facts, *hashes]


def _versions(record: RobustRecord) -> Mapping[str, object]:
    found = record.settings.get("versions")
    return found if isinstance(found, Mapping) else {}


def _command(record: RobustRecord, folder: Path) -> str:
    """Return the command as the evaluation states it, or as its environment has it."""
    path = folder / "environment.json"
    found = read_json(path) if path.is_file() else {}
    typed = found.get("command") if isinstance(found, Mapping) else None
    return str(record.settings.get("command") or typed or "")
