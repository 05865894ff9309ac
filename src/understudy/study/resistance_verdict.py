"""The verdict on a defended teacher, in plain words: a pure function of the summary of a study.

It is found for each student of each regime first, and the worst of them is the teacher's: an attacker needs only one.

- `no_headline`: an attacker of the least set is missing, so that a worst case would be one in name only.
- `only_worsens`: the owner surely pays, more than the margin, and the students of plain distillation and of the best
  attacker lose no more.
- `fails`, where it is not that: the best attacker's student is surely better than one without a teacher, and by more
  than the margin; or the owner surely pays, and the best attacker's student loses no more, although plain
  distillation's does.
- `protects`: the best attacker's student surely loses, surely more than the owner does, and surely gains less than the
  margin over a student without a teacher; and no attacker that a worst case should have is missing or unfinished.
- `inconclusive`: one seed; an interval that straddles zero where the verdict hangs on its sign; or an ordinary teacher
  that is not surely of more use to a student than none, nor is the defended one: there is nothing to protect.

"Surely" means with the whole of a 95 % interval. Students lose "no more" than the owner where their loss exceeds the
owner's by at most the margin, or a quarter of the owner's, on average; they surely lose more where all of the interval
lies beyond that.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from understudy.study.resistance_words import apart, points, share, yardstick

CASES = ("no_headline", "fails", "only_worsens", "inconclusive", "protects")
"""In the order in which one student's case overrides another's."""
_NOTHING = "nothing"
_SAYS = {
    "fails": "It fails to an attacker who tries harder:",
    "only_worsens": "It has only become a worse teacher:",
    "inconclusive": "These runs do not decide:",
    "protects": "It protects, as far as these attackers go:",
    _NOTHING: "There is nothing to protect here:",
}


def verdict(
    summary: Mapping[str, Any],
    *,
    missing: Sequence[str],
    weak: Sequence[str] = (),
    margin: float,
    labels: Mapping[str, str],
) -> dict[str, Any]:
    """Return what may be said of a defended teacher.

    Args:
        summary: of this teacher, as `summarise` returns it.
        missing: what a headline lacks, in words.
        weak: what else a teacher must have been attacked with before it counts as protected, in words.
        margin: how much a student may gain over one without a teacher and still count as not helped, in [0, 1].
        labels: names of the attacks for people.

    Returns:
        "case"; "words"; "regime" and "student", on whom it rests; and "findings", the same of each student that can
        be judged.
    """
    found = [
        {"regime": regime, "student": student, **_judge(summary["cost"], one, margin, labels, weak)}
        for regime, listed in summary["regimes"].items()
        for student, one in listed["students"].items()
        if one["best"]["against_alone"] and one["best"]["help_of_ordinary"]
    ]
    decided = [one for one in found if one["case"] != _NOTHING] or found
    worst = min(decided, key=lambda one: (_rank(one["case"]), _gap(summary, one)), default=None)
    case = "inconclusive" if worst is None or worst["case"] == _NOTHING else worst["case"]
    words = _in_words(worst, found)
    if missing:
        case, words = "no_headline", f"No headline, for a worst case needs what is missing: {'; '.join(missing)}."
    return {
        "case": case,
        "words": f"{words} {_cost(summary['cost'])}",
        "regime": worst["regime"] if worst else None,
        "student": worst["student"] if worst else None,
        "findings": [{**one, "case": "inconclusive" if one["case"] == _NOTHING else one["case"]} for one in found],
    }


def _rank(case: str) -> int:
    return CASES.index(case) if case in CASES else len(CASES)


def _gap(summary: Mapping[str, Any], one: Mapping[str, Any]) -> float:
    """Return by how much the best attacker's student falls short of one without a teacher."""
    best = summary["regimes"][one["regime"]]["students"][one["student"]]["best"]
    return float(best["against_alone"]["value"])


def _in_words(worst: Mapping[str, Any] | None, found: Sequence[Mapping[str, Any]]) -> str:
    if worst is None:
        return "Nothing can be said: there is no student to compare with."
    alike = sum(one["case"] == worst["case"] for one in found)
    where = f"regime {worst['regime']}, student {worst['student']}"
    where += f", and alike in {alike} of {len(found)}" if len(found) > 1 else ""
    return f"{_SAYS[worst['case']]} {worst['words']} ({where})."


def _judge(
    cost: Mapping[str, Any], one: Mapping[str, Any], margin: float, labels: Mapping[str, str], weak: Sequence[str]
) -> dict[str, str]:
    """Return the case of one student in one regime, and why."""
    best, plain = one["best"], one["plain"]
    short, helped, loss = (best[name] for name in ("against_alone", "help_of_ordinary", "protection"))
    alone = yardstick(one["alone_kind"])
    attack = labels.get(best["attack"], best["attack"])
    reached = f"{attack} takes the student to {share(best['accuracy'])}, {apart(short, alone)}"
    if min(short["n"], loss["n"]) < 2:
        return {"case": "inconclusive", "words": f"{reached}; one seed shows no spread"}
    gains = short["high"] < 0 and short["value"] < -margin
    if helped["low"] <= 0 and not gains:
        words = f"the best student of the ordinary teacher is {apart(_turned(helped), alone)}, which may be chance"
        return {"case": _NOTHING, "words": words}
    words = f"{reached} and {apart(loss, 'the best student of the ordinary teacher')}"
    pays = cost["low"] > 0 and cost["value"] > margin
    more = max(margin, cost["value"] / 4)
    no_more = pays and best["beyond_cost"]["value"] <= more
    suffers = plain is not None and plain["protection"]["n"] > 1 and plain["protection"]["low"] > 0
    suffers = suffers and not (pays and plain["beyond_cost"]["value"] <= more)
    if no_more and not suffers:
        return {"case": "only_worsens", "words": f"{words}, no more than the owner loses"}
    if gains or no_more:
        plainly = f"; plain distillation loses {points(plain['protection'])}" if suffers else ""
        return {"case": "fails", "words": words + plainly}
    open_ends = [labels.get(name, name) for name in one["unfinished"]] + list(weak)
    if loss["low"] > 0 and best["beyond_cost"]["low"] > more and short["low"] > -margin:
        if open_ends:
            lacking = f"{words}; but these may do better, and are not there or not finished: {', '.join(open_ends)}"
            return {"case": "inconclusive", "words": lacking}
        return {"case": "protects", "words": words}
    return {"case": "inconclusive", "words": f"{words}, which may be chance"}


def _cost(cost: Mapping[str, Any]) -> str:
    """Return what the owner pays, and over what its interval is taken."""
    over = "over seeds" if cost["over"] == "seeds" else "over test images, for one pair of teachers"
    does, size = ("loses", cost) if cost["value"] >= 0 else ("gains", _turned(cost))
    return f"The owner {does} {points(size)} of accuracy{'' if cost['low'] == cost['high'] else f', {over}'}."


def _turned(interval: Mapping[str, Any]) -> dict[str, Any]:
    return {**interval, "value": -interval["value"], "low": -interval["high"], "high": -interval["low"]}
