"""Tables of accuracy: both protocols side by side, attack by attack, and what one method has more than the others."""

from collections.abc import Sequence

from understudy.report._adapt_read import AdaptersRecord, Attack, Attacked, Method
from understudy.report._adapt_words import (
    ADAPTIVE,
    PROTOCOLS,
    STATIC,
    acquaintance,
    attack_label,
    beside_adaptive,
    has_adaptive,
    method_colour,
    method_label,
    rows_beside,
    rows_of,
)
from understudy.report._format import DASH, count, decimal, percent, points
from understudy.report._read import Interval
from understudy.report._table import Cell, Column, Table, interval_cell, points_range, with_marks
from understudy.report._words import value_of

_MEAN = "unweighted mean of clean accuracy and the accuracy under each attack; {}"
_OWN = "\N{DAGGER}"
_PART = "mean accuracy under the attacks that {} adapter was trained on; {}"


def protocols(record: AdaptersRecord) -> list[str]:
    """Return the protocols that have numbers."""
    return [STATIC, *([ADAPTIVE] if has_adaptive(record) else [])] if record.attacks else []


def means_table(record: AdaptersRecord) -> Table:
    """Return clean accuracy and the means of both protocols, a row for each method."""
    columns = [
        Column("Method", numeric=False),
        Column("Clean", "share of unchanged test sentences on which the class is right"),
        *(Column(*head) for head, _ in _means(record)),
    ]
    parts = [
        (word, name)
        for name in protocols(record)
        for word in ("known", "unknown")
        if any(value_of(getattr(record.of(one.key), f"{name}_{word}")) is not None for one in record.scored)
    ]
    whose = {"known": "an", "unknown": "no"}
    columns += [
        Column(f"{word.capitalize()} attacks", _PART.format(whose[word], PROTOCOLS[name]), note=name)
        for word, name in parts
    ]
    rows = []
    for method in record.scored:
        scores = record.of(method.key)
        means = [getattr(scores, of) for _, of in _means(record)]
        some = [getattr(scores, f"{name}_{word}") for word, name in parts]
        rows.append([method_cell(record, method), *map(interval_cell, [scores.clean, *means, *some])])
    return with_marks(Table(columns, rows, caption="Clean accuracy, and the means of both protocols"))


def _means(record: AdaptersRecord) -> list[tuple[tuple[str, str, bool, str], str]]:
    """Return the columns of means and their fields: first those on the same sentences, then static on all of them."""
    fields = [(name, "adaptive_mean" if name == ADAPTIVE else beside_adaptive(record)) for name in protocols(record)]
    found = [((name, rows_beside(record, name)), of) for name, of in fields]
    if (STATIC, "static_common_mean") in fields and record.rows.static != record.rows.adaptive:
        found.append(((STATIC, rows_of(record, STATIC)), "static_mean"))
    return [
        (("Mean", _MEAN.format(PROTOCOLS[name]), True, ", ".join(filter(None, (name, rows)))), of)
        for (name, rows), of in found
    ]


def attacks_table(record: AdaptersRecord) -> Table | None:
    """Return accuracy attack by attack, static and adaptive side by side."""
    shown = protocols(record)
    if not shown or not record.scored:
        return None
    pairs = [(attack, name) for attack in record.attacks for name in shown]
    columns = [
        Column("Method", numeric=False),
        Column("Clean", note="unchanged"),
        *(Column(attack.label or attack.name, PROTOCOLS[name], note=_under(attack, name)) for attack, name in pairs),
    ]
    rows = [
        [
            method_cell(record, method),
            interval_cell(record.of(method.key).clean),
            *(interval_cell(accuracy(record, method.key, attack.name, name)) for attack, name in pairs),
        ]
        for method in record.scored
    ]
    return Table(columns, rows, caption="Accuracy under each attack, static and adaptive")


def _under(attack: Attack, protocol: str) -> str:
    return f"{acquaintance(attack)}, {protocol}"


def accuracy(record: AdaptersRecord, key: str, attack: str, protocol: str) -> Interval | None:
    """Return the accuracy of a method under an attack in a protocol."""
    scores = record.of(key)
    return scores.static.get(attack) if protocol == STATIC else scores.adaptive.get(attack, Attacked()).accuracy


