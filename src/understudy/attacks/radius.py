"""Radii of attacks in pixel units of [0, 1]: read from text such as 8/255, checked, and written back."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from understudy.errors import ConfigError

Norm = Literal["linf", "l2"]
"""How the size of a perturbation is measured: its largest pixel, or its Euclidean length over all pixels."""


SLACK: dict[Norm, float] = {"linf": 1e-6, "l2": 1e-5}
"""What float32 may add to a radius: x ± ε is rounded at each pixel, an L2 length over all of them."""


@dataclass(frozen=True)
class RadiusMarker:
    """Marks a field as a radius; the command line shows its default as people write it."""

    @staticmethod
    def shown(value: float | None) -> str:
        """Return what the help says of a default."""
        return "" if value is None else f"default: {radius_text(value)}"


RADIUS = RadiusMarker()


def parse_radius(value: object) -> float:
    """Return a radius given as a number, or as text: "8/255", "0.03".

    Raises:
        ValueError: it is neither, negative, or not finite.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{value!r} is no radius; give a number such as 0.03 or a fraction such as 8/255")
    try:
        over, stroke, under = value.partition("/") if isinstance(value, str) else (value, "", "")
        number = float(over) / float(under) if stroke else float(over)
    except (ValueError, ZeroDivisionError, OverflowError):
        raise ValueError(f"{value!r} is no radius; give a number such as 0.03 or a fraction such as 8/255") from None
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"{value!r} is no radius; a radius is finite and not below 0")
    return number


Radius = Annotated[float, BeforeValidator(parse_radius), Field(ge=0, allow_inf_nan=False), RADIUS]
"""A field for a radius or a step, in pixel units of [0, 1]; takes 8/255 as text."""
OptionalRadius = Annotated[
    float | None, BeforeValidator(lambda value: None if value is None else parse_radius(value)), RADIUS
]
"""The same for one that need not be given."""


def radius_text(value: float) -> str:
    """Return a radius as people write it: "8/255" where it is a whole number of 255ths, "0.03" where it is not."""
    parts = round(value * 255)
    return f"{parts}/255" if parts and math.isclose(value * 255, parts, rel_tol=1e-9) and parts < 255 else f"{value:g}"


def check_radius(epsilon: float, norm: Norm, *, where: object = "epsilon") -> None:
    """Check that a perturbation of this size leaves something of the image.

    Raises:
        ConfigError: the radius is not finite or negative, or an L-inf radius exceeds the range of pixels.
    """
    if not math.isfinite(epsilon) or epsilon < 0:
        raise ConfigError(f"epsilon {epsilon:g} is no radius", where=where, expected="a finite number, 0 or more")
    if norm == "linf" and epsilon > 1:
        meant = f"{epsilon:g}" if epsilon <= 255 else "8"
        raise ConfigError(
            f"epsilon {epsilon:g} is larger than the whole pixel range: images lie in [0, 1]",
            where=where,
            expected="a radius in pixel units of [0, 1], at most 1 in the norm linf",
            fix=f"did you mean {meant}/255?",
        )
