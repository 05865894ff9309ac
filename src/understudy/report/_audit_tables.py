"""Tables of an audit: scores of every cell, trades, leakage, areas, and the ledger."""

from collections.abc import Sequence

from understudy.report._audit_figures import method_colour
from understudy.report._audit_numbers import (
    NO_DEFENCE,
    Trade,
    control,
    groups,
    honest,
    main_measure,
    measures,
    near_chance,
)
from understudy.report._audit_read import FIDELITY, AuditRecord, ControlScore
from understudy.report._audit_words import MEASURE_HELP, MEASURE_NAMES, money, range_text, score_text, verdict
from understudy.report._format import DASH, NBSP, count, points
from understudy.report._read import Interval
from understudy.report._table import Cell, Column, Table, points_range
from understudy.report._words import method_name, value_of

_LEAKAGE = "main measure of the copy minus that of a network trained on the same images without queries"


def cells_table(record: AuditRecord, defence: str, probe: str) -> Table | None:
    """Return the scores of all runs under one defence on one data set, over their seeds, below the controls."""
    mine = [group for group in groups(record) if group.defence == defence]
    if not mine:
        return None
    taken = measures(record, probe)
    main = taken[0] if taken else FIDELITY
    columns = [
        Column("Copy", numeric=False),
        Column("Queries", "rows that the target was asked for, mean over seeds"),
        Column("Images", "different images behind the queries"),
        *(Column(MEASURE_NAMES.get(name, name), MEASURE_HELP.get(name, "")) for name in taken),
        Column("Leakage", _LEAKAGE),
        *([Column("Cost")] if record.price_per_1000 is not None else []),
    ]
    rows = [*_control_rows(record, defence, probe, taken)]
    for group in mine:
        gain = group.gain(probe, main)
        row = [
            Cell(
                method_name(group.method),
                note=group.budget,
                colour=method_colour(record, group.method),
            ),
            Cell(count(group.queries), note="partial" if any(cell.partial for cell in group.cells) else ""),
            Cell(same([cell.images for cell in group.cells])),
            *(score_cell(group.score(probe, name), name) for name in taken),
            Cell(points(value_of(gain)), note=points_range(gain)),
        ]
        rows.append(row + ([Cell(money(record, group.queries))] if record.price_per_1000 is not None else []))
    return Table(columns, rows, caption=f"Scores on {probe}, defence {defence}")


def _control_rows(record: AuditRecord, defence: str, probe: str, taken: Sequence[str]) -> list[list[Cell]]:
    """Return what the copies stand beside: target and controls in the first table, the honest client in the others."""
    served = {name: honest(record, defence, probe, name) for name in taken}
    listed = [("Honest client", "the answers as features", "", served)]
    if defence == record.defences[0]:
        target = {name: record.target_scores.get(probe, {}).get(name) for name in taken}
        listed = [
            ("Target", "its own features, undefended", "ink", target),
            *(listed if defence != NO_DEFENCE else []),
            ("No-query control", "trained without asking", "c2", _of(record.controls.no_query, probe, taken)),
            ("Untrained network", "as it is initialised", "c6", _of(record.controls.random, probe, taken)),
        ]
    rest = [Cell(DASH)] * (2 if record.price_per_1000 is not None else 1)
    return [
        [
            Cell(name, note=note, colour=colour),
            Cell(DASH),
            Cell(DASH),
            *(score_cell(scores[key], key) for key in taken),
            *rest,
        ]
        for name, note, colour, scores in listed
        if any(value_of(score) is not None for score in scores.values())
    ]


def trade_table(record: AuditRecord, found: Sequence[Trade], measure: str) -> Table:
    """Return for each defence the best copy, what it gained and lost, and what an honest client is left with."""
    columns = [
        Column("Defence", numeric=False),
        Column("Best copy", "highest score of any method with any of the budgets"),
        Column("by", numeric=False),
        Column("Copier's gain", _LEAKAGE),
        Column("Copier loses", "against the best copy without a defence"),
        Column("Honest client", "a classifier on the defended answers themselves"),
        Column("Honest client loses", "against the undefended answers"),
        Column("On balance", numeric=False),
    ]
    rows = []
    for trade in found:
        facts = record.about_defences.get(trade.defence)
        near = near_chance(record, trade.honest, measure)
        rows.append(
            [
                Cell(trade.defence, note=facts.words if facts else ""),
                score_cell(trade.score, measure),
                Cell(
                    method_name(trade.best.method),
                    note=f"{count(trade.best.queries)} queries",
                    colour=method_colour(record, trade.best.method),
                ),
                Cell(points(value_of(trade.gain)), note=points_range(trade.gain)),
                Cell(DASH if trade.copier_loss is None else points(trade.copier_loss, signed=False)),
                score_cell(trade.honest, measure),
                Cell(
                    DASH if trade.honest_loss is None else points(trade.honest_loss, signed=False),
                    note="near guessing" if near else "",
                ),
                Cell(verdict(trade)),
            ]
        )
    return Table(columns, rows, caption="What each defence takes, and from whom")


