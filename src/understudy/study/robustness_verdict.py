"""The verdict of an evaluation under attack, in plain words: what is claimed, for which threat, from which attacks."""

from collections.abc import Mapping, Sequence
from typing import Any

from understudy.attacks import AUTOATTACK

_NORMS = {
    "linf": "when every pixel may change by at most {} of the range from black to white (L-inf)",
    "l2": "when a change of at most {} in Euclidean length, over all pixels in [0, 1], is allowed (L2)",
}


def verdict(record: Mapping[str, Any]) -> str | None:
    """Return what may be claimed; None while a red flag is not acknowledged.

    Args:
        record: content of `robustness.json`, as far as the verdict rests on it.
    """
    if open_flags(record):
        return None
    lines = [_claim(record, "last"), _limits(record)]
    if "best" in record["models"]:
        lines.append(_beside(record, "best"))
    if "against" in record["models"]:
        lines += [_beside(record, "against"), _difference(record)]
    if record["flags"]:
        names = ", ".join(dict.fromkeys(flag["name"] for flag in record["flags"]))
        lines.append(f"Red flags were found and acknowledged, so the number may be too high: {names}.")
    return " ".join(lines)


def withheld(record: Mapping[str, Any]) -> list[str]:
    """Return why there is no verdict and what to do, a line for each red flag that is not acknowledged."""
    return [
        f"{flag['name']} ({record['models'][flag['model']]['name']}): {flag['what']}: {flag['measured']}. "
        f"{flag['meaning']} To do: {flag['to_do']}."
        for flag in open_flags(record)
    ]


def open_flags(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the red flags that nobody has acknowledged."""
    return [flag for flag in record["flags"] if not flag["acknowledged"]]


def _claim(record: Mapping[str, Any], key: str) -> str:
    scores, data, threat = record["scores"][key], record["data"], record["threat"]
    images = f"{data['rows']:,} {data['split']} images of {data['source']}"
    names = [attack["label"] for attack in record["attacks"]]
    judged = (
        f"judged by {names[0]}, which sees" if len(names) == 1 else f"judged by the worst of {_list(names)}, which see"
    )
    return (
        f"{_named(record, key)} names the right class for {_spread(scores['worst'])} of {images} "
        f"{_NORMS[threat['norm']].format(threat['text'])}, each image {judged} all "
        f"of its weights; without an attack, for {_spread(scores['clean'])}."
    )


def _limits(record: Mapping[str, Any]) -> str:
    names = [attack["name"] for attack in record["attacks"]]
    known = (
        "AutoAttack is the common yardstick, yet no proof: another attack may break more."
        if AUTOATTACK in names
        else "These attacks are weaker than AutoAttack, which usually breaks some points more (--attack autoattack)."
    )
    return (
        f"This is an upper bound of its robustness. {known} It holds for this threat alone and says nothing of larger "
        "changes, of other kinds of change such as blur or rotation, or of other images."
    )


def _beside(record: Mapping[str, Any], key: str) -> str:
    scores = record["scores"][key]
    what = "Its best checkpoint, chosen on held-out training images" if key == "best" else _named(record, key)
    return f"{what}: {_spread(scores['worst'])} under the same attacks, {_spread(scores['clean'])} without."


def _difference(record: Mapping[str, Any]) -> str:
    pairs = {(row["a"], row["b"], row["attack"]): row for row in record["paired"]}
    row = pairs["last", "against", "worst"]
    better = "more" if row["difference"] >= 0 else "fewer"
    points = f"{abs(100 * row['difference']):.1f} points"
    sure = "more than chance explains" if row["p_value"] < 0.05 else "which chance may explain"
    test = f"McNemar's exact test of these two networks: p = {row['p_value']:.2g}, {sure}; another seed moves either"
    return f"Image by image the first is right on {points} {better} ({test})."


def _named(record: Mapping[str, Any], key: str) -> str:
    model = record["models"][key]
    by = f", trained by {model['trained_by']}" if model["trained_by"] else ""
    by += " (an independent instantiation)" if model["fidelity"] == "instantiation" else ""
    return f"{model['name']} ({model['spec']}{by})"


def _spread(interval: Mapping[str, Any]) -> str:
    low, high = 100 * interval["low"], 100 * interval["high"]
    return f"{100 * interval['value']:.1f} % ({low:.1f} to {high:.1f})"


def _list(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"
