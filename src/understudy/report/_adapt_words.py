"""The words of a page on text classifiers under attack: methods, attacks, slots, protocols, and what has no number."""

from understudy.report._adapt_read import CLEAN, AdaptersRecord, Attack, Method, Slot
from understudy.report._format import DASH, count, finite
from understudy.report._read import Interval
from understudy.report._robust_words import listed
from understudy.report._words import value_of

CASES = {
    "holds_adaptive": ("Holds when attacked itself", "c3"),
    "static_only": ("Gains in the static protocol alone", "c5"),
    "costs_clean": ("Pays with clean accuracy", "c2"),
    "no_gain": ("No gain", "c6"),
    "inconclusive": ("Undecided", "c6"),
    "no_attacks": ("No attack", "c6"),
}
"""What a verdict is called, and its colour word."""
STATIC = "static"
ADAPTIVE = "adaptive"
PROTOCOLS = {
    STATIC: "sentences attacked once, against the clean adapter, and shown to every model",
    ADAPTIVE: "every model attacked itself, with all that it is made of",
}
_OFF = ("not asked for", "not compared")
"""How attacks say of a constraint that it is switched off."""
_METHOD_COLOURS = ("c2", "c3", "c4", "c5", "c7", "c8")
_ATTACK_COLOURS = ("c7", "c8", "c5", "c4", "c3", "c2", "c1")
"""Begins where the methods' colours end, so that an adapter is rarely taken for a method."""


def method_of(record: AdaptersRecord, key: str) -> Method:
    """Return what is on file of a method; a bare one where there is nothing."""
    return next((method for method in record.methods if method.key == key), Method(key=key))


def method_label(record: AdaptersRecord, key: str) -> str:
    """Return what a method is called: its label on file, else its key."""
    return method_of(record, key).label or ("Clean adapter" if key == CLEAN else key)


def method_colour(record: AdaptersRecord, key: str) -> str:
    """Return a method's colour word, the same everywhere on the page."""
    subject = record.subject
    if key == CLEAN:
        return "teacher"
    if subject is not None and key == subject.key:
        return "student"
    rest = [one.key for one in record.methods if one.key != CLEAN and (subject is None or one.key != subject.key)]
    return _METHOD_COLOURS[rest.index(key) % len(_METHOD_COLOURS)] if key in rest else "c6"


def attack_of(record: AdaptersRecord, name: str) -> Attack | None:
    """Return what is on file of an attack."""
    return next((attack for attack in record.attacks if attack.name == name), None)


def attack_label(record: AdaptersRecord, name: str) -> str:
    """Return what an attack is called: its label on file, else its name."""
    found = attack_of(record, name)
    return (found.label if found else "") or name


def slot_label(record: AdaptersRecord, name: str) -> str:
    """Return what an adapter of the mixture is called: by what it was trained on."""
    return "Clean" if name == CLEAN else attack_label(record, name)


def slot_colour(record: AdaptersRecord, name: str) -> str:
    """Return the colour word of a kind of text, which is that of the adapter trained on it."""
    if name == CLEAN:
        return "teacher"
    names = [attack.name for attack in record.attacks]
    return _ATTACK_COLOURS[names.index(name) % len(_ATTACK_COLOURS)] if name in names else "c6"


def acquaintance(attack: Attack) -> str:
    """Return whether an adapter was trained on an attack."""
    return "known" if attack.known else "unknown"


def class_name(record: AdaptersRecord, label: int | None) -> str:
    """Return what a class is called, by its name on file or else its number."""
    if label is None:
        return DASH
    names = record.data.classes
    name = names[label] if 0 <= label < len(names) else ""
    return name if name and not name.isdigit() else f"class {name or label}"


def beside_adaptive(record: AdaptersRecord) -> str:
    """Return which static mean may stand beside the adaptive one: that on the same sentences, where all have it."""
    scored = [record.of(method.key) for method in record.scored]
    both = [one for one in scored if value_of(one.adaptive_mean) is not None]
    common = bool(both) and all(value_of(one.static_common_mean) is not None for one in both)
    return "static_common_mean" if common else "static_mean"


def mean_of(record: AdaptersRecord, key: str, protocol: str) -> Interval | None:
    """Return a method's mean of clean and attacked accuracy, in a protocol that stands beside the other."""
    scores = record.of(key)
    return scores.adaptive_mean if protocol == ADAPTIVE else getattr(scores, beside_adaptive(record))


def rows_beside(record: AdaptersRecord, protocol: str) -> str:
    """Return on how many sentences that mean counts accuracy under attack; empty where that is not on file."""
    return rows_of(record, ADAPTIVE if beside_adaptive(record) == "static_common_mean" else protocol)


def has_adaptive(record: AdaptersRecord) -> bool:
    """Return whether any model was attacked itself."""
    return any(
        value_of(one.accuracy) is not None for scores in record.scores.values() for one in scores.adaptive.values()
    )


def switched_off(attack: Attack) -> list[str]:
    """Return what an attack says of its constraints that are off."""
    return [said for said in attack.constraints if any(word in said for word in _OFF)]


def no_constraints(record: AdaptersRecord) -> list[Attack]:
    """Return the attacks of which a constraint is off, so that a changed sentence may mean something else."""
    return [attack for attack in record.attacks if not attack.constraints or switched_off(attack)]


def spread(record: AdaptersRecord) -> str:
    """Say what the ranges on the page are, which depends on the number of seeds."""
    seeds = len(record.seeds)
    if seeds < 2:
        return (
            "Second lines show 95\N{NO-BREAK SPACE}% intervals over test sentences, of one seed, which says nothing of "
            "others: Wilson's for a share; for a mean of several shares, or of paired differences, the averages of the "
            "ends of their intervals, since the sentences are the same."
        )
    return (
        f"Second lines show 95\N{NO-BREAK SPACE}% intervals of the mean over {seeds} seeds: Student's, or the average "
        "of the intervals over the sentences of each seed where that is wider."
    )


def rows_of(record: AdaptersRecord, protocol: str) -> str:
    """Return on how many sentences a protocol was counted; empty where that is not on file."""
    rows = record.rows.static if protocol == STATIC else record.rows.adaptive
    return f"{count(rows)} sentences" if rows else ""


def slot_owners(record: AdaptersRecord, slot: Slot) -> str:
    """Return whose adapter it is, where another of the same seed goes by its name; else nothing."""
    alike = [one for one in record.slots if (one.name, one.seed) == (slot.name, slot.seed)]
    return listed([method_label(record, key) for key in slot.models]) if len(alike) > 1 and slot.models else ""


def inverted(record: AdaptersRecord) -> list[str]:
    """Return the adapters beside the clean one that a warning on file is about, each once for all seeds."""
    found = [slot for slot in record.slots if slot.warning and slot.name != CLEAN]
    named = [(slot_label(record, slot.name), slot_owners(record, slot)) for slot in found]
    return list(dict.fromkeys(f"{name} in {owners}" if owners else name for name, owners in named))


def known_share(interval: Interval | None) -> bool:
    """Return whether there is a number to show."""
    return interval is not None and finite(interval.value) is not None
