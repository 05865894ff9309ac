"""The words of an evaluation under attack: what the attacker may do, and what networks and attacks are called."""

from collections.abc import Iterable

from understudy.report._format import NBSP, name_of
from understudy.report._read import Threat
from understudy.report._robust_read import RobustRecord
from understudy.report._words import titled

_NORMS = {"linf": "L\N{INFINITY}", "l2": "L2"}
_ROLES = {
    "last": ("Last checkpoint", "student"),
    "best": ("Best checkpoint", "c3"),
    "against": ("Other", "c5"),
    "teacher": ("Teacher", "teacher"),
}
_ATTACKS = {
    "fgsm": "FGSM",
    "fgsm-rs": "FGSM-RS",
    "n-fgsm": "N-FGSM",
    "pgd20-trades": "PGD-20 (TRADES)",
    "autoattack": "AutoAttack",
    "cw": "CW",
}
_STEP = 255
"""Pixels of an image file go from 0 to this."""


def epsilon_text(threat: Threat, epsilon: float | None = None) -> str:
    """Return a size of change as papers write it: `8/255` in L-infinity, `0.5` in L2."""
    value = threat.epsilon if epsilon is None else epsilon
    steps = _STEP * value
    # Halves are in use too; anything else is no whole step of a pixel, and is said as it is.
    if threat.norm == "linf" and value > 0 and abs(2 * steps - round(2 * steps)) < 1e-4 and steps < _STEP:
        return f"{round(2 * steps) / 2:g}/{_STEP}"
    return f"{value:.3g}"


def norm_text(threat: Threat) -> str:
    """Return the norm in which the change is measured, as papers write it."""
    return _NORMS.get(threat.norm, threat.norm)


def may_change(threat: Threat, epsilon: float | None = None) -> str:
    """Return what an attacker may do, to follow `who may`: `change every pixel by at most 8/255`."""
    size = epsilon_text(threat, epsilon)
    if threat.norm == "linf":
        return f"change every pixel by at most {size}"
    return f"change the image by at most {size} altogether (L2: the root of the summed squares of all changes)"


def attacker(threat: Threat) -> str:
    """Return who the attacker is, for the middle of a sentence."""
    return f"an attacker who knows the network and may {may_change(threat)}"


def attack_name(record: RobustRecord, name: str) -> str:
    """Return what an attack is called: its label on file, else its name as papers spell it."""
    label = next((attack.label for attack in record.attacks if attack.name == name), "")
    return label or spelled(name)


def spelled(name: str) -> str:
    """Return the name of an attack as papers spell it: `pgd100x5` is PGD-100 with five restarts."""
    if name in _ATTACKS:
        return _ATTACKS[name]
    word = name.rstrip("0123456789x")
    rest = name.removeprefix(word)
    if word in ("pgd", "cw") and rest:
        return f"{word.upper()}-{rest.replace('x', NBSP + chr(215) + NBSP)}"
    return name


def model_name(record: RobustRecord, key: str) -> str:
    """Return what a network is called on the page; with one checkpoint alone that is `Network`."""
    network = record.models.get(key)
    if network is None:
        return name_of(key)
    if key in record.own and len(record.own) == 1:
        return "Network"
    if network.role == "against":
        return network.name or name_of(key)
    return _ROLES[network.role][0] if network.role in _ROLES else name_of(key)


def in_sentence(record: RobustRecord, key: str) -> str:
    """Return a network's name for the middle of a sentence: `the last checkpoint`."""
    network = record.models.get(key)
    if network is not None and network.role == "against":
        return f"\N{LEFT DOUBLE QUOTATION MARK}{network.name or key}\N{RIGHT DOUBLE QUOTATION MARK}"
    name = model_name(record, key)
    return f"the {name[:1].lower()}{name[1:]}"


def model_colour(record: RobustRecord, key: str) -> str:
    """Return a network's colour word, the same in every figure and table of the page."""
    role = record.models[key].role
    others = [other for other, network in record.models.items() if network.role == role]
    at = others.index(key)
    return _ROLES[role][1] if role in _ROLES and at == 0 else ("c4", "c7", "c8", "c2")[at % 4]


def page_name(record: RobustRecord) -> str:
    """Return the name of what the page is about, without the checkpoint."""
    network = record.models[record.subject]
    return network.name.removesuffix(f", {network.role} checkpoint")


def under(record: RobustRecord, attack: str) -> str:
    """Return under what a share was counted, for the end of a sentence."""
    words = {"worst": "in the worst case", "clean": "on clean images"}
    return words.get(attack) or f"under {attack_name(record, attack)}"


def class_name(record: RobustRecord, label: str | int | None) -> str:
    """Return the name of a class that is given by name or by number; empty where it is not known (None or -1)."""
    if isinstance(label, int) and 0 <= label < len(record.data.classes):
        return record.data.classes[label]
    return "" if label in (None, -1) else str(label)


def trained_by(record: RobustRecord, key: str) -> str:
    """Return the method that trained a network, as its paper spells it; empty where it is not known."""
    network = record.models[key]
    return titled(network.trained_by, network.fidelity) if network.trained_by else ""


def listed(names: Iterable[str], comma: str = ", ") -> str:
    """Return names as a list in a sentence: `one, two and three`."""
    every = list(names)
    return every[0] if len(every) == 1 else f"{comma.join(every[:-1])} and {every[-1]}" if every else ""
