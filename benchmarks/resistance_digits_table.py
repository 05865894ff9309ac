"""What the specification measured on the digits, our numbers beside it, and what such a study should show.

Used by `resistance_digits.py`. Rows are called "regime | teacher | what was done"; a student of no teacher has the
teacher "none".
"""

import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass

Scores = dict[str, float]
Found = dict[str, list[Scores]]
"""The scores of each row, a dictionary a seed."""

THEIR_SEEDS = 4
LABELLED, UNLABELLED = "labelled", "unlabelled"
ORDINARY, STINGY, RELEASED = "ordinary", "Stingy k=2", "AST released, alpha 0.05"
NASTY, NASTIER, PAIRED = "Nasty, omega 0.02", "Nasty, omega 0.04", "AST paired, alpha 0.05"
ITSELF = "the teacher itself"

_KD = ("KD T=1", "KD T=4", "KD T=20")
_MAIN = {
    ORDINARY: (96.5, 1.37, 93.4, 94.5, 94.3),
    NASTY: (95.4, 1.95, 93.1, 92.7, 91.0),
    NASTIER: (89.1, 1.68, 93.1, 89.4, 83.5),
    "AST paired, alpha 0.02": (94.9, 0.46, 93.4, 93.9, 92.7),
    PAIRED: (93.6, 0.42, 93.2, 93.1, 91.3),
    RELEASED: (88.7, 0.81, 92.7, 89.3, 77.0),
    STINGY: (96.5, None, 93.2, 93.8, 84.9),
}
_ADAPTIVE = ("KD T=20 without T²", "KD T=20, centred logits", "uniform tail", "composition T=50", "skeptical T=20")
_ATTACKS = {
    ORDINARY: (93.1, 94.2, 93.1, 94.2, 93.7),
    NASTIER: (92.6, 70.4, 93.1, 93.6, 92.7),
    RELEASED: (92.5, 91.8, 92.9, 94.2, 93.7),
    STINGY: (92.0, None, 92.9, 90.6, 87.2),
}
_WITHOUT_LABELS = {
    ORDINARY: (96.3, 94.0, 94.8, 94.7, 91.9),
    NASTY: (95.1, 91.9, 91.5, 90.9, 90.4),
    PAIRED: (93.6, 91.1, 93.0, 91.5, 89.8),
    RELEASED: (85.6, 83.2, 80.1, 73.3, 82.7),
    STINGY: (96.3, 93.6, 93.1, 85.0, 91.9),
}


def specified() -> dict[tuple[str, str], float]:
    """Return the specification's means by (row, score): accuracies in percent, entropies in nats."""
    known: dict[tuple[str, str], float | None] = {
        (f"{LABELLED} | none | alone", "accuracy"): 92.7,
        (f"{LABELLED} | none | alone, smoothed"[:], "accuracy"): 93.2,
        (f"{UNLABELLED} | none | alone, true labels", "accuracy"): 92.5,
    }
    for teacher, (accuracy, entropy, *students) in _MAIN.items():
        known[f"{LABELLED} | {teacher} | {ITSELF}", "accuracy"] = accuracy
        known[f"{LABELLED} | {teacher} | {ITSELF}", "entropy 4"] = entropy
        known[f"{LABELLED} | {teacher} | hard label", "accuracy"] = 92.7
        for attack, value in zip(_KD, students, strict=True):
            known[f"{LABELLED} | {teacher} | {attack}", "accuracy"] = value
    for teacher, values in _ATTACKS.items():
        for attack, attacked in zip(_ADAPTIVE, values, strict=True):
            known[f"{LABELLED} | {teacher} | {attack}", "accuracy"] = attacked
    for teacher, values in _WITHOUT_LABELS.items():
        for attack, value in zip((ITSELF, *_KD, "hard label"), values, strict=True):
            known[f"{UNLABELLED} | {teacher} | {attack}", "accuracy"] = value
    return {key: value for key, value in known.items() if value is not None}


