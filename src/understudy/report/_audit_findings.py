"""What an audit found, in sentences for a reader who knows none of the papers."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from understudy.report._audit_curves import Curve, curves
from understudy.report._audit_numbers import (
    MARGIN,
    NO_DEFENCE,
    Group,
    Trade,
    control,
    groups,
    informative,
    main_measure,
    measures,
    near_chance,
    trades,
)
from understudy.report._audit_read import FIDELITY, AuditRecord
from understudy.report._audit_words import MEASURE_NAMES, WORTH, money, rounded, score_text, verdict
from understudy.report._format import count, finite, percent, points
from understudy.report._words import method_name, value_of

_FEW_POINTS = 0.03
"""A gap between target and no-query control below this leaves a probe little to tell."""


@dataclass(frozen=True)
class Findings:
    """The summary of an audit: the first sentence, those after it, and what a reader should hold against them."""

    first: str
    more: list[str] = field(default_factory=list)
    defences: list[tuple[str, str]] = field(default_factory=list)
    """Each defence, and what it changes."""
    doubts: list[str] = field(default_factory=list)

    @property
    def sentences(self) -> list[str]:
        """Everything, in order."""
        listed = [f"{name}: {change}" for name, change in self.defences]
        return [self.first, *self.more, *listed, *self.doubts]


def findings(record: AuditRecord) -> Findings:
    """Return the summary of an audit."""
    measure = main_measure(record)
    found = trades(record, measure)
    if not found:
        return Findings("No run of this audit was finished, so it says nothing of the target.", doubts=_doubts(record))
    if not informative(record):
        return Findings(_empty(record, measure), doubts=_doubts(record))
    first = next((trade for trade in found if trade.defence == NO_DEFENCE), found[0])
    parts = (_worth, _other_measures, _faithful, _reach, _ranking)
    lines = [line for part in parts for line in part(record, first, measure)] + _balance(found)
    changes = [(trade.defence, _trade(record, trade, measure)) for trade in found if trade.defence != NO_DEFENCE]
    return Findings(_headline(record, first, measure), lines, changes, _doubts(record))


def _headline(record: AuditRecord, trade: Trade, measure: str) -> str:
    spent, name = _price(record, trade.best.queries), MEASURE_NAMES.get(measure, measure).lower()
    under = "" if trade.defence == NO_DEFENCE else f" behind the defence {trade.defence}"
    said = f"With {count(trade.best.queries)} queries{spent}{under}, the strongest method ({_method(trade.best)}) "
    said += "made a copy of the target. "
    own = score_text(trade.score.value, measure)
    target = value_of(record.target_scores.get(record.probe, {}).get(measure))
    if measure == FIDELITY:
        return f"{said}Its answers have a mean cosine of {own} with the target's."
    said += f"A classifier on the copy's features gets {own} of the test images of {record.probe} right"
    beside = "" if target is None else f"; on the target's own features, {score_text(target, measure)}"
    return f"{said}{beside} ({name})."


def _worth(record: AuditRecord, trade: Trade, measure: str) -> list[str]:
    gain, own = value_of(trade.gain), value_of(trade.score)
    if gain is None or own is None:
        return []
    floor = own - gain
    without = "the same network, trained on the same images without asking anything"
    without += f" ({score_text(floor, measure)})"
    if gain < MARGIN:
        nothing = "the queries gave the copier nothing that this measure can see"
        return [f"That is {points(abs(gain), signed=False)} {'above' if gain > 0 else 'below'} {without}: {nothing}."]
    said = f"That is {points(gain, signed=False)} above {without}"
    target = value_of(record.target_scores.get(record.probe, {}).get(measure))
    if target is not None and target > floor:
        share = gain / (target - floor)
        said += f", {percent(share, 0)} of the way" if share < 1 else ", all the way"
        said += " from there to the target"
    return [f"{said}. This is what the answers gave away."]


def _other_measures(record: AuditRecord, trade: Trade, measure: str) -> list[str]:
    gains = {name: value_of(trade.best.gain(record.probe, name)) for name in measures(record, record.probe)}
    said = [
        f"{MEASURE_NAMES.get(name, name)} {points(gain)}"
        for name, gain in gains.items()
        if name != measure and gain is not None
    ]
    return [f"By other measures the same copy differs from that network by: {', '.join(said)}."] if said else []


def _faithful(record: AuditRecord, trade: Trade, measure: str) -> list[str]:
    own = value_of(trade.best.score(record.probe, FIDELITY))
    floor = value_of(control(record.controls.no_query, record.probe, FIDELITY))
    if own is None or measure == FIDELITY:
        return []
    without = "" if floor is None else f" ({score_text(floor, FIDELITY)} without queries)"
    said = f"The copy's answers and the target's have a mean cosine of {score_text(own, FIDELITY)}{without}"
    return [f"{said}, where 1 is the same direction."]


def _reach(record: AuditRecord, trade: Trade, measure: str) -> list[str]:
    mine = [one for one in curves(record, measure) if one.defence == trade.defence and one.gap is not None]
    if not mine or (value_of(trade.gain) or 0.0) < MARGIN:
        return []
    share = percent(record.copied_frac, 0)
    reached = [(one.copied_at, one) for one in mine if one.copied_at is not None]
    if not reached:
        limit = count(max(group.queries for group in groups(record)))
        return [f"No method went {share} of that way with the {limit} queries that it was given."]
    queries, curve = min(reached, key=lambda pair: pair[0])
    return [f"To go {share} of that way, {method_name(curve.method)} needed {_reached(record, curve, queries)}."]


def _reached(record: AuditRecord, curve: Curve, queries: int | float) -> str:
    if curve.at_first:
        return f"no more than the {count(queries)} queries{_price(record, queries)} that it was tried with first"
    return f"about {count(rounded(queries))} queries{_price(record, queries)}"


def _ranking(record: AuditRecord, trade: Trade, measure: str) -> list[str]:
    there = {group.method: group for group in groups(record) if group.defence == trade.defence}  # the last has most
    last = max(group.budgets[-1] for group in there.values())
    scored = [
        (group, one)
        for group in there.values()
        if (one := group.score(record.probe, measure)) and value_of(one) is not None
    ]
    scored.sort(key=lambda pair: -(value_of(pair[1]) or 0.0))
    if len(scored) < 2:
        return []
    (top, best), (_, second) = scored[:2]
    rest = ", ".join(f"{_method(group)} {score_text(one.value, measure)}" for group, one in scored[1:])
    said = f"With the largest budget ({count(last)} queries), {_method(top)} comes first with "
    said += f"{score_text(best.value, measure)}, then {rest}."
    if (finite(best.low) or 0.0) <= (finite(second.high) or 0.0):
        said += " The ranges of the first two overlap, so their order may be chance."
    return [said]


def _balance(found: Sequence[Trade]) -> list[str]:
    tried = [trade for trade in found if trade.copier_loss is not None]
    judged = [trade for trade in tried if trade.honest_loss is not None]
    if not judged:
        return []
    good = [trade.defence for trade in judged if verdict(trade) == WORTH]
    if good:
        return [f"Of the defences, {' and '.join(good)} cost the copier more than honest clients."]
    which = "The defence that was tried does not cost" if len(judged) == 1 else "None of the defences costs"
    return [f"{which} the copier more than it costs honest clients."]


def _trade(record: AuditRecord, trade: Trade, measure: str) -> str:
    facts = record.about_defences.get(trade.defence)
    words = f"{facts.words}. " if facts and facts.words else ""
    scored = f"{score_text(trade.score.value, measure)} ({_method(trade.best)})"
    copier = f"{words[:1].upper()}{words[1:]}The best copy scores {scored}"
    if trade.copier_loss is not None:
        copier += f", {_change(trade.copier_loss)}"
    if trade.honest is None or trade.honest_loss is None:
        return f"{copier}; what an honest client loses was not measured."
    client = f"an honest client {score_text(trade.honest.value, measure)}, {_change(trade.honest_loss)}"
    if near_chance(record, trade.honest, measure):
        client += f" and close to guessing ({percent(record.chance)})"
    own, served = value_of(trade.score), value_of(trade.honest)
    if own is not None and served is not None and own > served + MARGIN:
        client += ": the copy is better than what the endpoint then serves"
    return f"{copier}; {client}."


def _change(loss: float) -> str:
    if abs(loss) < MARGIN / 2:
        return "as without it"
    return f"{points(abs(loss), signed=False)} {'less' if loss > 0 else 'more'}"


def _doubts(record: AuditRecord) -> list[str]:
    return [*_about_seeds(record), *_about_runs(record), *_about_controls(record)]


def _about_seeds(record: AuditRecord) -> list[str]:
    if len(record.seeds) == 1:
        return [
            f"Everything was run with one seed ({record.seeds[0]}): another would move every number, often by a point "
            "or more. Three seeds or more give intervals."
        ]
    if len(record.seeds) == 2:
        return ["Two seeds give a range and no interval; three or more would."]
    return []


def _about_runs(record: AuditRecord) -> list[str]:
    said = []
    partial = [cell for cell in record.cells if cell.partial]
    if record.failures:
        said.append(
            f"{_runs(len(record.failures))} could not be finished and {'is' if len(record.failures) == 1 else 'are'} "
            "missing from every number: see the end of this page."
        )
    if partial:
        said.append(f"{_runs(len(partial))} came to the end of the budget before the plan was carried out.")
    return said


def _about_controls(record: AuditRecord) -> list[str]:
    measure = main_measure(record)
    target = value_of(record.target_scores.get(record.probe, {}).get(measure))
    floor = value_of(control(record.controls.no_query, record.probe, measure))
    if floor is None:
        return ["There is no control without queries, so nobody can say what the queries were worth."]
    if target is None or not informative(record):
        return []
    if target <= floor:
        return [
            f"A network that asked nothing scores {score_text(floor, measure)}, no worse than the target: "
            f"{record.probe} cannot show that anything was copied."
        ]
    if target - floor < _FEW_POINTS:
        return [
            f"A network that asked nothing is already within {points(target - floor, signed=False)} of the target, "
            "so this probe has little to tell; the other measures may tell more."
        ]
    return []


def _empty(record: AuditRecord, measure: str) -> str:
    why = "it answers the same whatever it is shown"
    score = record.target_scores.get(record.probe, {}).get(measure)
    if record.carries_information is not False and score is not None:
        name = MEASURE_NAMES.get(measure, measure).lower()
        why = (
            f"a {name} on its answers scores {score_text(score.value, measure)}, and guessing {percent(record.chance)}"
        )
    return f"The target carries no information on {record.probe}: {why}. Nothing here says that it can be copied."


def _method(group: Group) -> str:
    return method_name(group.method)


def _price(record: AuditRecord, queries: int | float) -> str:
    cost = money(record, queries)
    return f" (cost: {cost})" if cost else ""


def _runs(number: int) -> str:
    return "One run" if number == 1 else f"{count(number)} runs"
