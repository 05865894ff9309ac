"""The verdict on a text classifier under attack, in plain words: a pure function of the record of a study.

It is about one method, the first AdpMixup of the record, or the first method beside the clean adapter where there is
none. What counts is the mean of clean accuracy and of accuracy under each attack, beside that of the clean adapter
alone (slot 0), in two protocols: *static*, on sentences that were attacked once, against the clean adapter; and
*adaptive*, where each model is attacked itself.

- `no_attacks`: nothing was attacked, so that nothing can be said.
- `inconclusive`: one seed; no adaptive attack; a clean adapter near chance; or a gain that may be chance.
- `static_only`: a sure static gain, of which an attacker who adapts leaves less than half.
- `costs_clean`, where it is not that: clean accuracy surely falls, by more than its margin.
- `holds_adaptive`: a sure adaptive gain, of at least half the static one.
- `no_gain`: neither protocol shows a gain beyond the margin.

"Sure" means with the whole of a 95 % interval, and by more than the margin. Where the clean adapter itself is not
surely better than chance, everything is `inconclusive`. How much of a static gain is left is counted on the sentences
that the adaptive attacks were run on, where the record has that; every gain is the method's accuracy less another's.
"""

from collections.abc import Mapping
from typing import Any

CASES = ("no_attacks", "inconclusive", "static_only", "costs_clean", "holds_adaptive", "no_gain")
CLEAN = "clean"
"""Key of slot 0 alone, beside which everything stands."""
_BESIDE = "the clean adapter"
_HALF = 0.5
"""Share of the static gain that must be left under adaptive attack, so that a method may be said to hold."""
_ABOVE_CHANCE = 0.05
"""By how much a clean adapter has to be surely better than chance."""
Interval = Mapping[str, Any]


def verdict(
    record: Mapping[str, Any], *, margin: int | float = 0.01, clean_margin: int | float = 0.02
) -> dict[str, Any]:
    """Return what may be said of a method under attack.

    Args:
        record: content of `withstand.json` or of an `adapters` result, as far as it is measured: seeds, attacks,
            methods, scores, gains, rows and the classes of the data.
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
        name = _label(record, key)
        if _near_chance(record):
            case, lead = (
                "inconclusive",
                f"The clean adapter is not surely better than chance, so {name} cannot be judged",
            )
        else:
            case, lead = _judge(gains, _seeds(record, key), name, margin, clean_margin)
        said = [f"{lead}.", _means(record, gains), _clean(gains), _rivals(record)]
    said = [one for one in said if one]
    return {"case": case, "words": " ".join(said), "sentences": said, "subject": key}


def subject(record: Mapping[str, Any]) -> str | None:
    """Return the key of the method that a verdict is about: the first AdpMixup, else the first beside slot 0."""
    found = [one for one in record["methods"] if one["key"] != CLEAN]
    mixed = [one for one in found if one["method"] == "adpmixup"]
    return str((mixed or found)[0]["key"]) if found else None


def _seeds(record: Mapping[str, Any], key: str) -> int:
    """Return the number of seeds of which both the method and slot 0 are there."""
    return sum(None not in (found.get(key), found.get(CLEAN)) for found in record["per_seed"].values())


def _near_chance(record: Mapping[str, Any]) -> bool:
    """Return whether slot 0 is not surely better than chance on clean sentences."""
    classes = len(record["data"]["classes"])
    clean = (record["scores"].get(CLEAN) or {}).get("clean")
    return bool(classes) and clean is not None and clean["low"] <= 1 / classes + _ABOVE_CHANCE


def _gains(record: Mapping[str, Any], other: str = CLEAN) -> dict[str, Interval | None]:
    """Return what the subject gains over another: clean, in the mean of each protocol, and `beside` the adaptive one.

    The last is the static gain on the sentences of the adaptive attacks, or on all where that is not on file.
    """
    found = record["gains"].get(other) or {}
    gains = {name: found.get(name) for name in ("clean", "static_mean", "adaptive_mean")}
    common = found.get("static_common_mean") if gains["adaptive_mean"] is not None else None
    return {**gains, "beside": common or gains["static_mean"]}


def _judge(
    gains: Mapping[str, Interval | None], seeds: int, name: str, margin: int | float, clean_margin: int | float
) -> tuple[str, str]:
    """Return the case and the words that lead to its numbers."""
    static, adaptive, clean = gains["static_mean"], gains["adaptive_mean"], gains["clean"]
    if static is None and adaptive is None:
        return "inconclusive", f"Nothing was measured that {name} could be judged by"
    if seeds < 2:
        return "inconclusive", _one_seed(name, gains["beside"], adaptive, margin)
    won, held = _sure(static, margin), _sure(adaptive, margin)
    if adaptive is None:
        return "inconclusive", f"No attacker who adapts was let loose on {name}, and only that would tell if it holds"
    beside = gains["beside"]
    kept = beside is None or adaptive["value"] >= _HALF * beside["value"]
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


def _means(record: Mapping[str, Any], gains: Mapping[str, Interval | None]) -> str:
    """Return the gains of both protocols over slot 0, and on how many sentences of a seed they were counted."""
    shown = {protocol: gain for protocol, gain in _sides(gains) if gain is not None}
    if not shown:
        return ""
    rows = dict(record["rows"])
    found = record["gains"].get(CLEAN) or {}
    common = "adaptive" in shown and found.get("static_common_mean") is not None
    where = f", on the same {rows['adaptive']} sentences" if common and rows.get("adaptive") else ""
    said = [
        f"{protocol} {_points(gain)}{'' if where or not rows.get(protocol) else f' on {rows[protocol]} sentences'}"
        for protocol, gain in shown.items()
    ]
    return f"Mean of clean and attacked accuracy against {_BESIDE}{where}: {', '.join(said)}."


def _sides(gains: Mapping[str, Interval | None]) -> list[tuple[str, Interval | None]]:
    return [("static", gains["beside"]), ("adaptive", gains["adaptive_mean"])]


def _clean(gains: Mapping[str, Interval | None]) -> str:
    return "" if gains["clean"] is None else f"Clean accuracy against it: {_points(gains['clean'])}."


def _rivals(record: Mapping[str, Any]) -> str:
    """Return how the subject compares with the best other method of each protocol."""
    rest = {key: dict(_sides(_gains(record, key))) for key in record["gains"] if key != CLEAN}
    said = []
    for protocol in ("static", "adaptive"):
        found = {key: gain for key, sides in rest.items() if (gain := sides[protocol]) is not None}
        if found:
            best = min(found, key=lambda key: float(found[key]["value"]))
            chance = "" if found[best]["low"] > 0 or found[best]["high"] < 0 else ", which may be chance"
            said.append(f"{protocol} {_points(found[best], ends=False)} ({_label(record, best)}{chance})")
    return f"Against the best of the others: {', '.join(said)}." if said else ""


def _label(record: Mapping[str, Any], key: str) -> str:
    return str(next(one["label"] for one in record["methods"] if one["key"] == key))


def _points(gain: Interval, *, ends: bool = True) -> str:
    """Return a gain in points with its sign, and the ends of its interval where they differ."""
    low, high = _tenths(gain["low"]), _tenths(gain["high"])
    return f"{_tenths(gain['value'])} points{f' ({low} to {high})' if ends and low != high else ''}"


def _tenths(value: float) -> str:
    # Rounded as the page rounds, so that no number has two last digits.
    tenths = round(1000 * value) / 10
    sign = "\N{MINUS SIGN}" if tenths < 0 else "+" if tenths > 0 else ""
    return f"{sign}{abs(tenths):.1f}"