def leakage_table(record: AuditRecord, found: Sequence[Trade], measure: str) -> Table:
    """Return the gain of each method under each defence, its best budget each, and the maximum over methods."""
    columns = [Column("Method", numeric=False), *(Column(trade.defence) for trade in found)]
    tops = {trade.defence: _highest_gains(record, trade.defence, measure) for trade in found}
    rows = [
        [
            Cell(method_name(name), colour=method_colour(record, name)),
            *(_gain_cell(top.get(name)) for top in tops.values()),
        ]
        for name in record.methods
    ]
    highest = [max(top.values(), default=None) for top in tops.values()]
    rows.append([Cell("Highest", note="over all methods"), *map(_gain_cell, highest)])
    return Table(columns, rows, caption="Leakage by method and defence")


def _highest_gains(record: AuditRecord, defence: str, measure: str) -> dict[str, tuple[float, float]]:
    """Return (gain, queries) of each method's best budget."""
    found: dict[str, tuple[float, float]] = {}
    for group in groups(record):
        gain = value_of(group.gain(record.probe, measure))
        if group.defence == defence and gain is not None:
            found[group.method] = max((gain, group.queries), found.get(group.method, (gain, group.queries)))
    return found


def _gain_cell(gain: tuple[float, float] | None) -> Cell:
    return Cell(DASH) if gain is None else Cell(points(gain[0]), note=f"{count(gain[1])} queries")


def short_table(record: AuditRecord) -> Table:
    """Return the main measure of every point of the grid, means over the seeds, with as little as a terminal holds."""
    measure, probe, priced = main_measure(record), record.probe, record.price_per_1000 is not None
    name = MEASURE_NAMES.get(measure, measure).removesuffix(" probe")
    titles = ["", "Defence", "Queries", name, "Gain", "Honest", "Cosine"]
    columns = [Column(title) for title in [*titles, *(["Cost"] if priced else [])]]
    target = record.target_scores.get(probe, {}).get(measure)
    rows = [["target", "", "", score_text(value_of(target), measure), "", "", ""]]
    for title, which in (("no queries", record.controls.no_query), ("untrained", record.controls.random)):
        score, cosine = (value_of(control(which, probe, one)) for one in (measure, FIDELITY))
        rows.append([title, "", "", score_text(score, measure), "", "", score_text(cosine, FIDELITY)])
    for group in groups(record):
        gain, served = value_of(group.gain(probe, measure)), value_of(honest(record, group.defence, probe, measure))
        rows.append(
            [
                method_name(group.method),
                group.defence,
                count(group.queries),
                score_text(value_of(group.score(probe, measure)), measure),
                DASH if gain is None else points(gain).partition(NBSP)[0],
                score_text(served, measure),
                score_text(value_of(group.score(probe, FIDELITY)), FIDELITY),
                *([money(record, group.queries).partition(NBSP)[0]] if priced else []),
            ]
        )
    whole = [[*row, *[""] * (len(columns) - len(row))] for row in rows]
    caption = (
        f"{name}: {MEASURE_NAMES.get(measure, measure).lower()} on {probe or 'no data'}; gain: points above the one "
        "without queries; honest: an honest client, same defence; cosine: mean, with the target's answers"
    )
    return Table(columns, [[Cell(text.replace(NBSP, " ")) for text in row] for row in whole], caption=caption)


def score_cell(interval: Interval | None, measure: str) -> Cell:
    """Return a cell with a score, and its range as the second line."""
    value = value_of(interval)
    if interval is None or value is None:
        return Cell(DASH)
    return Cell(score_text(value, measure), note=range_text(interval, measure), interval=interval)


def _of(which: Sequence[ControlScore], probe: str, taken: Sequence[str]) -> dict[str, Interval | None]:
    return {name: control(which, probe, name) for name in taken}


def same(values: Sequence[int]) -> str:
    """Return the number that all seeds share, or the range of them."""
    low, high = min(values), max(values)
    return count(low) if low == high else f"{count(low)} to {count(high)}"
