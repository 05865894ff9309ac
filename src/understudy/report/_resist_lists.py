"""What took part in a measurement of resistance: teachers, attackers, and the variants that validation chose."""

from collections import Counter

from understudy.report._format import DASH, count, flatten
from understudy.report._resist_read import Attack, ResistanceRecord, Teacher
from understudy.report._resist_tables import number_of, of_students, spaced
from understudy.report._resist_words import (
    ALONE,
    attack_label,
    gain_cell,
    loss_cell,
    regime_label,
    regimes_in_use,
    teacher_colour,
    turned,
)
from understudy.report._table import Cell, Column, Table
from understudy.report._words import FIDELITY, titled


def teachers_table(record: ResistanceRecord) -> Table:
    """Return who made every teacher, what stands before it, and whether its first class stays."""
    columns = [
        Column("Teacher", numeric=False),
        Column("Made by", numeric=False),
        Column("Fidelity", numeric=False),
        Column("Serving defence", "what changes the answers of the network on their way out", numeric=False),
        Column("Top-1", "whether the first class of every answer stays the network's own", numeric=False),
        Column("Networks", "one for each seed, or one for all"),
    ]
    rows = [
        [
            Cell(teacher.name, note=teacher.spec, colour=teacher_colour(record, teacher.name)),
            Cell(titled(teacher.method) if teacher.method else DASH),
            Cell(teacher.fidelity or DASH),
            Cell(teacher.serving if teacher.serving not in ("", "none") else DASH),
            Cell(DASH if teacher.keeps_top1 is None else "stays" if teacher.keeps_top1 else "may change"),
            Cell(count(len(set(teacher.seeds.values()))) if teacher.seeds else DASH),
        ]
        for teacher in record.teachers
    ]
    return Table(columns, rows, caption="Teachers")


def attackers_table(record: ResistanceRecord) -> Table | None:
    """Return what every attacker does, where it comes from, and in how many variants it was tried."""
    if not record.attacks:
        return None
    columns = [
        Column("Attacker", numeric=False),
        Column("What it does", numeric=False),
        Column("Fidelity", numeric=False),
        Column("Regimes", numeric=False),
        Column("Variants", "choices of its options, of which validation takes one"),
    ]
    rows = [
        [
            Cell(attack_label(record, attack.name), note=attack.name),
            Cell(attack.summary or DASH, note=attack.paper),
            Cell(attack.fidelity or DASH),
            Cell(", ".join(map(regime_label, attack.regimes)) or DASH),
            Cell(count(len(attack.variants)) if attack.variants else DASH),
        ]
        for attack in record.attacks
    ]
    return Table(columns, rows, caption="Attackers")


def fidelity_notes(record: ResistanceRecord) -> list[str]:
    """Return what the words on fidelity mean, for those that are in use."""
    used = {attack.fidelity for attack in record.attacks} | {teacher.fidelity for teacher in record.teachers}
    return [f"{word}: {meaning}." for word, meaning in FIDELITY.items() if word in used]


def variants_table(record: ResistanceRecord) -> Table | None:
    """Return which variant of each attacker validation chose, how often, by teacher; regimes and students together."""
    tried = [attack for attack in record.attacks if len(attack.variants) > 1 and attack.name != ALONE]
    found = {
        (attack.name, teacher.name): _chosen(record, attack, teacher) for attack in tried for teacher in record.defended
    }
    used = [attack for attack in tried if any(found[attack.name, teacher.name] for teacher in record.defended)]
    if not used:
        return None
    columns = [Column("Attacker", numeric=False), *(Column(one.name, numeric=False) for one in record.defended)]
    rows = [
        [
            Cell(attack_label(record, attack.name), note=f"of {count(len(attack.variants))}"),
            *(_variant_cell(found[attack.name, teacher.name]) for teacher in record.defended),
        ]
        for attack in used
    ]
    return Table(columns, rows, caption="Variants that validation chose")


def _chosen(record: ResistanceRecord, attack: Attack, teacher: Teacher) -> Counter[str]:
    total: Counter[str] = Counter()
    for regime in regimes_in_use(record):
        for _, one in of_students(record, teacher.name, regime):
            if attack.name in one.attacks:
                total.update(one.attacks[attack.name].variant_counts)
    return total


def _variant_cell(chosen: Counter[str]) -> Cell:
    if not chosen:
        return Cell(DASH)
    (key, most), total = chosen.most_common(1)[0], chosen.total()
    others = "" if len(chosen) == 1 else f", {count(len(chosen) - 1)} other" + ("s" if len(chosen) > 2 else "")
    return Cell(spaced(key), note=f"{count(most)} of {count(total)}{others}")


def about_teachers(record: ResistanceRecord) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return what is on file of every teacher: hashes, and what its training states of the defence."""
    found = []
    for teacher in record.teachers:
        hashes = [(f"SHA-256, seed {seed}", sha) for seed, sha in teacher.seeds.items() if sha]
        about = [(name.replace("_", " "), value) for name, value in flatten(teacher.about)]
        if hashes or about:
            found.append((teacher.name, [*about, *hashes]))
    return found


def short_table(record: ResistanceRecord) -> Table:
    """Return what is lost by teacher, regime and student, with as little as a terminal holds."""
    places = [
        (teacher.name, regime, student, mine)
        for teacher in record.defended
        for regime in regimes_in_use(record)
        for student, mine in of_students(record, teacher.name, regime)
    ]
    many, several = (len({place[at] for place in places}) > 1 for at in (1, 2))
    titles = ["Teacher", *(["Regime"] * many), *(["Student"] * several)]
    titles += ["Best attacker", "Owner", "Plain", "Best", "Over alone"]
    rows = []
    for name, regime, student, mine in places:
        best = mine.best if not record.headline_missing else None
        cells = [
            loss_cell(record.of(name).cost),
            loss_cell(mine.plain.protection if mine.plain else None),
            loss_cell(best.protection if best else None),
            gain_cell(turned(best.against_alone) if best else None),
        ]
        head = [name, *([regime_label(regime)] * many), *([student] * several)]
        numbers = [number_of(cell).text for cell in cells]
        rows.append([*head, attack_label(record, best.attack) if best else DASH, *numbers])
    caption = (
        "Points of accuracy that the owner, plain distillation and the best attacker lose against the ordinary "
        "teacher; over alone: best attacker above a student that asks nobody"
    )
    whole = [[Cell(text.replace("\N{NO-BREAK SPACE}", " ")) for text in row] for row in rows]
    return Table([Column(title) for title in titles], whole, caption=caption)
