"""The verdict on a text classifier under attack, in plain words: a pure function of the record of a study.

It is about one method, the first AdpMixup of the record, or the first method beside the clean adapter where there is
none. What counts is the mean of clean accuracy and of accuracy under each attack, beside that of the clean adapter
alone (slot 0), in two protocols: *static*, on sentences that were attacked once, against the clean adapter; and
*adaptive*, where each model is attacked itself.

- `no_attacks`: nothing was attacked, so that nothing can be said.
- `inconclusive`: one seed; no adaptive attack; or a gain that may be chance.
- `static_only`: a sure static gain, of which an attacker who adapts leaves less than half.
- `costs_clean`, where it is not that: clean accuracy surely falls, by more than its margin.
- `holds_adaptive`: a sure adaptive gain, of at least half the static one.
- `no_gain`: neither protocol shows a gain beyond the margin.

"Sure" means with the whole of a 95 % interval, and by more than the margin.
"""

from collections.abc import Mapping
from typing import Any

from understudy.study.resistance_words import apart, share

CASES = ("no_attacks", "inconclusive", "static_only", "costs_clean", "holds_adaptive", "no_gain")
CLEAN = "clean"
"""Key of slot 0 alone, beside which everything stands."""
_BESIDE = "the clean adapter"
_HALF = 0.5
"""Share of the static gain that must be left under adaptive attack, so that a method may be said to hold."""
_LEAST = 0.0005
"""Half of the least difference that is shown."""
_OWN = "an independent instantiation"
Interval = Mapping[str, Any]


def verdict(
    record: Mapping[str, Any], *, margin: int | float = 0.01, clean_margin: int | float = 0.02
) -> dict[str, Any]:
    """Return what may be said of a method under attack.

    Args:
        record: content of `withstand.json` or of an `adapters` result, as far as it is measured: seeds, attacks,
            methods, scores and gains.
        margin: mean accuracy in [0, 1] below which a gain counts as none.
        clean_margin: clean accuracy in [0, 1] that may be lost without being called a cost.

    Returns:
        "case"; "words"; "sentences", the same one by one, the verdict itself first; and "subject", the key of the
        method that they are about, None where there is none.
    """
    key = subject(record)
    if not record["attacks"]:
        case, said = "no_attacks", ["No attack was run, so nothing can be said of robustness."]
    elif key is None:
        case, said = "inconclusive", ["There is no method beside the clean adapter, so there is nothing to compare."]
    else:
        gains = _gains(record)
        case, lead = _judge(gains, _seeds(record, key), name_of(record, key), margin, clean_margin)
        said = [f"{lead}.", _means(record, key, gains), _clean(record, key, gains), _rivals(record)]
    said = [one for one in said if one]
    return {"case": case, "words": " ".join(said), "sentences": said, "subject": key}


def subject(record: Mapping[str, Any]) -> str | None:
    """Return the key of the method that a verdict is about: the first AdpMixup, else the first beside slot 0."""
    found = [one for one in record["methods"] if one["key"] != CLEAN]
    mixed = [one for one in found if one["method"] == "adpmixup"]
    return str((mixed or found)[0]["key"]) if found else None


def name_of(record: Mapping[str, Any], key: str) -> str:
    """Return what a method is called in a sentence; one whose formulas are not public is named as such."""
    method = next(one for one in record["methods"] if one["key"] == key)
    label = str(method["label"])
    if method["fidelity"] != "instantiation":
        return label
    return f"{label[:-1]}; {_OWN})" if label.endswith(")") else f"{label} ({_OWN})"


def _seeds(record: Mapping[str, Any], key: str) -> int:
    """Return the number of seeds of which both the method and slot 0 are there."""
    return sum(None not in (found.get(key), found.get(CLEAN)) for found in record["per_seed"].values())


def _gains(record: Mapping[str, Any]) -> dict[str, Interval | None]:
    """Return what the subject gains over slot 0: in clean accuracy, and in the mean of both protocols."""
    found = record["gains"].get(CLEAN) or {}
    return {name: found.get(name) for name in ("clean", "static_mean", "adaptive_mean")}


