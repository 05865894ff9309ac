"""Where the labels of dots go, so that they cover neither dots nor bars nor one another."""

from collections.abc import Sequence
from dataclasses import dataclass

_SIDES = (
    ("middle right", 1, 0),
    ("top right", 1, 1),
    ("bottom right", 1, -1),
    ("middle left", -1, 0),
    ("top left", -1, 1),
    ("bottom left", -1, -1),
    ("top center", 0, 1),
    ("bottom center", 0, -1),
)
"""Plotly's word for a side, and where it lies: right and up are positive."""
_LETTER, _LINE, _DOT = 6.5, 15.0, 7.0
"""Width of a letter, height of a line, and room that a dot takes to each side, in pixels."""


@dataclass(frozen=True)
class Dot:
    """A labelled dot with the ends of its vertical bar."""

    label: str
    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True)
class _Box:
    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: "_Box") -> float:
        """Return the area that two boxes share."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(wide, 0.0) * max(high, 0.0)


def label_sides(dots: Sequence[Dot], *, width: float) -> list[str]:
    """Return a side for each label, greedily: the first on which it covers least.

    Args:
        dots: in pixels from the lower left corner, in the order in which they choose.
        width: of the figure, in pixels; labels stay inside it where they can.
    """
    taken = [_Box(dot.x - _DOT, dot.y - _DOT, dot.x + _DOT, dot.y + _DOT) for dot in dots]
    taken += [_Box(dot.x - 1, dot.low, dot.x + 1, dot.high) for dot in dots]
    taken += [_Box(-1e4, -1e4, 0.0, 1e4), _Box(width, -1e4, 1e4, 1e4)]
    sides = []
    for dot in dots:
        choices = [(name, _label(dot, right, up)) for name, right, up in _SIDES]
        name, box = min(choices, key=lambda choice: sum(choice[1].meets(other) for other in taken))
        taken.append(box)
        sides.append(name)
    return sides


def _label(dot: Dot, right: int, up: int) -> _Box:
    wide = _LETTER * len(dot.label)
    left = dot.x - wide / 2 if right == 0 else dot.x + _DOT if right > 0 else dot.x - _DOT - wide
    bottom = dot.y - _LINE / 2 if up == 0 else dot.y + _DOT if up > 0 else dot.y - _DOT - _LINE
    return _Box(left, bottom, left + wide, bottom + _LINE)
