"""What was checked of an evaluation under attack, so that its number can be believed."""

from understudy.report._format import DASH, NBSP, count, decimal, name_of
from understudy.report._robust_read import Check, RobustRecord
from understudy.report._robust_words import listed, model_name
from understudy.report._table import Cell, Column, Table


def checks_table(record: RobustRecord) -> Table | None:
    """Return what was checked of the evaluation itself: a row for each check, a column for each network."""
    if not record.checks:
        return None
    names = list(dict.fromkeys(check.name for check in record.checks))
    keys = list(dict.fromkeys(check.model for check in record.checks))
    found = {(check.name, check.model): check for check in record.checks}
    expected = {check.name: check.what for check in record.checks if check.what}
    columns = [Column("Check", numeric=False)]
    columns += [Column(model_name(record, key) if key else "Outcome", numeric=False) for key in keys]
    rows = [
        [Cell(name_of(name), note=expected.get(name, "")), *(_outcome(found.get((name, key))) for key in keys)]
        for name in names
    ]
    return Table(columns, rows, caption="Checks of the evaluation")


def checks_sentence(record: RobustRecord) -> str:
    """Return how many checks there were, and which of them did not pass; empty without any."""
    names = list(dict.fromkeys(check.name for check in record.checks))
    failed = list(dict.fromkeys(name_of(check.name).lower() for check in record.checks if not check.passed))
    if not names:
        return ""
    if not failed:
        return f"All {count(len(names))} checks passed." if len(names) > 1 else "The one check passed."
    return f"Of {count(len(names))} checks, {count(len(failed))} did not pass: {listed(failed)}."


def _outcome(check: Check | None) -> Cell:
    if check is None:
        return Cell(DASH)
    word, colour = ("passed", "c3") if check.passed else ("not passed", "c2")
    return Cell(word, note="" if check.measured is None else plain_value(check.measured), colour=colour)


def plain_value(value: object) -> str:
    """Return a measured value as text: numbers with three decimals, lists and tables in one line."""
    if value is None:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return count(value) if isinstance(value, int) else decimal(value)
    if isinstance(value, dict):
        return ", ".join(f"{name}{NBSP}{plain_value(part)}" for name, part in value.items())
    if isinstance(value, list):
        return ", ".join(map(plain_value, value))
    return str(value)