def _judge(
    gains: Mapping[str, Interval | None], seeds: int, name: str, margin: int | float, clean_margin: int | float
) -> tuple[str, str]:
    """Return the case and the words that lead to its numbers."""
    static, adaptive, clean = gains["static_mean"], gains["adaptive_mean"], gains["clean"]
    if static is None and adaptive is None:
        return "inconclusive", f"Nothing was measured that {name} could be judged by"
    if seeds < 2:
        return "inconclusive", _one_seed(name, static, adaptive, margin)
    won, held = _sure(static, margin), _sure(adaptive, margin)
    if adaptive is None:
        return "inconclusive", f"No attacker who adapts was let loose on {name}, and only that would tell if it holds"
    kept = static is None or adaptive["value"] >= _HALF * static["value"]
    if won and not kept:
        takes = "takes most of" if held else "takes"
        return "static_only", f"An attacker who adapts {takes} the gain of {name} away"
    if clean is not None and clean["high"] < 0 and clean["value"] < -clean_margin:
        return "costs_clean", f"{name} pays with clean accuracy"
    if held and kept:
        return "holds_adaptive", f"{name} holds against an attacker who adapts"
    if won:
        return "inconclusive", f"Whether {name} holds against an attacker who adapts is left open: it may be chance"
    if any(gain is not None and gain["value"] > margin for gain in (static, adaptive)):
        return "inconclusive", f"These runs do not decide whether {name} helps: its gain may be chance"
    return "no_gain", f"{name} gains nothing over {_BESIDE}"


def _one_seed(name: str, static: Interval | None, adaptive: Interval | None, margin: int | float) -> str:
    """Return why one seed decides nothing, and yet whether in it the adaptive attacker took the gain away."""
    words = f"One seed decides nothing on {name}"
    if static is None or adaptive is None or static["value"] <= margin or adaptive["value"] >= _HALF * static["value"]:
        return words
    takes = "takes most of the gain away" if adaptive["value"] > margin else "takes the gain away"
    return f"{words}, but in this one an attacker who adapts {takes}"


def _sure(gain: Interval | None, margin: int | float) -> bool:
    return gain is not None and gain["low"] > 0 and gain["value"] > margin


def _means(record: Mapping[str, Any], key: str, gains: Mapping[str, Interval | None]) -> str:
    """Return the means of both protocols, each beside that of slot 0."""
    mine, said = record["scores"][key], []
    for name, where in (
        ("static_mean", "on sentences attacked beforehand (static)"),
        ("adaptive_mean", "attacked itself (adaptive)"),
    ):
        mean, gain = mine.get(name), gains[name]
        if mean is not None and gain is not None:
            said.append(f"{share(mean)} {where}, {_apart(gain, _BESIDE)}")
    if not said:
        return ""
    alike = " attacked in the same way" if gains["adaptive_mean"] is not None else ""
    return f"Its mean of clean and attacked accuracy is {'; and '.join(said)}{alike}."


def _clean(record: Mapping[str, Any], key: str, gains: Mapping[str, Interval | None]) -> str:
    clean, gain = record["scores"][key].get("clean"), gains["clean"]
    if clean is None or gain is None:
        return ""
    return f"On clean sentences it is right on {share(clean)}, {_apart(gain, _BESIDE)}."


def _rivals(record: Mapping[str, Any]) -> str:
    """Return how the best other method of each protocol compares with the subject."""
    said = []
    for name, protocol in (("static_mean", "static"), ("adaptive_mean", "adaptive")):
        found = {key: one[name] for key, one in record["gains"].items() if key != CLEAN and one.get(name) is not None}
        if found:
            best = min(found, key=lambda key: float(found[key]["value"]))
            chance = "" if found[best]["low"] > 0 or found[best]["high"] < 0 else ", which may be chance"
            gain = {side: -found[best][end] for side, end in (("value", "value"), ("low", "high"), ("high", "low"))}
            said.append(f"{protocol}, {_label(record, best)}, {_apart(gain, 'it')}{chance}")
    return f"The strongest of the other methods: {'; '.join(said)}." if said else ""


def _label(record: Mapping[str, Any], key: str) -> str:
    return str(next(one["label"] for one in record["methods"] if one["key"] == key))


def _apart(gain: Interval, than: str) -> str:
    """Return "so many points above" or "below", of who has more by a gain than somebody else."""
    if abs(gain["value"]) < _LEAST:
        return f"level with {than}"
    return apart({"value": -gain["value"], "low": -gain["high"], "high": -gain["low"]}, than)
