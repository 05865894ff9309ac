"""What took part and what it cost: methods, attacks, adapters one by one, attacked training sentences."""

from collections import Counter
from collections.abc import Sequence

from understudy.report._adapt_read import CLEAN, AdaptersRecord, Attack, Slot
from understudy.report._adapt_tables import method_cell
from understudy.report._adapt_words import (
    acquaintance,
    attack_label,
    method_colour,
    method_label,
    method_of,
    slot_colour,
    slot_label,
    switched_off,
)
from understudy.report._format import DASH, count, decimal, duration, finite, flatten, magnitude, percent, size
from understudy.report._robust_words import listed
from understudy.report._table import Cell, Column, Table, interval_cell
from understudy.report._words import FIDELITY, value_of

_TIMES = "\N{MULTIPLICATION SIGN}"


def cost_table(record: AdaptersRecord) -> Table | None:
    """Return what training and predicting cost, a row for each method."""
    columns = [
        Column("Method", numeric=False),
        Column("Trained", "parameters that were trained, of all adapters together"),
        Column("Steps", "optimiser steps, the clean adapter's included where a method starts from it"),
        Column("Adapters", "bytes of all adapters and heads that the model is stored in"),
        Column("Passes", "passes through the backbone for one sentence; an adaptive attacker pays them in each query"),
        Column("Training", "wall time, without making the attacked sentences"),
        Column("Sentences/s", "measured on the machine of this study"),
    ]
    base = finite(method_of(record, CLEAN).sentences_per_s)
    rows = []
    for method in record.methods:
        speed = finite(method.sentences_per_s)
        beside = f"{speed / base:.2f} {_TIMES} clean" if speed and base and method.key != CLEAN else ""
        rows.append(
            [
                method_cell(record, method),
                Cell(magnitude(method.trained_parameters)),
                Cell(count(method.optimiser_steps)),
                Cell(size(method.adapter_bytes)),
                Cell(DASH if method.passes is None else f"{method.passes:g}"),
                Cell(duration(method.train_s)),
                Cell(magnitude(method.sentences_per_s), note=beside),
            ]
        )
    empty = all(cell.text == DASH for row in rows for cell in row[1:])
    return None if empty else Table(columns, rows, caption="What every method costs")


def slots_table(record: AdaptersRecord) -> Table | None:
    """Return how each adapter does by itself on clean text, a column for each seed."""
    seeds = list(dict.fromkeys(slot.seed for slot in record.slots))
    if not record.slots:
        return None
    where = "; ".join(dict.fromkeys(slot.on for slot in record.slots if slot.on))
    titles = ["Clean accuracy" if seed is None or len(seeds) == 1 else f"Seed {seed}" for seed in seeds]
    heads = [Column(title, f"on {where}" if where else "") for title in titles]
    columns = [Column("Adapter", numeric=False), *heads, Column("Warning", numeric=False)]
    rows = []
    shown = _rows_of_slots(record, seeds)
    names = Counter(name for name, _, _ in shown)
    for name, owners, mine in shown:
        there = [slot for slot in mine if slot is not None]
        whose = f", of {listed([method_label(record, key) for key in owners])}" if names[name] > 1 else ""
        warnings = list(dict.fromkeys(slot.warning for slot in there if slot.warning))
        rows.append(
            [
                Cell(slot_label(record, name), note=f"{name}{whose}", colour=slot_colour(record, name)),
                *(interval_cell(slot.clean_accuracy if slot is not None else None) for slot in mine),
                Cell("; ".join(warnings) or DASH),
            ]
        )
    return Table(columns, rows, caption="Clean accuracy of every adapter by itself")


def _rows_of_slots(
    record: AdaptersRecord, seeds: Sequence[int | None]
) -> list[tuple[str, list[str], list[Slot | None]]]:
    """Return name, methods and adapters of each row, one a seed: methods share a row where they share them all."""
    rows: dict[tuple[str, tuple[int | None, ...]], list[str]] = {}
    for name in dict.fromkeys(slot.name for slot in record.slots):
        mine = [(at, slot) for at, slot in enumerate(record.slots) if slot.name == name]
        for model in dict.fromkeys(key for _, slot in mine for key in slot.models or [""]):
            places = {slot.seed: at for at, slot in mine if model in (slot.models or [""])}
            row = tuple(places.get(seed) for seed in seeds)
            rows.setdefault((name, row), []).append(model)
    return [
        (name, models, [None if at is None else record.slots[at] for at in row]) for (name, row), models in rows.items()
    ]


def gather_table(record: AdaptersRecord) -> Table | None:
    """Return what attacking the training sentences brought."""
    columns = [
        Column("Attack", numeric=False),
        Column("Sentences", "of the training split; validation and test sentences were never attacked for training"),
        Column("Success", "the class changed"),
        Column("Failed", "the class stayed; the changed sentence is used all the same"),
        Column("Skipped", "wrong before any change; not used"),
        Column("No candidate", "nothing could be changed; kept as they are, and counted"),
        Column("Queries", "mean for one sentence"),
    ]
    rows = [
        [
            Cell(attack_label(record, name), colour=slot_colour(record, name)),
            *(Cell(count(value)) for value in (one.sentences, one.success, one.failed, one.skipped)),
            Cell(count(one.no_candidates)),
            Cell(decimal(one.queries_mean, 1)),
        ]
        for name, one in record.gather.items()
    ]
    return Table(columns, rows, caption="Training sentences attacked, against the clean adapter") if rows else None


