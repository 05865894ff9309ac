"""The page of an extraction audit: how good a copy queries buy, and what each defence takes from whom."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from understudy.report._audit_figures import BANDS, method_colour, quality_figure
from understudy.report._audit_findings import findings
from understudy.report._audit_ledger import curve_table, failures_table, ledger_table, methods_table, totals_table
from understudy.report._audit_numbers import NO_DEFENCE, Trade, informative, main_measure, measures, runs, trades
from understudy.report._audit_read import FIDELITY, AuditRecord, parse_audit, read_audit
from understudy.report._audit_tables import cells_table, leakage_table, short_table, trade_table
from understudy.report._audit_trade import trade_figure
from understudy.report._audit_words import MEASURE_HELP, MEASURE_NAMES, money, score_text
from understudy.report._figures import Figure
from understudy.report._format import count, flatten, percent, points
from understudy.report._page import write_page
from understudy.report._table import Fact, Table
from understudy.report._words import method_name, value_of

_CONTROLS = (
    "the network as it starts, for each seed; and the network trained without a query, for each seed and number of "
    "images, on no fewer rows than any method"
)
_LINES = {"solid": "solid", "dash": "dashed", "dot": "dotted"}


def write_audit(folder: Path) -> Path:
    """Write `audit.html` beside the `audit.json` of a folder, and return its path.

    The page holds all it shows: it opens offline, asks no server for anything, and may be moved or mailed.

    Raises:
        ConfigError: there is no `audit.json` in the folder.
        IntegrityError: it is damaged, or of a newer format.
        StorageError: the page cannot be written.
    """
    record = read_audit(folder)
    config = folder / "config.toml"
    text = config.read_text(encoding="utf-8") if config.is_file() else ""
    return write_record(record, folder / "audit.html", config=text)


def write_record(record: AuditRecord, out: Path, *, config: str) -> Path:
    """Write the page of an audit, with the configuration that runs it again, and return its path."""
    values = {**_values(record), "config": config}
    return write_page(out, "audit.html", values, figures=bool(values["figures"] or values["trade_figure"]))


def summarise_audit(raw: object) -> list[str]:
    """Return what an audit found, in plain sentences, from the content of its `audit.json`.

    Raises:
        IntegrityError: the content is not that of an audit.
    """
    return findings(parse_audit(raw, where="audit.json")).sentences


def audit_table(raw: object) -> tuple[list[str], list[list[str]], str]:
    """Return headings, rows and caption of a short table for a terminal, from the content of an `audit.json`.

    Raises:
        IntegrityError: the content is not that of an audit.
    """
    table = short_table(parse_audit(raw, where="audit.json"))
    return (
        [column.title for column in table.columns],
        [[cell.text for cell in row] for row in table.rows],
        table.caption,
    )


def _values(record: AuditRecord) -> dict[str, Any]:
    measure = main_measure(record)
    found = trades(record, measure)
    first = next((trade for trade in found if trade.defence == NO_DEFENCE), found[0] if found else None)
    figures = _quality(record, first.defence) if first else []
    return {
        "title": f"Extraction audit of {record.target.name}",
        "record": record,
        "findings": findings(record),
        "facts": _facts(record, first, measure),
        "words": _words(record),
        "measure": MEASURE_NAMES.get(measure, measure) + (f" on {record.probe}" if record.probe else ""),
        "undefended": first is not None and first.defence == NO_DEFENCE,
        "spread": _spread(record),
        "legend": _legend(record),
        "figures": figures,
        "behind": _behind(record, found, first, measure),
        "tables": _tables(record),
        "trade_figure": trade_figure(found),
        "trades": trade_table(record, found, measure) if found else None,
        "leakage": leakage_table(record, found, measure) if found else None,
        "curves": curve_table(record, measure) if found else None,
        "totals": totals_table(record),
        "ledger": ledger_table(record),
        "spent": money(record, sum(cell.queries for cell in runs(record))),
        "price": money(record, 1000),
        "methods": methods_table(record),
        "failures": failures_table(record) if record.failures else None,
        "how": _how(record),
        "machine": list(flatten(record.machine)),
    }


def _quality(record: AuditRecord, defence: str) -> list[Figure]:
    """Return the figures of quality over queries: every measure on the main data set, one on each of the others."""
    found = [
        quality_figure(record, defence, record.probe, name, title=_on(record, name, record.probe))
        for name in measures(record, record.probe)
    ]
    for other in record.sources[1:]:
        name = next((name for name in measures(record, other) if name != FIDELITY), FIDELITY)
        found.append(quality_figure(record, defence, other, name, title=_on(record, name, other)))
    return [figure for figure in found if figure is not None]


def _on(record: AuditRecord, measure: str, probe: str) -> str:
    name = MEASURE_NAMES.get(measure, measure)
    return name if measure == FIDELITY or len(record.sources) == 1 else f"{name} on {probe}"


def _behind(record: AuditRecord, found: Sequence[Trade], first: Trade | None, measure: str) -> list[Figure]:
    drawn = [
        quality_figure(record, trade.defence, record.probe, measure, title=trade.defence, noted=False)
        for trade in found
        if trade is not first
    ]
    return [figure for figure in drawn if figure is not None]


def _tables(record: AuditRecord) -> list[tuple[str, list[tuple[str, Table]]]]:
    """Return for each data set the tables by defence."""
    found = []
    for probe in record.sources:
        tables = ((defence, cells_table(record, defence, probe)) for defence in record.defences)
        found.append((probe, [(defence, table) for defence, table in tables if table is not None]))
    return found


def _spread(record: AuditRecord) -> str:
    """Say what the ranges on the page are, which depends on the number of seeds."""
    seeds = len(record.seeds)
    if seeds > 2:
        return f"95 % intervals of the mean over {count(seeds)} seeds"
    return "the range of the two seeds" if seeds == 2 else "95 % intervals within the one seed"


def _legend(record: AuditRecord) -> list[tuple[str, str, str]]:
    named = [(method_name(name), method_colour(record, name), "solid") for name in record.methods]
    return named + [(name, colour, _LINES[line]) for name, colour, line in BANDS]


def _facts(record: AuditRecord, trade: Trade | None, measure: str) -> list[Fact]:
    if trade is None or not informative(record):
        return []
    target = record.target_scores.get(record.probe, {}).get(measure)
    own, gain = value_of(trade.score), value_of(trade.gain)
    floor = None if own is None or gain is None else own - gain
    name = MEASURE_NAMES.get(measure, measure).lower()
    return [
        Fact("Best copy", score_text(own, measure), f"{method_name(trade.best.method)}, {name}"),
        Fact("Target", score_text(value_of(target), measure), "what was to be copied"),
        Fact("Without queries", score_text(floor, measure), "same network, same images"),
        Fact("Leakage", points(gain), "best copy above that"),
        Fact("Queries", count(trade.best.queries), f"of the best copy{_priced(record, trade)}"),
    ]


def _priced(record: AuditRecord, trade: Trade) -> str:
    if record.price_per_1000 is None:
        return ""
    return f", {money(record, trade.best.queries)} at {money(record, 1000)} per 1,000"


def _words(record: AuditRecord) -> list[tuple[str, str]]:
    measure = main_measure(record)
    probe = f"how useful features are on {record.probe}: {MEASURE_HELP.get(measure, measure)}."
    return [
        ("Target", "the encoder behind the endpoint: it turns an image into a list of numbers, its features."),
        ("Query", "one image sent to the target and answered. Ten crops of one image are ten queries."),
        ("Copy", "a network that starts from random weights and is trained to answer like the target (a surrogate)."),
        *([("Probe", probe)] if record.probe else []),
        ("Fidelity", f"{MEASURE_HELP[FIDELITY]}. A copy can be useful without being faithful."),
        ("No-query control", "the same network, trained on the same images, that never asked the target anything."),
        ("Leakage", "score of the copy above that control: what the answers gave away."),
        ("Honest client", "one who uses the answers as they are for a classifier of its own, and copies nothing."),
    ]


def _how(record: AuditRecord) -> list[tuple[str, str]]:
    target = record.target
    shape = " x ".join(map(str, target.input_shape))
    facts = [
        ("Target", " ".join(filter(None, [target.name, f"({target.spec})" if target.spec else ""]))),
        ("Access", target.access),
        ("Input and output", f"{shape} in, {target.width} numbers out" if shape and target.width else ""),
        ("SHA-256 of the target", target.sha256),
        ("Copy (surrogate)", record.surrogate),
        ("Query images", _source(record.queries.source, record.queries.rows, record.queries.adapted)),
        *(("Probe data", _probe(one)) for one in record.probes),
        ("Seeds", ", ".join(map(str, record.seeds))),
        ("Budgets", ", ".join(count(budget) for budget in record.budgets)),
        ("Declared before the run", _declared(record)),
        ("Controls", _CONTROLS),
    ]
    return [(name, value) for name, value in facts if value]


def _declared(record: AuditRecord) -> str:
    name = MEASURE_NAMES.get(record.measure, record.measure).lower()
    return f"the main measure is the {name}; {percent(record.copied_frac, 0)} of the gap counts as copied"


def _source(source: str, rows: int | None, adapted: str | None) -> str:
    return "; ".join(filter(None, [f"{source}, {count(rows)} images" if rows else source, adapted or ""]))


def _probe(one: Any) -> str:
    rows = f"{count(one.train_rows)} images to train on, {count(one.test_rows)} to test on" if one.train_rows else ""
    classes = f"{count(one.classes)} classes (guessing: {percent(1 / one.classes)})" if one.classes else ""
    return "; ".join(filter(None, [one.source, classes, rows, one.adapted or ""]))
