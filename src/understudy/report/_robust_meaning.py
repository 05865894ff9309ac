"""What the number of an evaluation under attack means, for its threat, and what it does not say."""

from understudy.report._format import percent
from understudy.report._robust_read import RobustRecord
from understudy.report._robust_words import epsilon_text, may_change


def meaning(record: RobustRecord) -> list[tuple[str, str]]:
    """Return the words of the page, for this threat."""
    size = epsilon_text(record.threat)
    grey = f"{size} is {percent(record.threat.epsilon)} of the way from black to white"
    each = f"{grey}, for each pixel and each colour" if record.threat.norm == "linf" else "pixel values go from 0 to 1"
    return [
        ("Clean accuracy", "the share of images on which the network is right when nobody interferes."),
        (
            "Robust accuracy",
            "the share on which it is right as they are and stays right after every attack that was tried: the worst "
            "case, image by image, and no average over attacks.",
        ),
        (
            "Attacker",
            f"knows architecture and weights (white box), wants any wrong answer, and may {may_change(record.threat)} "
            f"({each}; the result stays a proper image).",
        ),
        (
            "Upper bound",
            "an attack that finds nothing proves nothing. A better one may find more mistakes, never fewer.",
        ),
        (
            "Interval",
            "where the share would lie, in 95 of 100 cases, if every image of this kind were tried (Wilson).",
        ),
        (
            "Red flag",
            "a sign that an attack was misled rather than withstood, for instance by a gradient that is zero.",
        ),
    ]


def silent(record: RobustRecord) -> list[str]:
    """Return what the number does not speak of."""
    other = "in L2 or L1" if record.threat.norm == "linf" else "pixel by pixel (L\N{INFINITY})"
    return [
        f"Changes of another kind: those measured {other}, patches, shifts, rotations, another viewpoint.",
        f"Larger changes than {epsilon_text(record.threat)}: robustness ends somewhere, and often soon after.",
        "Natural corruption: noise, blur, weather, compression, another camera. Being safe from attackers does not "
        "make a network fit for these, nor the other way round.",
        "Images of another source, attacks while it was trained (poisoned data, back doors), or theft of the network.",
    ]