@dataclass(frozen=True)
class Compared:
    """One cell: our mean beside the specification's."""

    row: str
    score: str
    ours: float
    deviation: float
    """Standard deviation over our seeds."""
    theirs: float | None
    seeds: int

    @property
    def errors(self) -> float | None:
        """The difference in its standard errors: the means of our seeds and of their four have the same spread.

        What the specification rounds to its last digit counts as an error too; None where it has no value.
        """
        if self.theirs is None or self.seeds < 2:
            return None
        rounding = (0.1 if self.score == "accuracy" else 0.01) ** 2 / 12
        variance = self.deviation**2 * (1 / self.seeds + 1 / THEIR_SEEDS) + rounding
        return (self.ours - self.theirs) / math.sqrt(variance)


def compare(found: Found) -> Iterator[Compared]:
    """Yield every cell of ours, with the specification's where it has one: percent, or nats."""
    known = specified()
    for row, seeds in found.items():
        for score in ("accuracy", "entropy 4"):
            values = [one[score] * (100 if score == "accuracy" else 1) for one in seeds if score in one]
            if values:
                spread = statistics.stdev(values) if len(values) > 1 else 0.0
                yield Compared(row, score, statistics.mean(values), spread, known.get((row, score)), len(values))


def table(found: Found) -> Iterator[str]:
    """Yield the lines of the table: ours ± standard deviation, the specification's, the difference in errors."""
    yield "| regime | teacher | student | measured | specified | difference, standard errors |"
    yield "|---|---|---|---|---|---|"
    for one in compare(found):
        regime, teacher, what = one.row.split(" | ")
        accuracy = one.score == "accuracy"
        what += "" if accuracy else ", entropy at T=4"
        digits = 1 if accuracy else 2
        theirs = "–" if one.theirs is None else f"{one.theirs:.{digits}f}"
        errors = "–" if one.errors is None else f"{one.errors:+.1f}" + (" **off**" if abs(one.errors) > 2 else "")
        measured = f"{one.ours:.{digits}f} ± {one.deviation:.{digits}f}"
        yield f"| {regime} | {teacher} | {what} | {measured} | {theirs} | {errors} |"


def shifts(found: Found) -> Iterator[str]:
    """Yield for each regime by how much all its accuracies together differ from the specification's.

    The cells of a regime share test images, teachers and first weights, so that a seed moves most of them at once:
    what counts is the difference of each seed's mean over the cells, and its spread over the seeds.
    """
    for regime in (LABELLED, UNLABELLED):
        known = {row: value for (row, score), value in specified().items() if score == "accuracy" and row in found}
        rows = [row for row in known if row.startswith(f"{regime} |")]
        seeds = zip(*(found[row] for row in rows), strict=True)
        means = [statistics.mean(100 * one["accuracy"] for one in seed) for seed in seeds]
        if len(means) > 1:
            shift = statistics.mean(means) - statistics.mean(known[row] for row in rows)
            error = statistics.stdev(means) * math.sqrt(1 / len(means) + 1 / THEIR_SEEDS)
            yield (
                f"{regime}: all {len(rows)} accuracies together {shift:+.2f} points, {shift / error:+.1f} standard "
                f"errors of {error:.2f}"
            )


def verdict(found: Found) -> str:
    """Return how many cells lie within two standard errors, and how many would by chance alone."""
    errors = [one.errors for one in compare(found) if one.errors is not None]
    off = sum(abs(error) > 2 for error in errors)
    seeds = max(len(scores) for scores in found.values())
    if not errors:
        return "one seed has no spread: nothing is compared"
    chance = by_chance(seeds) * len(errors)
    return (
        f"{len(errors) - off} of {len(errors)} cells within two standard errors; by chance about {chance:.0f} are off"
    )


def by_chance(seeds: int) -> float:
    """Return the chance that one cell is off though nothing differs: the spread is known from a few seeds only."""
    from scipy.special import stdtr

    return 2 * float(stdtr(seeds - 1, -2.0))
