"""Numbers of a resistance study as its sentences have them: shares, differences in points, and yardsticks."""

from collections.abc import Mapping
from typing import Any

_YARDSTICKS = {
    "ce": "a student without a teacher",
    "ls": "a student without a teacher, trained on smoothed labels",
    "hard_label": "a student of the ordinary teacher's class alone",
}


def yardstick(kind: str) -> str:
    """Return in words what students are compared with."""
    return _YARDSTICKS[kind]


def share(interval: Mapping[str, Any]) -> str:
    """Return a share as a percentage, with its interval if it has one."""
    value = f"{100 * interval['value']:.1f} %"
    return value if interval["n"] < 2 else f"{value} ({_tenths(interval['low'])} to {_tenths(interval['high'])})"


def points(interval: Mapping[str, Any]) -> str:
    """Return a difference of shares in points, with its interval if it has one."""
    value = f"{_tenths(interval['value'])} points"
    spread = f"({_tenths(interval['low'])} to {_tenths(interval['high'])})"
    return value if interval["low"] == interval["high"] else f"{value} {spread}"


def apart(interval: Mapping[str, Any], than: str) -> str:
    """Return "so many points above" or "below" what a difference is taken to, always as a positive number.

    Args:
        interval: what `than` has more.
        than: in words.
    """
    if interval["value"] >= 0:
        return f"{points(interval)} below {than}"
    turned = {"value": -interval["value"], "low": -interval["high"], "high": -interval["low"]}
    return f"{points(turned)} above {than}"


def _tenths(value: float) -> str:
    text = f"{100 * value:.1f}"
    return "0.0" if text == "-0.0" else text.replace("-", "\N{MINUS SIGN}")
