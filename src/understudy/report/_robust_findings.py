"""What an evaluation under attack found, in sentences for a reader who knows none of the papers."""

from dataclasses import dataclass, field

from understudy.report._format import count, percent, points
from understudy.report._read import Interval
from understudy.report._robust_read import Flag, Pair, RobustRecord, RobustScores
from understudy.report._robust_words import attack_name, attacker, in_sentence, listed, under
from understudy.report._words import bounds, value_of

_CHANCE = 0.05
"""A difference that comes about by chance less often than this is called one."""
_STRONG = "autoattack"


@dataclass(frozen=True)
class RobustFindings:
    """The summary of an evaluation: the first sentence, those after it, and what a reader should hold against them."""

    first: str
    more: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)

    @property
    def sentences(self) -> list[str]:
        """Everything, in order."""
        return [self.first, *self.more, *self.doubts]


def robust_findings(record: RobustRecord) -> RobustFindings:
    """Return the summary of an evaluation."""
    more = [*_worst_case(record), *_guessing(record), *_checkpoints(record), *_teacher(record), *_part_of(record)]
    more[:0] = [] if record.verdict is not None else [_without_verdict(record)]
    more += [pair_sentence(record, pair) for pair in _others(record)]
    if record.verdict is None:
        return RobustFindings(_no_verdict(record), more, _doubts(record))
    return RobustFindings(_headline(record), more, _doubts(record))


def flag_title(flag: Flag) -> str:
    """Return what a red flag is about, without a full stop."""
    return (flag.what or flag.name.replace("_", " ")).rstrip(".")


def pair_sentence(record: RobustRecord, pair: Pair) -> str:
    """Return what a comparison of two networks on the same images says, and whether chance would explain it."""
    one, other = in_sentence(record, pair.a), in_sentence(record, pair.b)
    where = under(record, pair.attack)
    apart, both = pair.only_a + pair.only_b, f"{one[:1].upper()}{one[1:]} and {other}"
    if not apart:
        return f"{both} are right on the same images {where}: nothing tells them apart."
    said = (
        f"{both} differ on {_number(apart)} {where}: on {_none(pair.only_a)} {one} alone is right, on "
        f"{_none(pair.only_b)} {other} alone."
    )
    if pair.p_value is None:
        return said
    rare = "less than 0.1\N{NO-BREAK SPACE}%" if pair.p_value < 0.001 else percent(pair.p_value)
    chance = f"Between equals, chance would split them so unevenly in {rare} of cases"
    if pair.p_value >= _CHANCE:
        return f"{said} {chance}, so this does not show which is better."
    return f"{said} {chance}, so {one if pair.only_a > pair.only_b else other} is the better one here."


def _none(images: int) -> str:
    return count(images) if images else "none"


def _number(images: int) -> str:
    return "one image" if images == 1 else f"{count(images)} images"


def _scores(record: RobustRecord, key: str | None = None) -> RobustScores:
    return record.scores.get(key or record.subject, RobustScores())


def _images(record: RobustRecord) -> str:
    return f"{count(record.data.rows)} {record.data.split} images of {record.data.source}"


def _headline(record: RobustRecord) -> str:
    scores = _scores(record)
    alone = f"Left alone, the network is right on {percent(value_of(scores.clean))} of the {_images(record)}."
    if value_of(scores.worst) is None:
        return f"{alone} No attack was run, so nothing is known of its robustness."
    return f"{alone} Against {attacker(record.threat)}, it stays right on {_share(scores.worst)}."


def _share(interval: Interval | None) -> str:
    return f"{percent(value_of(interval))}{bounds(interval)}"


def _no_verdict(record: RobustRecord) -> str:
    flags = record.standing
    if not flags:
        return "There is no verdict: the evaluation did not come to one."
    if len(flags) == 1:
        return f"There is no verdict, because a red flag stands: {flag_title(flags[0])}."
    return f"There is no verdict, because {count(len(flags))} red flags stand: {listed(map(flag_title, flags), '; ')}."


