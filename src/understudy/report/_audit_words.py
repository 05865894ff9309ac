"""The words and numbers of an audit's page: measures, points, money, and whom a defence hurts."""

from understudy.report._audit_numbers import MARGIN, NO_DEFENCE, Trade
from understudy.report._audit_read import FIDELITY, AuditRecord
from understudy.report._format import MINUS, NBSP, finite, percent
from understudy.report._read import Interval

WORTH = "hurts the copier more"
"""Verdict on a defence that is worth having."""
MEASURE_NAMES = {
    "linear": "Linear probe",
    "few_shot": "Few-shot probe",
    "knn": "k-NN",
    "mlp": "MLP probe",
    FIDELITY: "Fidelity",
}
MEASURE_HELP = {
    "linear": "share of test images that a linear classifier gets right, trained on the features of labelled images",
    "few_shot": "share of test images that a linear classifier gets right, trained on a few of each class",
    "knn": "share of test images whose class their nearest neighbours in feature space vote for",
    "mlp": "share of test images that a small network gets right, trained on the features of labelled images",
    FIDELITY: "mean cosine between the answers of copy and target on held-out images; 1 is the same direction",
}


def score_text(value: object, measure: str) -> str:
    """Return a score as people read it: a percentage, or a cosine with three decimals."""
    number = finite(value)
    if measure != FIDELITY or number is None:
        return percent(value)
    return f"{number:.3f}".replace("-", MINUS)


def money(record: AuditRecord, queries: int | float) -> str:
    """Return what so many queries cost; empty where the audit names no price."""
    if record.price_per_1000 is None:
        return ""
    cost = queries * record.price_per_1000 / 1000
    text = "<0.01" if 0 < cost < 0.005 else f"{cost:,.2f}"
    return f"{text}{NBSP}{record.currency}" if record.currency else text


def rounded(number: float) -> int:
    """Return a number with two significant digits, for one that was interpolated."""
    digits = len(str(round(number))) - 2
    return int(round(number, -digits)) if digits > 0 else round(number)


def verdict(trade: Trade) -> str:
    """Return in a few words whom a defence hurts; differences below one point count as none."""
    if trade.copier_loss is None:
        return "reference" if trade.defence == NO_DEFENCE else ""
    if trade.honest_loss is None:
        return "honest client not measured"
    copier, client = trade.copier_loss, trade.honest_loss
    if copier < MARGIN:
        return "hurts honest clients only" if client >= MARGIN else "changes nothing that can be measured"
    if copier > client + MARGIN:
        return WORTH
    return "hurts honest clients more" if client > copier + MARGIN else "hurts both alike"


def range_text(interval: Interval | None, measure: str) -> str:
    """Return an interval's ends, `95.3 to 98.3` for shares, `0.981 to 0.987` for cosines; empty if they look alike."""
    low, high = (None, None) if interval is None else (finite(interval.low), finite(interval.high))
    if low is None or high is None:
        return ""
    ends = [score_text(end, measure) if measure == FIDELITY else f"{100 * end:.1f}" for end in (low, high)]
    return "" if ends[0] == ends[1] else f"{ends[0]}{NBSP}to{NBSP}{ends[1]}"
