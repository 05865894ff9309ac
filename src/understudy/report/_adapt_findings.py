"""What a study of text classifiers under attack found: the first screen of its page, and the words it uses."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from understudy.report._adapt_read import CLEAN, AdaptersRecord, Gain
from understudy.report._adapt_words import (
    ADAPTIVE,
    CASES,
    PROTOCOLS,
    STATIC,
    beside_adaptive,
    has_adaptive,
    inverted,
    no_constraints,
    rows_beside,
    rows_of,
)
from understudy.report._format import count, percent, points
from understudy.report._read import Interval
from understudy.report._resist_findings import sentence
from understudy.report._robust_words import listed
from understudy.report._table import Fact, interval_cell
from understudy.report._words import value_of


@dataclass(frozen=True)
class AdaptFindings:
    """The first screen: the verdict, what follows from it, headline numbers, and what to hold against them."""

    first: str
    more: Sequence[str] = ()
    case: tuple[str, str] = ("", "")
    """What the verdict is called, and its colour word."""
    facts: Sequence[Fact] = field(default=())
    doubts: Sequence[str] = field(default=())

    @property
    def sentences(self) -> list[str]:
        """Everything, in order."""
        return [self.first, *self.more, *self.doubts]


def adapt_findings(record: AdaptersRecord) -> AdaptFindings:
    """Return the summary of a study."""
    verdict = record.verdict
    said = verdict.sentences or ([verdict.words] if verdict.words else [])
    first = said[0] if said else "No verdict is on file."
    case = CASES.get(verdict.case, (verdict.case.replace("_", " ").capitalize(), "c6"))
    more = [one for one in (*said[1:2], " ".join(said[2:]), *_notes(record)) if one]
    return AdaptFindings(first, more, case, _facts(record), _doubts(record))


def _notes(record: AdaptersRecord) -> list[str]:
    """Return the notes on file, save those that say what the table of attacks says."""
    told = {f"{attack.label}: {said}." for attack in record.attacks for said in attack.constraints}
    return [note for note in record.notes if note not in told]


def _facts(record: AdaptersRecord) -> list[Fact]:
    """Return the three numbers that count, each with what the clean adapter reaches and the protocol named."""
    method = record.subject
    if method is None or method.key not in record.scores:
        return []
    gain = record.gains.get(CLEAN) or Gain()
    fields = [
        ("Clean accuracy", "clean"),
        (_mean(record, STATIC), beside_adaptive(record)),
        (_mean(record, ADAPTIVE), "adaptive_mean"),
    ]
    mine, clean = record.of(method.key), record.of(CLEAN)
    return [
        Fact(name, percent(value_of(value)), _beside(value, getattr(clean, of), getattr(gain, of)))
        for name, of in fields
        if value_of(value := getattr(mine, of)) is not None
    ]


def _mean(record: AdaptersRecord, protocol: str) -> str:
    return ", ".join(filter(None, ["Mean", protocol, rows_beside(record, protocol)]))


def _beside(mine: Interval | None, other: Interval | None, gain: Interval | None) -> str:
    """Return the range of a share, what the clean adapter reaches, and the gain as it is on file."""
    difference = "" if value_of(gain) is None else points(value_of(gain))
    theirs = "" if value_of(other) is None else f"clean adapter {percent(value_of(other))}"
    return "; ".join(filter(None, [interval_cell(mine).note, ", ".join(filter(None, [theirs, difference]))]))


def _doubts(record: AdaptersRecord) -> list[str]:
    """Return what a reader must know before believing the numbers."""
    said = []
    if record.attacks and not has_adaptive(record):
        said.append(
            "No model was attacked itself. Sentences attacked beforehand flatter a defence: what counts is an attacker "
            "who asks the defended model."
        )
    said += list(dict.fromkeys(slot.warning for slot in record.slots if slot.name == CLEAN and slot.warning))
    slots = inverted(record)
    if slots:
        said.append(
            f"No better than chance on clean sentences by itself: the adapter of {listed(slots)}. It has learnt "
            "nothing, or to contradict the clean adapter, which looks like robustness on sentences attacked beforehand "
            "and is none. Train it longer, or with more unchanged sentences beside the attacked ones (--anchor-ratio)."
        )
    if record.failures:
        many = len(record.failures)
        said.append(f"{count(many)} {'part was' if many == 1 else 'parts were'} not finished; the list is at the end.")
    told = tuple(slot.warning for slot in record.slots if slot.warning)
    said = [sentence(one) for one in said]
    return [*said, *(warning for warning in record.warnings if not warning.endswith(told))]


def meaning(record: AdaptersRecord) -> list[tuple[str, str]]:
    """Return the words of the page."""
    return [
        ("Adapter", "a few trained weights in a frozen language model, with a head: what turns it into a classifier."),
        ("Clean adapter", "the one trained on unchanged text, without a defence. Everything is measured against it."),
        ("Static", _protocol(record, STATIC)),
        ("Adaptive", _protocol(record, ADAPTIVE)),
        ("Known, unknown", "whether an adapter was trained on sentences that this attack had changed."),
        ("Mean", "of clean accuracy and of accuracy under each attack, all weighing the same."),
        ("Coefficient", "the share of the clean adapter in the mixture that answers one sentence; the rest is the "
         "adapters of the known attacks."),
        ("Entropy", "how unsure a prediction is, in nats: 0 is one class alone."),
        ("Query", "one text that an attack asks a model about. Where the budget runs out, the attack has failed."),
    ]  # fmt: skip


def _protocol(record: AdaptersRecord, name: str) -> str:
    rows = rows_of(record, name)
    return f"{PROTOCOLS[name]}{f'; {rows} for each attack and seed' if rows else ''}."


def silent(record: AdaptersRecord) -> list[str]:
    """Return what the study does not speak of."""
    said = [
        "Attackers who know of the gate and raise the confidence of a wrong answer: a gate on entropy is no security "
        "boundary.",
        "Other attacks, other data, and larger language models.",
    ]
    free = no_constraints(record)
    if free:
        names = listed([attack.label or attack.name for attack in free])
        said.insert(
            0,
            f"Whether a changed sentence still means the same: constraints are off for {names}, and some changes would "
            "fool no reader.",
        )
    return said
