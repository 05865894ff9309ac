"""Tables of an evaluation under attack: what each attack left, class by class, pair by pair, and what was checked."""

from collections.abc import Sequence
from dataclasses import replace

from understudy.report._format import DASH, count, decimal, duration, magnitude, percent, points
from understudy.report._read import Interval
from understudy.report._robust_findings import spared
from understudy.report._robust_read import AttackFacts, Pair, RobustRecord
from understudy.report._robust_words import (
    attack_name,
    class_name,
    epsilon_text,
    listed,
    model_colour,
    model_name,
    trained_by,
)
from understudy.report._table import Cell, Column, Table, interval_cell, points_range, with_marks
from understudy.report._words import value_of

_STARTS = {"none": "the image itself", "uniform": "a random point", "gaussian": "close to the image"}


def scores_table(record: RobustRecord) -> Table:
    """Return a row for the clean images, one for each attack, and the worst case; a column for each network."""
    keys = [key for key in record.models if key in record.scores]
    columns = [Column("Attack", numeric=False)]
    columns += [Column(model_name(record, key), record.models[key].name) for key in keys]
    rows = [[Cell("No attack", note="clean accuracy"), *(interval_cell(record.scores[key].clean) for key in keys)]]
    for name in _tried(record, keys):
        found = [record.scores[key].attacks.get(name) for key in keys]
        cells = [interval_cell(one.robust if one else None) for one in found]
        rows.append([Cell(attack_name(record, name)), *cells])
    if any(value_of(record.scores[key].worst) is not None for key in keys):
        title = Cell("Worst case", note="right as it is and after every attack")
        rows.append([title, *(_worst_cell(record, key) for key in keys)])
    return _one_scale(Table(columns, rows, caption="Robust accuracy by attack"))


def _worst_cell(record: RobustRecord, key: str) -> Cell:
    cell, missing = interval_cell(record.scores[key].worst), spared(record, key)
    return replace(cell, note=f"without {listed(missing)}") if missing else cell


def _tried(record: RobustRecord, keys: Sequence[str]) -> list[str]:
    named = [attack.name for attack in record.attacks]
    return list(dict.fromkeys([*named, *(name for key in keys for name in record.scores[key].attacks)]))


def _one_scale(table: Table) -> Table:
    """Return the table with marks that share one scale in all its columns, since networks are compared by rows."""
    marks = with_marks(Table(table.columns[:1], [[cell] for row in table.rows for cell in row]))
    cells = iter(row[0] for row in marks.rows)
    return Table(table.columns, [[next(cells) for _ in row] for row in table.rows], table.caption)


def attacks_table(record: RobustRecord) -> Table | None:
    """Return the values of each attack, and how long it took on the network that the page is about."""
    if not record.attacks:
        return None
    columns = [
        Column("Attack", numeric=False),
        Column("Drives up", "what grows with every step of the attack", numeric=False),
        Column("Steps", "at most, for each start"),
        Column("Step size"),
        Column("Start", "where the search begins", numeric=False),
        Column("Starts", "how often it begins anew; the worst outcome of an image counts"),
        Column("Time"),
    ]
    mine = record.scores[record.subject].attacks if record.subject in record.scores else {}
    rows = []
    for attack in record.attacks:
        time = mine[attack.name].seconds if attack.name in mine else None
        rows.append([*_attack_cells(record, attack), Cell(duration(time))])
    return Table(columns, rows, caption="What each attack does")


def _attack_cells(record: RobustRecord, attack: AttackFacts) -> list[Cell]:
    return [
        Cell(attack_name(record, attack.name), note="" if attack.steps else attack.what),
        Cell(attack.objective or DASH),
        Cell(count(attack.steps)),
        Cell(DASH if attack.step is None else epsilon_text(record.threat, attack.step)),
        Cell(_STARTS.get(attack.start or "", attack.start) or DASH),
        Cell(count(attack.restarts)),
    ]


def classes_table(record: RobustRecord) -> Table | None:
    """Return for each class what stays right, as it is and in the worst case; the weakest first."""
    keys = [key for key in record.models if key in record.scores and record.scores[key].per_class]
    if not keys:
        return None
    main = record.subject if record.subject in keys else keys[0]
    found = {key: {one.name: one.worst for one in record.scores[key].per_class} for key in keys}
    columns = [Column("Class", numeric=False), Column("Images"), Column("Clean", model_name(record, main))]
    columns += [Column(_worst_title(record, key, len(keys)), "right as it is and after every attack") for key in keys]
    rows = []
    for one in sorted(record.scores[main].per_class, key=lambda one: _low(one.worst)):
        worst = [interval_cell(found[key].get(one.name)) for key in keys]
        rows.append(
            [Cell(class_name(record, one.name)), Cell(count(one.rows)), Cell(percent(value_of(one.clean))), *worst]
        )
    return with_marks(Table(columns, rows, caption="Robustness by class"))


def _low(interval: Interval | None) -> float:
    value = value_of(interval)
    return 2.0 if value is None else value


def _worst_title(record: RobustRecord, key: str, columns: int) -> str:
    name = model_name(record, key)
    named = name if record.models[key].role == "against" else name.lower()
    return "Worst case" if columns == 1 else f"Worst case: {named}"


def pairs_table(record: RobustRecord, pairs: Sequence[Pair]) -> Table | None:
    """Return comparisons of two networks on the same images."""
    if not pairs:
        return None
    columns = [
        Column("Networks", numeric=False),
        Column("Attack", numeric=False),
        Column("Both right"),
        Column("Only the first"),
        Column("Only the second"),
        Column("Neither"),
        Column("Difference", "share right of the first, less that of the second"),
        Column("Chance", "how often chance alone would part equals so far: the p-value of the exact McNemar test"),
    ]
    rows = [
        [
            Cell(model_name(record, pair.a), note=f"and {model_name(record, pair.b)}"),
            Cell(_under(record, pair.attack)),
            *(Cell(count(number)) for number in (pair.both, pair.only_a, pair.only_b, pair.neither)),
            Cell(points(pair.difference), note=points_range(Interval(low=pair.low, high=pair.high))),
            Cell(_rarely(pair.p_value)),
        ]
        for pair in pairs
    ]
    return Table(columns, rows, caption="Image by image, two networks")


def _rarely(p_value: float | None) -> str:
    return "<0.001" if p_value is not None and p_value < 0.001 else decimal(p_value)


def _under(record: RobustRecord, name: str) -> str:
    return {"worst": "Worst case", "clean": "No attack"}.get(name) or attack_name(record, name)


def models_table(record: RobustRecord) -> Table:
    """Return what every network is, who trained it and what it costs."""
    columns = [
        Column("Network", numeric=False),
        Column("Architecture", numeric=False),
        Column("Trained with", numeric=False),
        Column("Parameters"),
        Column("MACs", "multiply-accumulates for one image"),
    ]
    rows = [
        [
            Cell(model_name(record, key), note=network.source or network.name, colour=model_colour(record, key)),
            Cell(network.spec or DASH),
            Cell(trained_by(record, key) or DASH),
            Cell(magnitude(network.parameters)),
            Cell(magnitude(network.macs)),
        ]
        for key, network in record.models.items()
    ]
    return Table(columns, rows, caption="The networks")