def method_cell(record: AdaptersRecord, method: Method) -> Cell:
    """Return the head of a row: the method in its colour, and which reading of its paper it is."""
    note = "independent instantiation" if method.fidelity == "instantiation" else ""
    return Cell(method_label(record, method.key), note=note, colour=method_colour(record, method.key))


def gains_table(record: AdaptersRecord) -> Table | None:
    """Return what the method of the verdict has more than each other, paired over the seeds."""
    found = {key: gain for key, gain in record.gains.items() if gain is not None}
    if record.subject is None or not found:
        return None
    means = _means(record)
    columns = [
        Column("Less", "the method whose accuracy is taken off", numeric=False),
        Column("Clean"),
        *(Column(*head) for head, _ in means),
    ]
    rows = []
    for key, gain in found.items():
        head = Cell(method_label(record, key), colour=method_colour(record, key))
        rows.append([head, *map(gain_cell, [gain.clean, *(getattr(gain, of) for _, of in means)])])
    return Table(
        columns, rows, caption=f"What {method_label(record, record.subject.key)} has more than the other methods"
    )


def gain_cell(interval: Interval | None) -> Cell:
    """Return a cell with a difference in points, its sign, and its range over the seeds."""
    value = value_of(interval)
    return Cell(DASH) if value is None else Cell(points(value), note=points_range(interval))


def effort_table(record: AdaptersRecord) -> Table | None:
    """Return what each adaptive attack needed against each method, and where it ran out of queries or of words."""
    columns = [
        Column("Method", numeric=False),
        Column("Attack", numeric=False),
        Column("Accuracy", note=ADAPTIVE),
        Column("Success", "share of the sentences that were right before and are wrong after"),
        Column("Queries", "texts that the attack asked about, mean for one sentence"),
        Column("Changed", "mean share of the words of a sentence that were changed"),
        Column("Budget spent", "sentences given up because the query budget ran out; the model counts as right"),
        Column("No candidate", "sentences in which the attack found nothing to change; kept as they are"),
        Column("Skipped", "sentences that were wrong already; they stay in the denominator, as wrong"),
    ]
    rows = [
        [
            method_cell(record, method),
            Cell(attack_label(record, name), note=_note(record, name)),
            interval_cell(one.accuracy),
            interval_cell(one.success_rate),
            Cell(decimal(one.queries, 1)),
            Cell(percent(one.changed_share)),
            *(Cell(count(value)) for value in (one.exhausted, one.no_candidates, one.skipped)),
        ]
        for method in record.scored
        for name, one in record.of(method.key).adaptive.items()
    ]
    return Table(columns, rows, caption="What every adaptive attack needed") if rows else None


def _note(record: AdaptersRecord, name: str) -> str:
    return next((acquaintance(attack) for attack in record.attacks if attack.name == name), "")


def terminal_table(record: AdaptersRecord) -> tuple[list[str], list[list[str]], str]:
    """Return headings, rows and caption for a terminal: percentages, static and adaptive in one cell."""
    shown = protocols(record)
    labels = [f"{attack.label or attack.name}{'' if attack.known else '*'}" for attack in record.attacks]
    headings = ["method", "clean", *labels, *(["mean"] if shown else [])]
    rows = []
    for method in record.scored:
        scores, key = record.of(method.key), method.key
        cells = [[accuracy(record, key, attack.name, name) for name in shown] for attack in record.attacks]
        if shown:
            cells.append([getattr(scores, f"{name}_mean") for name in shown])
        mark = _OWN if method.fidelity == "instantiation" else ""
        rows.append([f"{method_label(record, key)}{mark}", _bare(scores.clean), *(_pair(cell) for cell in cells)])
    return headings, rows, _terminal_caption(record, shown)


def _pair(intervals: Sequence[Interval | None]) -> str:
    return " / ".join(map(_bare, intervals))


def _bare(interval: Interval | None) -> str:
    value = value_of(interval)
    return DASH if value is None else f"{100 * value:.1f}"


def _terminal_caption(record: AdaptersRecord, shown: Sequence[str]) -> str:
    said = [f"accuracy in %, {' / '.join(shown)}"] if shown else ["clean accuracy in %; no attack was run"]
    if shown == [STATIC]:
        said.append("no model was attacked itself")
    if any(not attack.known for attack in record.attacks):
        said.append("* no adapter was trained on this attack")
    if any(method.fidelity == "instantiation" for method in record.scored):
        said.append(f"{_OWN} an independent instantiation")
    return "; ".join(said)
