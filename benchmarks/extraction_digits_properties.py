"""What a study of the digits should show, checked on its numbers, and its tables; used by `extraction_digits.py`."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

Scores = dict[str, float]
Found = dict[str, list[Scores]]
"""The scores of each row, a dictionary a seed; rows are called "name | defence"."""

DEFENCES = ("none", "noise:0.1", "noise:0.5", "topk:5", "rounding:1")
PLAIN = (
    "target itself",
    "random surrogate | none",
    "no-query control | none",
    "no-query control, rows of RDA m=5 | none",
)


@dataclass(frozen=True)
class Property:
    """A statement that can fail, with the numbers that decide it."""

    number: int
    text: str
    holds: bool


def mean(found: Found, row: str, score: str) -> float:
    """Return the mean of a score over the seeds."""
    return statistics.mean(one[score] for one in found[row])


def properties(found: Found) -> Iterator[Property]:
    """Yield the statistical acceptance properties, 19 to 26 of the specification, in their order."""

    def gap(first: str, second: str, score: str) -> float:
        return mean(found, first, score) - mean(found, second, score)

    noise = found["noise averaging"][0]
    ratio = noise["rms_1"] / noise["rms_16"]
    yield Property(
        19, f"RMS error of a prototype under noise, n=1 over n=16: {ratio:.2f} (4.0 ± 0.2)", abs(ratio - 4) <= 0.2
    )

    rda, stopped = "RDA n=10, m=5 | none", "Cont-Steal, stopped after 10 epochs | none"
    few, full = gap(rda, stopped, "few_shot"), gap(rda, stopped, "linear")
    text = f"RDA over Cont-Steal at equal queries: few-shot {few:+.1%} (≥ 5), full-label {full:+.1%} (≥ 2)"
    yield Property(20, text, few >= 0.05 and full >= 0.02)

    one, cached = "RDA n=1, m=1 | none", "Cont-Steal, 1 cached view | none"
    few, close = gap(one, cached, "few_shot"), gap(one, cached, "fidelity")
    text = f"RDA over Cont-Steal, one answer an image: few-shot {few:+.1%} (≥ 0), fidelity {close:+.3f} (≥ 0.05)"
    yield Property(21, text, few >= 0 and close >= 0.05)

    close = gap(rda, "Cont-Steal | none", "fidelity")
    text = f"fidelity of RDA over Cont-Steal with four times the queries: {close:+.3f} (≥ 0.05)"
    yield Property(22, text, close >= 0.05)

    skipped = {*PLAIN, stopped, "noise averaging"}
    undefended = [row for row in found if row not in skipped and row.endswith("| none") and "honest" not in row]
    lowest = min(undefended, key=lambda row: mean(found, row, "few_shot"))
    few = gap(lowest, "no-query control | none", "few_shot")
    text = f"the least method over the no-query control: few-shot {few:+.1%} (≥ 4), {lowest.partition(' |')[0]}"
    if (longer := "no-query control, rows of RDA m=5 | none") in found:
        text += f"; not asked for: over the control trained on RDA's rows {gap(lowest, longer, 'few_shot'):+.1%}"
    yield Property(23, text, few >= 0.04)

    sizes = [mean(found, rda + size, "fidelity") for size in (" | 25 images", " | 50 images", "", " | 200 images")]
    text = "fidelity of RDA at 25, 50, 100, 200 images: " + ", ".join(f"{size:.3f}" for size in sizes)
    yield Property(24, text, all(after >= before - 0.01 for before, after in pairwise(sizes)))

    gaps = {
        (defence, score): gap(f"RDA n=10, m=1 | {defence}", f"RDA n=1, m=1 | {defence}", score)
        for defence in ("none", "noise:0.1")
        for score in ("few_shot", "fidelity")
    }
    noisy, plain = (gaps["noise:0.1", "few_shot"], gaps["none", "few_shot"])
    noisy_close, plain_close = (gaps["noise:0.1", "fidelity"], gaps["none", "fidelity"])
    text = (
        f"prototypes of 10 over 1 view, m=1: under noise 0.1 few-shot {noisy:+.1%} (≥ 2), fidelity {noisy_close:+.3f} "
        f"(≥ 0.03); without {plain:+.1%} (within 1.5), {plain_close:+.3f} (within 0.01)"
    )
    holds = noisy >= 0.02 and noisy_close >= 0.03 and abs(plain) <= 0.015 and abs(plain_close) <= 0.01
    yield Property(25, text, holds)

    honest = mean(found, "honest client | noise:0.5", "linear")
    copied = mean(found, "RDA n=10, m=1 | noise:0.5", "linear")
    text = f"under noise 0.5 an honest client has {honest:.1%} full-label (≤ 20), the copy {copied:.1%} (≥ 90)"
    yield Property(26, text, honest <= 0.2 and copied >= 0.9)


def tables(found: Found) -> Iterator[str]:
    """Yield the lines of both tables, mean ± standard deviation over the seeds."""
    places = {row: _place(row) for row in found if row != "noise averaging"}
    yield "| method | queries | linear % | few-shot % | fidelity |"
    yield "|---|---|---|---|---|"
    for row, (name, defence) in places.items():
        scores = found[row]
        if defence == "none" and name != "honest client":
            queries = f"{int(scores[0]['queries']):,}" if "queries" in scores[0] else "–"
            shown = (
                spread(scores, "linear", 100, 1),
                spread(scores, "few_shot", 100, 1),
                spread(scores, "fidelity", 1, 3),
            )
            yield f"| {name} | {queries} | {' | '.join(shown)} |"
    yield ""
    yield "| method: linear / few-shot / fidelity | " + " | ".join(DEFENCES) + " |"
    yield "|---|" + "---|" * len(DEFENCES)
    by_place = {place: found[row] for row, place in places.items()}
    for name in dict.fromkeys(name for name, defence in by_place if defence != "none"):
        yield f"| {name} | " + " | ".join(cell(by_place.get((name, defence))) for defence in DEFENCES) + " |"


def _place(row: str) -> tuple[str, str]:
    """Return the name that a row has in the tables, with the number of images if it is not 100, and its defence."""
    name, *rest = row.split(" | ")
    return ", ".join([name, *rest[1:]]), rest[0] if rest else "none"


def spread(scores: list[Scores], score: str, scale: float, digits: int) -> str:
    """Return mean ± standard deviation over the seeds."""
    values = [scale * one[score] for one in scores]
    shown = f"{statistics.mean(values):.{digits}f}"
    return shown if len(values) < 2 else f"{shown} ± {statistics.stdev(values):.{digits}f}"


def cell(scores: list[Scores] | None) -> str:
    """Return the three means of a cell of the second table; an honest client has no fidelity."""
    if not scores:
        return "–"
    means = [f"{100 * statistics.mean(one[score] for one in scores):.1f}" for score in ("linear", "few_shot")]
    if "fidelity" in scores[0]:
        means.append(f"{statistics.mean(one['fidelity'] for one in scores):.3f}")
    return " / ".join(means)
