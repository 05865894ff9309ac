"""The page of one run: what came out, against which controls, at what cost, and how to run it again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from understudy.catalogue import entries
from understudy.report._adapt_read import is_adapters
from understudy.report._classes import confusion_figures, differences, per_class_figure
from understudy.report._curves import fit_figures, synthesis_figures
from understudy.report._format import (
    DASH,
    count,
    decimal,
    duration,
    flatten,
    magnitude,
    moment,
    name_of,
    percent,
    size,
)
from understudy.report._page import write_page
from understudy.report._read import ModelFacts, Result, RunRecord, Score, read_run
from understudy.report._resist_read import is_resistance
from understudy.report._resist_run import (
    entropy_table,
    protection_values,
    resist_command,
    resist_doubts,
    resist_facts,
    resist_sentences,
    support_figure,
    support_sentence,
)
from understudy.report._robust_read import is_robustness
from understudy.report._robust_run import (
    answers_fact,
    evaluate_command,
    robust_facts,
    robust_sentences,
    robust_table,
)
from understudy.report._robust_words import attacker
from understudy.report._samples import Gallery, gallery
from understudy.report._table import Cell, Column, Fact, Table, interval_cell, with_marks
from understudy.report._words import fidelity_words, heading, noise_verdict, retention, role_colour, sentences
from understudy.report.adapters import write_adapters
from understudy.report.attacked import is_attacked, write_attacked
from understudy.report.extraction import is_extraction, write_extraction_report
from understudy.report.resistance import write_resistance
from understudy.report.robustness import write_robustness_report


def write_report(run_folder: Path, out: Path | None = None) -> Path:
    """Write the page of a finished run, by default to `report.html` in its folder, and return its path.

    The page holds all it shows: it opens offline, asks no server for anything, and may be moved or mailed.

    Raises:
        ConfigError: the folder is no run folder, or its run is not finished.
        IntegrityError: a file of the run is damaged, or of a newer format.
        StorageError: the page cannot be written.
    """
    if is_extraction(run_folder):
        return write_extraction_report(run_folder, out)
    if is_adapters(run_folder):
        return write_adapters(run_folder, out)
    if is_attacked(run_folder):
        return write_attacked(run_folder, out)
    if is_robustness(run_folder):
        return write_robustness_report(run_folder, out)
    if is_resistance(run_folder):
        return write_resistance(run_folder, out)
    run = read_run(run_folder)
    values = _values(run)
    drawn = ("fit", "synthesis", "confusions", "per_class", "support")
    figures = any(values[name] for name in drawn)
    return write_page(out or run.folder / "report.html", "run.html", values, figures=figures)


def _gallery(run: RunRecord) -> Gallery:
    options = run.config.get("run")
    if isinstance(options, Mapping) and options.get("previews") is False:
        return Gallery([], "The run was asked to show no samples (--no-previews).")
    return gallery(run.folder, run.result.data.classes if run.result.data else [])


def _values(run: RunRecord) -> dict[str, Any]:
    result = run.result
    return {
        "title": f"{heading(result)} · {run.name}",
        "heading": heading(result),
        "run": run,
        "result": result,
        "method": entries().get(result.method),
        "about": _summary_line(result),
        "fidelity": fidelity_words(result),
        "fidelity_word": "independent instantiation" if result.fidelity == "instantiation" else result.fidelity,
        "date": moment(run.started),
        "sentences": resist_sentences(result) or robust_sentences(result) or sentences(result),
        "doubts": resist_doubts(result),
        "doubt": noise_verdict(result) in ("as good", "unclear"),
        "facts": _facts(result),
        "summary": summary_table(result),
        "robust": robust_table(result),
        **_attacked(result),
        "evaluate": evaluate_command(result, run.folder),
        **_protected(run),
        "cost": _cost(result),
        "timings": _timings(result),
        "fit": fit_figures(run.events),
        "synthesis": synthesis_figures(run.events),
        "gallery": _gallery(run),
        "confusions": confusion_figures(result),
        "per_class": per_class_figure(result),
        "differences": differences(result),
        "config": list(flatten(run.config)),
        "environment": list(flatten(run.environment)),
        "command": str(run.environment.get("command") or ""),
    }


def _summary_line(result: Result) -> str:
    """Return what the method does, without its name where the heading has it."""
    row = entries().get(result.method)
    said = row.summary.removeprefix(f"{heading(result)}: ") if row else ""
    return f"{said[:1].upper()}{said[1:]}"


def _attacked(result: Result) -> dict[str, str]:
    """Return who attacked, and on how many images."""
    look = next((score.robust for score in result.scores.values() if score.robust is not None), None)
    return {"attacker": attacker(look) if look else "", "looked_at": count(look.rows) if look else ""}


def _protected(run: RunRecord) -> dict[str, Any]:
    """Return what the page of a protected teacher has beside that of other runs; nothing of it for those."""
    result = run.result
    return {
        "protection": protection_values(result) if result.resistance is not None else [],
        "entropy": entropy_table(result),
        "support": support_figure(result),
        "support_sentence": support_sentence(result),
        "resist": resist_command(result, run.folder),
    }


def summary_table(result: Result) -> Table:
    """Return the scores and costs of teacher, student and controls, a row for each."""
    columns = [
        Column("Model", numeric=False),
        Column("Accuracy", "share of real images on which the class is right, with its 95 % Wilson interval"),
        Column("Agreement", "share of real images on which the class is the teacher's, with its 95 % interval"),
        Column("KL", "mean divergence of the answers from the teacher's, in nats"),
        Column("NLL", "mean negative log-likelihood of the true class, in nats"),
        Column("ECE", "expected calibration error: how far confidence is from accuracy"),
        Column("Parameters"),
        Column("MACs", "multiply-accumulates for one image"),
        Column("Images/s", "measured on the machine of this run"),
    ]
    keys = [key for key in ("teacher", result.subject) if key in result.scores or key in result.models]
    rows = [
        _summary_row(key, result.scores.get(key, Score()), result.models.get(key, ModelFacts()))
        for key in [*keys, *result.controls]
    ]
    return with_marks(Table(columns, rows, caption="Scores of every model"))


def _summary_row(key: str, score: Score, model: ModelFacts) -> list[Cell]:
    return [
        Cell(name_of(key), note=model.spec or "", colour=role_colour(key)),
        interval_cell(score.accuracy),
        interval_cell(score.agreement),
        Cell(decimal(score.kl_from_teacher)),
        Cell(decimal(score.nll)),
        Cell(decimal(score.ece)),
        Cell(magnitude(model.parameters)),
        Cell(magnitude(model.macs)),
        Cell(magnitude(model.images_per_s)),
    ]


def _facts(result: Result) -> list[Fact]:
    facts = []
    score = result.score
    if result.data is not None:
        named = (result.measured_by or "accuracy").capitalize()
        facts.append(Fact(named, interval_cell(score.accuracy).text, interval_cell(score.accuracy).note))
        facts += [*resist_facts(result), *robust_facts(result)]
        if score.agreement is not None:
            facts.append(Fact("Agreement", interval_cell(score.agreement).text, interval_cell(score.agreement).note))
        if retention(result) is not None:
            facts.append(Fact("Retention", percent(retention(result)), "of the teacher's accuracy"))
    if result.synthetic is not None and result.synthetic.agreement is not None:
        cell = interval_cell(result.synthetic.agreement)
        facts.append(Fact("Agreement, synthetic", cell.text, "on held-out samples"))
    return facts


def _cost(result: Result) -> list[Fact]:
    shown = "samples × steps" if result.samples else "images that it was shown"
    facts = [
        Fact("Samples", count(result.samples), "drawn from the teacher"),
        Fact("Teacher evaluations", count(result.teacher_evaluations), shown),
        *answers_fact(result.answers),
        Fact("Bank", size(result.bank_bytes), "on disk"),
        Fact("Time", duration(sum(filter(None, result.timing_s.values())) or None), "all phases"),
    ]
    return [fact for fact in facts if fact.value != DASH]


def _timings(result: Result) -> Table | None:
    total = sum(filter(None, result.timing_s.values()))
    if not total:
        return None
    rows = [
        [Cell(name_of(phase)), Cell(duration(seconds)), Cell(percent((seconds or 0) / total))]
        for phase, seconds in result.timing_s.items()
    ]
    return Table([Column("Phase", numeric=False), Column("Time"), Column("Share")], rows, caption="Time by phase")
