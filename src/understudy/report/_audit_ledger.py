"""Tables on what an audit asked for and what it was done with: efficiency of the queries, ledger, methods."""

from collections.abc import Callable, Sequence

from understudy.catalogue import entries
from understudy.report._audit_curves import curves
from understudy.report._audit_figures import method_colour
from understudy.report._audit_numbers import groups, runs
from understudy.report._audit_read import AuditCell, AuditRecord, Counts
from understudy.report._audit_tables import same, score_cell
from understudy.report._audit_words import money, rounded
from understudy.report._format import DASH, count, flatten, percent
from understudy.report._table import Cell, Column, Table
from understudy.report._words import FIDELITY as FIDELITY_WORDS
from understudy.report._words import method_name


def curve_table(record: AuditRecord, measure: str) -> Table:
    """Return area under the curve, and queries to close the declared share of the gap."""
    share = percent(record.copied_frac, 0)
    columns = [
        Column("Method", numeric=False),
        Column("Defence", numeric=False),
        Column("Area", "mean score over the logarithm of the queries, from the fewest to the most of the whole audit"),
        Column(f"Queries for {share}", f"to go {share} of the way from the no-query control to the target"),
        Column("Farthest", "largest part of that way that was gone"),
        *([Column("Cost", f"of the queries for {share}")] if record.price_per_1000 is not None else []),
    ]
    rows = []
    for one in curves(record, measure):
        at = one.copied_at
        reached = "not reached" if at is None else f"at most {count(at)}" if one.at_first else count(rounded(at))
        row = [
            Cell(method_name(one.method), colour=method_colour(record, one.method)),
            Cell(one.defence),
            score_cell(one.area, measure),
            Cell(reached if one.gap is not None else DASH),
            Cell(percent(None if one.gap is None else max(one.gap, 0.0), 0)),
        ]
        rows.append(
            row + ([Cell(DASH if at is None else money(record, at))] if record.price_per_1000 is not None else [])
        )
    return Table(columns, rows, caption="Efficiency of the queries")


_LEDGER: tuple[tuple[str, str, Callable[[Counts], int]], ...] = (
    ("Charged", "rows that count against the budget", lambda one: one.rows),
    ("Requests", "calls of the endpoint; one holds many rows", lambda one: one.requests),
    ("Distinct", "different inputs among the charged rows", lambda one: one.distinct),
    ("Repeated", "charged rows whose input had been asked before", lambda one: one.repeated),
    ("Replayed", "answered again from file, and not charged", lambda one: one.replayed),
    ("Unanswered", "charged, and no answer is on file", lambda one: one.unanswered + one.failed),
)


def totals_table(record: AuditRecord) -> Table:
    """Return the accounts of each method, of all runs together, and that of the evaluation, which stands apart."""
    columns = [Column("Account", numeric=False), *_ledger_columns(record)]
    rows = []
    for method in record.methods:
        mine = [_account(cell) for cell in runs(record) if cell.method == method]
        if mine:
            rows.append(
                _total(record, method_name(method), _runs(len(mine)), mine, colour=method_colour(record, method))
            )
    every = [_account(cell) for cell in runs(record)]
    rows.append(_total(record, "All copiers", _runs(len(every)), every))
    aside = [cell.ledger["evaluation"] for cell in runs(record) if "evaluation" in cell.ledger]
    if record.evaluation is not None:
        aside = [record.evaluation]
    if aside:
        note = "the owner's own measuring, charged to no copier"
        rows.append(_total(record, "Evaluation account", note, aside, priced=False))
    return Table(columns, rows, caption="Ledger, totals")


def ledger_table(record: AuditRecord) -> Table:
    """Return the account of every run; runs that differ in their seed alone share a line."""
    columns = [Column("Run", numeric=False), *_ledger_columns(record)]
    rows = []
    for group in groups(record):
        accounts = [_account(cell) for cell in group.cells]
        seeds = len(group.cells)
        each = f"seed {group.cells[0].seed}" if seeds == 1 else f"each of {seeds} seeds"
        row = [
            Cell(
                f"{method_name(group.method)}, {group.budget}",
                note=f"{group.defence}, {each}",
                colour=method_colour(record, group.method),
            )
        ]
        row += [Cell(same([read(one) for one in accounts])) for _, _, read in _LEDGER]
        rows.append(row + _cost(record, group.queries))
    return Table(columns, rows, caption="Ledger of every run")


def _ledger_columns(record: AuditRecord) -> list[Column]:
    priced = [Column("Cost")] if record.price_per_1000 is not None else []
    return [*(Column(title, text) for title, text, _ in _LEDGER), *priced]


def _account(cell: AuditCell) -> Counts:
    return cell.ledger.get("extraction", Counts(rows=cell.queries))


def _runs(number: int) -> str:
    return "1 run" if number == 1 else f"{count(number)} runs"


def _total(
    record: AuditRecord, name: str, note: str, accounts: Sequence[Counts], *, colour: str = "", priced: bool = True
) -> list[Cell]:
    row = [
        Cell(name, note=note, colour=colour),
        *(Cell(count(sum(read(one) for one in accounts))) for _, _, read in _LEDGER),
    ]
    return row + _cost(record, sum(one.rows for one in accounts) if priced else None)


def methods_table(record: AuditRecord) -> Table:
    """Return each method with its paper, how faithful it is, and the values that the audit set."""
    columns = [
        Column(title, numeric=False) for title in ("Method", "What it does", "Fidelity", "Values set by this audit")
    ]
    rows = []
    for name in record.methods:
        row = entries().get(name)
        word = row.fidelity if row else DASH
        values = [f"{key} = {value}" for key, value in flatten(record.options.get(name, {}))]
        listed = ", ".join([*([f"preset {record.preset}"] if record.preset else []), *values])
        rows.append(
            [
                Cell(method_name(name), colour=method_colour(record, name)),
                Cell(row.summary if row else DASH, note=row.paper if row else ""),
                Cell(word, note=FIDELITY_WORDS.get(word, "")),
                Cell(listed or "none: all defaults"),
            ]
        )
    return Table(columns, rows, caption="Methods")


def failures_table(record: AuditRecord) -> Table:
    """Return the runs that could not be finished, and why."""
    columns = [Column("Run", numeric=False), Column("Seed"), Column("What happened", numeric=False)]
    rows = [
        [
            Cell(method_name(one.method), note=f"budget {count(one.budget)}, {one.defence}"),
            Cell(str(one.seed)),
            Cell(one.error),
        ]
        for one in record.failures
    ]
    return Table(columns, rows, caption="Runs that could not be finished")


def _cost(record: AuditRecord, queries: int | float | None) -> list[Cell]:
    if record.price_per_1000 is None:
        return []
    return [Cell(DASH if queries is None else money(record, queries))]
