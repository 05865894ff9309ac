"""What the toy transfer table should show, checked on its numbers, and the table; used by `robust_digits.py`."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass

Scores = dict[str, float]
Found = dict[str, list[Scores]]
"""The scores of each row, a dictionary a seed; rows are called "name | teacher"."""

TEACHERS = ("none", "intact", "errs")
NATURAL, PGD_AT = "natural | none", "PGD-AT | none"
DENOISE, TRANSITION = "CRDND denoise", "CRDND denoise, transition"


@dataclass(frozen=True)
class Property:
    """A statement that can fail, with the numbers that decide it."""

    name: str
    text: str
    holds: bool


def mean(found: Found, row: str, score: str) -> float:
    """Return the mean of a score over the seeds."""
    return statistics.mean(one[score] for one in found[row])


def properties(found: Found) -> Iterator[Property]:
    """Yield the thresholds of the specification's toy problem, each on the mean over the seeds."""
    natural, adversarial = (mean(found, row, "robust") for row in (NATURAL, PGD_AT))
    robust = [row for row in found if row == PGD_AT or row.endswith("| intact")]
    scores = {row: mean(found, row, "robust") for row in robust if not row.startswith("teacher")}

    least = min(scores, key=lambda row: scores[row])
    gain = scores[least] - natural
    text = f"the least robust method over the natural student: {gain:+.1%} (≥ 35), {least.partition(' |')[0]}"
    yield Property("intact teacher, robust at all", text, gain >= 0.35)

    furthest = max(scores, key=lambda row: abs(scores[row] - adversarial))
    gap = scores[furthest] - adversarial
    text = f"the method furthest from PGD-AT: {gap:+.1%} (within 4), {furthest.partition(' |')[0]}"
    yield Property("intact teacher, near PGD-AT", text, abs(gap) <= 0.04)

    def over(first: str, second: str, score: str) -> float:
        return mean(found, f"{first} | errs", score) - mean(found, f"{second} | errs", score)

    robustly, cleanly = over(DENOISE, "RSLAD", "robust"), over(DENOISE, "RSLAD", "clean")
    text = f"CRDND over RSLAD: robust {robustly:+.1%} (≥ 5), clean {cleanly:+.1%} (≥ 8)"
    yield Property("erring teacher, compensation", text, robustly >= 0.05 and cleanly >= 0.08)

    robustly = over("DGAD", "AdaAD", "robust")
    yield Property("erring teacher, label swap", f"DGAD over AdaAD: robust {robustly:+.1%} (≥ 7)", robustly >= 0.07)

    intact, errs = (mean(found, f"{TRANSITION} | {teacher}", "diagonal") for teacher in ("intact", "errs"))
    text = f"mean diagonal of the learned transition: {intact:.3f} intact (> 0.9), {errs:.3f} erring (< 0.75)"
    yield Property("transition measures the errors", text, intact > 0.9 and errs < 0.75)


def table(found: Found) -> Iterator[str]:
    """Yield the lines of the table, clean and robust accuracy in percent, mean ± standard deviation over the seeds."""
    seeds = max(len(scores) for scores in found.values())
    yield f"| {seeds} seeds | " + " | ".join(f"teacher {name}: clean | robust" for name in TEACHERS) + " |"
    yield "|---|" + "---|---|" * len(TEACHERS)
    names = dict.fromkeys(row.rpartition(" | ")[0] for row in found)
    for name in names:
        cells = [
            spread(found.get(f"{name} | {teacher}"), score) for teacher in TEACHERS for score in ("clean", "robust")
        ]
        yield f"| {name} | {' | '.join(cells)} |"


def spread(scores: list[Scores] | None, score: str) -> str:
    """Return mean ± standard deviation over the seeds in percent, a dash where nothing was measured."""
    values = [100 * one[score] for one in scores or []]
    if not values:
        return "–"
    return f"{statistics.mean(values):.1f}" + (f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else "")
