"""A network beside its teacher under attack: images made against one shown to the other, and where the two part."""

from understudy.report._format import count, percent
from understudy.report._robust_read import Parted, RobustRecord
from understudy.report._robust_words import attack_name, class_name, in_sentence, listed, under
from understudy.report._table import Cell, Column, Table
from understudy.report._words import bounds, value_of


def transfer_sentences(record: RobustRecord) -> list[str]:
    """Return what images made against another network do, beside those made against the network itself."""
    transfer = record.transfer
    if transfer is None:
        return []
    moved, own = value_of(transfer.transferred), value_of(transfer.white_box)
    if moved is None or own is None:
        return []
    made, shown = in_sentence(record, transfer.source), in_sentence(record, transfer.target)
    tool = f" with {attack_name(record, transfer.attack)}" if transfer.attack else ""
    first = (
        f"Images made{tool} against {made} and shown to {shown} leave it right on {percent(moved)}"
        f"{bounds(transfer.transferred)}; images made against itself on {percent(own)}{bounds(transfer.white_box)}."
    )
    if moved >= own:
        return [
            first,
            "This is as it should be: whoever attacks the network itself knows more, and does more harm.",
        ]
    return [
        first,
        "This is the wrong way round: whoever knows the network should do more harm than a stranger. The attack on the "
        "network itself may have been misled (masked gradients), so its robust accuracy is too high.",
    ]


def parting_sentences(record: RobustRecord) -> list[str]:
    """Return how often teacher and student are right together under attack, and who of them when they are not."""
    parting = record.parting
    if parting is None:
        return []
    total = parting.both_right + parting.student_only + parting.teacher_only + parting.both_wrong
    if not total:
        return []
    names = [attack_name(record, name) for name in parting.attacks]
    where = f"after {listed(names)}" if names else under(record, parting.attack or "worst")
    student, teacher = in_sentence(record, parting.student), in_sentence(record, parting.teacher)
    apart = parting.student_only + parting.teacher_only
    return [
        f"On {percent((total - apart) / total)} of the images {student} and {teacher} are right or wrong together "
        f"{where}, each attacked by itself. On {count(parting.teacher_only)} {teacher} alone stays right, "
        f"on {count(parting.student_only)} {student} alone."
    ]


def parting_table(record: RobustRecord) -> Table | None:
    """Return how often teacher and student stay right together."""
    if record.parting is None:
        return None
    rows = [_parted("Under attack", record.parting)]
    if record.parting.clean is not None:
        rows.insert(0, _parted("No attack", record.parting.clean))
    return Table(_parting_columns("Images"), rows, caption="Where the two part ways")


def parting_classes(record: RobustRecord) -> Table | None:
    """Return the same class by class, those where they part most first."""
    if record.parting is None or not record.parting.per_class:
        return None
    classes = sorted(record.parting.per_class, key=lambda one: -(one.teacher_only + one.student_only))
    rows = [_parted(class_name(record, one.name), one) for one in classes]
    return Table(_parting_columns("Class"), rows, caption="Where the two part ways, by class")


def _parting_columns(first: str) -> list[Column]:
    titles = ("Both right", "Only the teacher", "Only the student", "Both wrong")
    return [Column(first, numeric=False), *map(Column, titles)]


def _parted(name: str, one: Parted) -> list[Cell]:
    counts = (one.both_right, one.teacher_only, one.student_only, one.both_wrong)
    total = sum(counts)
    return [Cell(name), *(Cell(count(number), note=percent(number / total) if total else "") for number in counts)]