def attackers_table(record: AdaptersRecord) -> Table | None:
    """Return what every attack does, within what constraints, and how much it may ask."""
    columns = [
        Column("Attack", numeric=False),
        Column("What it does", numeric=False),
        Column("Level", numeric=False),
        Column("Adapter", "known: an adapter was trained on it; unknown: none was", numeric=False),
        Column("Constraints", "what keeps a changed sentence near its meaning", numeric=False),
        Column("Budget", "queries that it may spend on one sentence"),
        Column("Fidelity", numeric=False),
    ]
    rows = [
        [
            Cell(attack.label or attack.name, note=attack.name),
            Cell(attack.summary or DASH, note=attack.paper),
            Cell(attack.level or DASH),
            Cell(acquaintance(attack)),
            Cell("; ".join(attack.constraints) or "none"),
            Cell("no limit" if attack.queries is None else count(attack.queries)),
            Cell(attack.fidelity or DASH, note=_as_run(attack)),
        ]
        for attack in record.attacks
    ]
    return Table(columns, rows, caption="Attacks") if rows else None


def _as_run(attack: Attack) -> str:
    """Return what an attack lacks as it was run, whatever its code follows."""
    off = "; ".join(switched_off(attack))
    return f"as run: {off}" if off and attack.fidelity else ""


def methods_table(record: AdaptersRecord) -> Table:
    """Return which method every row is, and which reading of its paper."""
    columns = [Column("Method", numeric=False), Column("Made by", numeric=False), Column("Fidelity", numeric=False)]
    rows = [
        [
            Cell(method.label or method.key, note=method.key, colour=method_colour(record, method.key)),
            Cell(method.method or DASH),
            Cell(method.fidelity or DASH),
        ]
        for method in record.methods
    ]
    return Table(columns, rows, caption="Methods")


def options_of(record: AdaptersRecord) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the options of every method that has some on file."""
    return [(one.label or one.key, list(flatten(one.options))) for one in record.methods if one.options]


def fidelity_notes(record: AdaptersRecord) -> list[str]:
    """Return what the words on fidelity mean, and what AdpMixup's is about."""
    stated = {*(one.fidelity for one in record.methods), *(one.fidelity for one in record.attacks)}
    notes = [f"{word.capitalize()}: {said}." for word, said in FIDELITY.items() if word in stated]
    if any(map(_as_run, record.attacks)):
        notes.append("As run: with this constraint off, the attack may change more than its source lets it.")
    if any(method.method == "adpmixup" for method in record.methods):
        notes.append(
            "AdpMixup is an independent instantiation: that one adapter for each known attack is mixed for each "
            "sentence, by coefficients from the entropy of predictions, is published; the formulas of these "
            "coefficients used here are our own, and its numbers are not those of its paper."
        )
    return notes


def failures_table(record: AdaptersRecord) -> Table | None:
    """Return what could not be finished."""
    if not record.failures:
        return None
    columns = [Column("What", numeric=False), Column("Why", numeric=False)]
    rows = [
        [Cell(one.what or DASH, note=one.folder), Cell(one.error.partition("\n")[0] or DASH)] for one in record.failures
    ]
    return Table(columns, rows, caption="What was not finished")


def roc_table(record: AdaptersRecord) -> Table | None:
    """Return how well the entropy of the clean adapter tells attacked sentences from clean ones."""
    found = record.profile.roc if record.profile else {}
    rows = []
    for name, one in found.items():
        if one is None or value_of(one) is None:
            continue
        ends = [decimal(end) for end in (one.low, one.high) if finite(end) is not None]
        head = Cell(attack_label(record, name), colour=slot_colour(record, name))
        rows.append([head, Cell(decimal(one.value), note=" to ".join(ends) if len(set(ends)) == 2 else "")])
    columns = [
        Column("Attack", numeric=False),
        Column("ROC area", "how often an attacked sentence has a higher entropy than a clean one; 0.5 is chance"),
    ]
    return Table(columns, rows, caption="Entropy as a sign of an attack") if rows else None


def confusion_table(record: AdaptersRecord) -> Table | None:
    """Return what a sentence was made by, and which attack its coefficients say."""
    found = record.profile.confusion if record.profile else None
    if found is None or not found.counts:
        return None
    columns = [
        Column("Made by", numeric=False),
        *(Column(slot_label(record, name), "what the coefficients say") for name in found.columns),
    ]
    rows = []
    for name, counts in zip(found.rows, found.counts, strict=False):
        total = sum(counts) or 1
        head = Cell(slot_label(record, name), colour=slot_colour(record, name))
        rows.append([head, *(Cell(percent(many / total, 0), note=count(many)) for many in counts)])
    return Table(columns, rows, caption="Nearest known attack by the coefficients")
