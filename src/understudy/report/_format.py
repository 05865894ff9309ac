"""Numbers as people read them: percentages, counts, bytes, durations; an en dash where there is no number."""

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

DASH = "\N{EN DASH}"
"""Shown wherever a number is missing, not finite, or not measured."""
NBSP = "\N{NO-BREAK SPACE}"
MINUS = "\N{MINUS SIGN}"
"""As wide as the plus sign, unlike the hyphen."""

_PREFIXES = ("", "k", "M", "G", "T", "P")
_NAMES = {
    "student": "Student",
    "teacher": "Teacher",
    "model": "Model",
    "best": "Best checkpoint",
    "last": "Last checkpoint",
    "held_out": "Held-out images",
    "guard": "Guard",
    "robust": "Robust accuracy",
    "ordinary": "Ordinary teacher",
    "reference": "Ordinary teacher",
    "top_support": "Most kept class",
    "ce": "Cross-entropy",
    "epd": "EPD",
    "kl": "KL",
    "cmi": "CMI",
    "noise_control": "Control: Gaussian noise",
    "start_control": "Control: samples as they start",
    "real_control": "Control: real data",
    "real_data_control": "Control: real data",
    "synthesise": "Synthesise",
    "fit": "Fit",
    "fit_noise_control": "Fit noise control",
    "fit_start_control": "Fit start control",
    "fit_real_control": "Fit real-data control",
    "fit_real_data_control": "Fit real-data control",
    "kl_from_teacher": "KL from teacher",
}


def finite(value: object) -> float | None:
    """Return a finite number as a float, and None for everything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def percent(value: object, digits: int = 1) -> str:
    """Return a share in [0, 1] as `97.2 %`."""
    number = finite(value)
    return DASH if number is None else f"{100 * number:.{digits}f}{NBSP}%"


def percent_range(low: object, high: object, digits: int = 1) -> str:
    """Return two shares in [0, 1] as `95.3 to 98.3`, in per cent."""
    first, last = finite(low), finite(high)
    if first is None or last is None:
        return DASH
    return f"{100 * first:.{digits}f}{NBSP}to{NBSP}{100 * last:.{digits}f}"


def points(value: object, *, signed: bool = True) -> str:
    """Return a difference of two shares in percentage points: `+8.1 points`."""
    number = finite(value)
    if number is None:
        return DASH
    tenths = round(1000 * number) / 10
    sign = MINUS if tenths < 0 else "+" if signed and tenths > 0 else ""
    return f"{sign}{abs(tenths):.1f}{NBSP}points"


def decimal(value: object, digits: int = 3) -> str:
    """Return a number with `digits` decimals, or in scientific notation where these would show only zeros."""
    number = finite(value)
    if number is None:
        return DASH
    if number != 0 and (abs(number) < 0.5 * 10**-digits or abs(number) >= 1e6):
        return f"{number:.2e}"
    return f"{number:.{digits}f}"


def count(value: object) -> str:
    """Return a whole number with commas between thousands: `1,000,000`."""
    number = finite(value)
    return DASH if number is None else f"{round(number):,}"


def magnitude(value: object, unit: str = "") -> str:
    """Return a number with three digits and a decimal prefix: `12.3 M`, `1.94 kB` with unit `B`."""
    number = finite(value)
    if number is None:
        return DASH
    power = 0
    while abs(number) >= 999.5 and power < len(_PREFIXES) - 1:
        number, power = number / 1000, power + 1
    whole = power == 0 and number == round(number)
    digits = 0 if whole or abs(number) >= 99.95 else 1 if abs(number) >= 9.995 else 2
    suffix = _PREFIXES[power] + unit
    return f"{number:.{digits}f}" + (f"{NBSP}{suffix}" if suffix else "")


def size(value: object) -> str:
    """Return a number of bytes in decimal units: `15.4 MB`."""
    return magnitude(value, "B")


def duration(value: object) -> str:
    """Return seconds as `4.2 s`, `3 min 05 s` or `2 h 07 min`."""
    seconds = finite(value)
    if seconds is None:
        return DASH
    if seconds < 59.95:
        return f"{seconds:.1f}{NBSP}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}{NBSP}min{NBSP}{whole % 60:02d}{NBSP}s"
    return f"{whole // 3600}{NBSP}h{NBSP}{whole % 3600 // 60:02d}{NBSP}min"


def moment(when: datetime) -> str:
    """Return a time that is given in UTC as `22 November 2026, 07:31 UTC`."""
    return f"{when.day} {when:%B %Y, %H:%M} UTC"


def name_of(key: str) -> str:
    """Return the words for a key of `result.json` or `events.jsonl`: `noise_control` is a control."""
    words = key.replace("_", " ").strip()
    return _NAMES.get(key, words[:1].upper() + words[1:])


def flatten(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield dotted keys and readable values of nested tables, in the order of the file."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, _plain(value)


def _plain(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return DASH
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_plain(item) for item in value) or "(empty)"
    return str(value) if value != "" else "(empty)"