def _without_verdict(record: RobustRecord) -> str:
    scores = _scores(record)
    if value_of(scores.worst) is None:
        return _headline(record)
    return (
        f"Left alone, the network is right on {percent(value_of(scores.clean))} of the {_images(record)}, and it "
        f"stayed right on {_share(scores.worst)} when it was attacked by {attacker(record.threat)}. A red flag is a "
        "sign that the attacks did not do their work. Then that number is too high, nobody can say by how much, and "
        "it must not be quoted as the network's robustness."
    )


def _worst_case(record: RobustRecord) -> list[str]:
    names = [attack_name(record, name) for name in _scores(record).attacks]
    if not names:
        return []
    if len(names) == 1:
        return [
            f"An image counts if the network is right on it as it is and after the one attack that ran, {names[0]}."
        ]
    return [
        f"An image counts only if the network is right on it as it is and after every one of {len(names)} attacks "
        f"({listed(names)}): the worst case, image by image."
    ]


def _guessing(record: RobustRecord) -> list[str]:
    worst, classes = value_of(_scores(record).worst), len(record.data.classes)
    if worst is None or classes < 2 or worst > 1 / classes:
        return []
    return [f"That is no better than guessing, which would be right on {percent(1 / classes)}."]


def _checkpoints(record: RobustRecord) -> list[str]:
    found = {network.role: value_of(_scores(record, key).worst) for key, network in record.models.items()}
    last, best = found.get("last"), found.get("best")
    if last is None or best is None:
        return []
    said = "That is the last checkpoint. The best one, chosen on held-out training images, stays right on "
    said += percent(best)
    if best > last:
        return [f"{said}: training on cost {points(best - last, signed=False)} of robustness (robust overfitting)."]
    return [f"{said}, so training to the end did no harm."]


def _teacher(record: RobustRecord) -> list[str]:
    key = record.teacher
    worst = value_of(_scores(record, key).worst) if key else None
    if key is None or worst is None:
        return []
    said = (
        f"Its teacher is right on {percent(value_of(_scores(record, key).clean))} of these images and stays right on "
    )
    missing = spared(record, key)
    if not missing:
        return [f"{said}{percent(worst)} under the same attacks."]
    return [f"{said}{percent(worst)}, but {listed(missing)} did not run on it, so the two numbers do not compare."]


def _part_of(record: RobustRecord) -> list[str]:
    if record.data.of is None or record.data.rows >= record.data.of:
        return []
    return [
        f"{count(record.data.rows)} of {count(record.data.of)} images were attacked: others would move the numbers "
        "about within the intervals, and all of them would make these narrower."
    ]


def spared(record: RobustRecord, key: str) -> list[str]:
    """Return the attacks that ran on the network that the page is about, and not on another."""
    mine, other = _scores(record).attacks, _scores(record, key).attacks
    return [attack_name(record, name) for name in mine if name not in other]


def main_pairs(record: RobustRecord) -> list[Pair]:
    """Return the comparisons of the page's network that matter: in the worst case, and on clean images."""
    mine = [pair for pair in record.paired if record.subject in (pair.a, pair.b)]
    return [pair for pair in mine if pair.attack in ("worst", "clean")] or mine


def _others(record: RobustRecord) -> list[Pair]:
    """Return the comparisons in the worst case with networks other than the page's own checkpoints."""
    found = main_pairs(record)
    return [pair for pair in found if pair.attack != "clean" and not {pair.a, pair.b} <= {*record.own}]


def _doubts(record: RobustRecord) -> list[str]:
    said = []
    known = [flag for flag in record.flags if flag.acknowledged]
    if known:
        what = "; ".join(map(flag_title, known))
        number = "A red flag was" if len(known) == 1 else f"{count(len(known))} red flags were"
        said.append(f"{number} raised and acknowledged by whoever ran this ({what}). The number may be too high.")
    tried = _scores(record).attacks
    if tried and _STRONG not in tried:
        said.append(
            "AutoAttack was not among the attacks. Attacks of few steps find fewer mistakes, often by several points: "
            "take the number as an upper bound, good enough for development."
        )
    return said
