"""The properties that training on the digits should show, 14 to 18 of the specification; see `resistance_digits.py`."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass

from resistance_digits_table import ITSELF, LABELLED, NASTY, ORDINARY, PAIRED, RELEASED, STINGY, Found

ALONE = f"{LABELLED} | none | alone"
NO_TERM = "Nasty, omega 0"


@dataclass(frozen=True)
class Property:
    """A statement that can fail, with the numbers that decide it."""

    number: int
    text: str
    holds: bool


def properties(found: Found) -> Iterator[Property]:
    """Yield the properties; each must hold in every seed."""

    def values(teacher: str, what: str, score: str = "accuracy") -> list[float]:
        return [one[score] for one in found[f"{LABELLED} | {teacher} | {what}"]]

    alone = [one["accuracy"] for one in found[ALONE]]

    gone = less(values(ORDINARY, "KD T=20"), values(STINGY, "KD T=20"))
    mild = less(values(ORDINARY, "KD T=1"), values(STINGY, "KD T=1"))
    cost = less(values(ORDINARY, ITSELF), values(STINGY, ITSELF))
    text = (
        f"Stingy costs students at T=20 {points(gone)} (≥ 4 each), at T=1 {points(mild)} (within 2), "
        f"and its owner {points(cost)} (0)"
    )
    yield Property(14, text, min(gone) >= 0.04 and largest(mild) <= 0.02 and largest(cost) == 0)

    gone = less(alone, values(RELEASED, "KD T=20"))
    mild = less(alone, values(RELEASED, "KD T=1"))
    support = values(RELEASED, ITSELF, "support")
    text = (
        f"AST, released pairing: students at T=20 below no teacher by {points(gone)} (≥ 8), at T=1 by {points(mild)} "
        f"(within 2); one class is in the support of {shown(support, '.2f')} of adversarial outputs (≥ 0.95)"
    )
    yield Property(15, text, min(gone) >= 0.08 and largest(mild) <= 0.02 and min(support) >= 0.95)

    ordinary, paired = values(ORDINARY, ITSELF, "entropy 4"), values(PAIRED, ITSELF, "entropy 4")
    shares = [one / other for one, other in zip(paired, ordinary, strict=True)]
    text = f"AST, paired: entropy at T=4 over the ordinary teacher's {shown(shares, '.2f')} (≤ 0.5)"
    yield Property(16, text, max(shares) <= 0.5)

    gain = less(values(NASTY, ITSELF, "entropy 4"), ordinary)
    far, near = values(NASTY, ITSELF, "divergence"), values(NO_TERM, ITSELF, "divergence")
    ratios = [one / other for one, other in zip(far, near, strict=True)]
    text = (
        f"Nasty, ω = 0.02: entropy at T=4 above the ordinary teacher's by {shown(gain, '.2f')} (> 0.3); "
        f"KL to the reference {shown(far, '.2f')}, over that at ω = 0 {shown(ratios, '.0f')} (≥ 10)"
    )
    yield Property(17, text, min(gain) > 0.3 and min(ratios) >= 10)

    centred = less(values(RELEASED, "KD T=20, centred logits"), values(RELEASED, "KD T=20"))
    without = less(values(STINGY, "KD T=20 without T²"), values(STINGY, "KD T=20"))
    text = (
        f"adaptive attackers recover: AST, released pairing, centred logits {points(centred)} (≥ 8); "
        f"Stingy without T² {points(without)} (≥ 3)"
    )
    yield Property(18, text, min(centred) >= 0.08 and min(without) >= 0.03)


def less(first: list[float], second: list[float]) -> list[float]:
    """Return the differences, seed by seed."""
    return [one - other for one, other in zip(first, second, strict=True)]


def largest(differences: list[float]) -> float:
    """Return the largest in size."""
    return max(abs(one) for one in differences)


def points(differences: list[float]) -> str:
    """Return mean and range in points of accuracy."""
    return shown([100 * one for one in differences], "+.1f")


def shown(values: list[float], form: str) -> str:
    """Return the mean, and lowest to highest over the seeds."""
    low, high = min(values), max(values)
    return f"{statistics.mean(values):{form}} ({low:{form}} to {high:{form}})"
