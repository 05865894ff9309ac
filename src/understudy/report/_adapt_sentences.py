"""Attacked sentences beside what they were: changed words marked, coefficients as bars, and who is misled."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import groupby

from understudy.report._adapt_read import AdaptersRecord, Example
from understudy.report._adapt_words import (
    attack_label,
    attack_of,
    class_name,
    method_colour,
    method_label,
    slot_colour,
    slot_label,
)
from understudy.report._format import count, decimal, finite, percent

MOST = 24
"""Most sentences on a page."""
OPEN = 8
"""So many are read at once; the others are folded away."""
_LETTERS = 1200
"""Most letters shown of one sentence, so that a long review does not push the others off the page."""
_AROUND = 15
"""Words shown at either end of a long stretch without a change."""
_FAR = 0.1
"""Entropies that lie so far apart, in nats, need two decimals."""
_CUT = "\N{HORIZONTAL ELLIPSIS}"
_STATUS = {
    "success": "misled the clean adapter",
    "failed": "did not mislead the clean adapter",
    "skipped": "wrong before any change",
}
Runs = list[tuple[str, bool]]
"""Pieces of a sentence, and whether each was changed."""


@dataclass(frozen=True)
class Bar:
    """One part of a bar: its name, colour word, width in per cent, and the number."""

    name: str
    colour: str
    width: float
    text: str


@dataclass(frozen=True)
class Guess:
    """What one method makes of a sentence."""

    name: str
    colour: str
    said: str
    right: bool | None


@dataclass(frozen=True)
class Shown:
    """One attacked sentence as the page has it."""

    title: str
    note: str
    truth: str
    before: Runs
    after: Runs
    bars: Sequence[Bar]
    entropy: str
    guesses: Sequence[Guess]


def sentences_shown(record: AdaptersRecord) -> list[Shown]:
    """Return the attacked sentences of a record, as many as a page shows: those that misled first, attacks in turn."""
    turns: Counter[tuple[bool, str]] = Counter()
    places = []
    for at, one in enumerate(record.examples[:MOST]):
        kind = (one.status != "success", one.attack)
        places.append((kind[0], turns[kind], at))
        turns[kind] += 1
    digits = _digits([one.entropy for one in record.examples[:MOST]])
    return [_shown(record, record.examples[at], digits) for *_, at in sorted(places)]


def _digits(values: Sequence[float | None]) -> int:
    """Return with how many decimals entropies are told apart: more where all lie close together."""
    known = [number for value in values if (number := finite(value)) is not None]
    apart = max(known) - min(known) if known else 0.0
    return 2 if apart >= _FAR or apart == 0 else min(5, 1 - math.floor(math.log10(apart)))


def _shown(record: AdaptersRecord, example: Example, digits: int) -> Shown:
    attack = attack_of(record, example.attack)
    queries = None if example.queries is None else f"{count(example.queries)} queries"
    known = None if attack is None else "known" if attack.known else "unknown"
    notes = [known, _STATUS.get(example.status, example.status), queries]
    before, after = marked(example.original, example.attacked, example.changed)
    return Shown(
        title=attack_label(record, example.attack) or "Attacked sentence",
        note=", ".join(filter(None, notes)),
        truth=class_name(record, example.label),
        before=before,
        after=after,
        bars=_bars(record, example),
        entropy="" if finite(example.entropy) is None else f"{decimal(example.entropy, digits)} nats",
        guesses=_guesses(record, example),
    )


def marked(original: str, attacked: str, changed: Sequence[int]) -> tuple[Runs, Runs]:
    """Return both sentences in pieces, with the words marked that an attack changed.

    Places on file count the words of the original, split by white space. Where the attacked sentence has as many words,
    they hold in both; where a space was put into a word or taken out, the two are compared word by word instead.
    """
    before, after = original.split(), attacked.split()
    places = {at for at in changed if 0 <= at < len(before)}
    if len(before) == len(after):
        apart = {at for at in range(len(before)) if before[at] != after[at]}
        return _runs(before, places | apart), _runs(after, places | apart)
    new: set[int] = set()
    for kind, start, end, begin, stop in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind != "equal":
            places |= set(range(start, end))
            new |= set(range(begin, stop))
    return _runs(before, places), _runs(after, new)


def _runs(words: Sequence[str], changed: set[int]) -> Runs:
    """Return words as pieces, neighbours of one kind in one piece; long stretches without a change are cut short."""
    found: Runs = []
    letters = 0
    for was_changed, places in groupby(range(len(words)), key=lambda at: at in changed):
        piece = [words[at] for at in places]
        if not was_changed and len(piece) > 2 * _AROUND + 1:
            piece = [*piece[:_AROUND], _CUT, *piece[-_AROUND:]]
        text = " ".join(piece)
        letters += len(text) + 1
        if letters > _LETTERS:
            return [*found, (f"{text[: max(_LETTERS - letters, -len(text))]}{_CUT}", was_changed)]
        found.append((text, was_changed))
    return found


def _bars(record: AdaptersRecord, example: Example) -> list[Bar]:
    weights = {name: finite(value) for name, value in (example.weights or {}).items()}
    known = [(name, value) for name, value in weights.items() if value is not None]
    return bars(record, [name for name, _ in known], [value for _, value in known])


def bars(record: AdaptersRecord, slots: Sequence[str], weights: Sequence[float]) -> list[Bar]:
    """Return weights on the simplex as the parts of one bar, in the colours of their slots."""
    return [
        Bar(slot_label(record, name), slot_colour(record, name), round(100 * min(max(weight, 0.0), 1.0), 2),
            percent(weight, 0))
        for name, weight in zip(slots, weights, strict=False)
    ]  # fmt: skip


def _guesses(record: AdaptersRecord, example: Example) -> list[Guess]:
    return [
        Guess(
            method_label(record, key),
            method_colour(record, key),
            class_name(record, said),
            None if said is None or example.label is None else said == example.label,
        )
        for key, said in example.predictions.items()
    ]


def kinds_of_text(record: AdaptersRecord) -> list[tuple[str, list[Bar]]]:
    """Return the mean weight of every slot, a bar for each kind of text."""
    weights = _weights(record)
    slots = [str(name) for name in weights.get("slots", [])]
    found = []
    for name, values in weights.items():
        numbers = [number for value in values if (number := finite(value)) is not None]
        if name != "slots" and slots and len(numbers) == len(slots):
            found.append(("Clean text" if name == "clean" else slot_label(record, name), bars(record, slots, numbers)))
    return found


def _weights(record: AdaptersRecord) -> dict[str, list[float] | list[str]]:
    return (record.profile.weights if record.profile else None) or {}


def slot_legend(record: AdaptersRecord) -> list[tuple[str, str, str]]:
    """Return which colour is which adapter of the mixture."""
    weights = _weights(record)
    named = [str(name) for name in weights.get("slots", [])]
    named += [name for example in record.examples for name in example.weights or {}]
    return [
        (f"{slot_label(record, name)} adapter", slot_colour(record, name), "block") for name in dict.fromkeys(named)
    ]
