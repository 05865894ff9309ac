"""AutoAttack's four attacks, built from pyautoattack's classes for a network's classes and input shape.

Croce, Hein: Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks.
ICML 2020, arXiv 2003.01690. The attacks themselves are the authors' code, distributed as `pyautoattack` (MIT).
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from understudy.attacks._oracle import Oracle
from understudy.errors import DependencyError

COMPONENTS = ("apgd-ce", "apgd-t", "fab-t", "square")
"""In AutoAttack's order; each meets only what the ones before it left standing."""

_NORMS = {"linf": "Linf", "l2": "L2"}


@dataclass(frozen=True)
class Effort:
    """How hard AutoAttack tries. The defaults are version "standard"; anything less is not AutoAttack.

    Args:
        iterations: steps of APGD and FAB.
        targets: wrong classes that APGD-T and FAB-T aim at, one after the other.
        queries: of Square Attack, for one image.
    """

    iterations: int = 100
    targets: int = 9
    queries: int = 5000


STANDARD = Effort()


class Remarks:
    """Stands in for the logger of pyautoattack, and keeps what it warns of."""

    def __init__(self) -> None:
        self.zero_gradients = 0

    def warning(self, message: str) -> None:
        """Count the points whose input gradient is zero at the start of an attack: the one warning of APGD."""
        found = re.search(r"(\d+) points with zero gradient", message)
        self.zero_gradients += int(found[1]) if found else 1


Attack = Callable[[Float[Tensor, "b c h w"], Int64[Tensor, " b"]], Float[Tensor, "b c h w"]]


def library() -> tuple[ModuleType, ModuleType, ModuleType, str]:
    """Return pyautoattack's modules with APGD, FAB and Square, and its version.

    Raises:
        DependencyError: pyautoattack is not installed.
    """
    try:
        from pyautoattack import autopgd_base, fab_pt, square
    except ImportError as error:
        raise DependencyError(
            f"AutoAttack needs pyautoattack, which cannot be imported: {error}", fix="pip install 'understudy[attacks]'"
        ) from error
    return autopgd_base, fab_pt, square, metadata.version("pyautoattack")


def build(
    name: str, oracle: Oracle, *, epsilon: float, norm: str, seed: int, classes: int, effort: Effort, remarks: Remarks
) -> Attack:
    """Return one attack, ready for one batch: it draws from the global random state after seeding it with `seed`."""
    apgd, fab, square, _ = library()
    common = {"norm": _NORMS[norm], "eps": epsilon, "seed": seed, "n_restarts": 1}
    targets = min(effort.targets, classes - 1)
    if name == "square":
        found = square.SquareAttack(oracle, n_queries=effort.queries, p_init=0.8, resc_schedule=False, **common)
    elif name == "fab-t":
        found = fab.FABAttack_PT(oracle, n_iter=effort.iterations, targeted=True, n_target_classes=targets, **common)
    elif name == "apgd-ce":
        found = apgd.APGDAttack(oracle, n_iter=effort.iterations, loss="ce", rho=0.75, logger=remarks, **common)
    else:
        found = apgd.APGDAttack_targeted(
            oracle, n_iter=effort.iterations, n_target_classes=targets, rho=0.75, logger=remarks, **common
        )
        if classes < 4:  # the targeted DLR loss divides by the gap to the fourth largest logit
            found.dlr_loss_targeted = lambda logits, labels: _targeted_margin(found, logits, labels)
    attack: Attack = found.perturb
    return attack


def _targeted_margin(apgd: Any, logits: Float[Tensor, "b k"], labels: Int64[Tensor, " b"]) -> Float[Tensor, " b"]:
    """The targeted DLR loss without its denominator; APGD takes no notice of a loss's scale."""
    rows = torch.arange(len(logits), device=logits.device)
    margin: Tensor = logits[rows, apgd.y_target] - logits[rows, labels]
    return margin


def shape_for(name: str, shape: tuple[int, ...], norm: str) -> tuple[int, int, int] | None:
    """Return the (channels, height, width) in which an attack is to see an input; None if it cannot run at all.

    The ball and the box are the same in any arrangement. Square Attack in L2 tiles the image with windows of a fifth
    of its height, and the authors' code fails where they do not fit (heights below 5, and 14, for example).
    """
    image = shape if len(shape) == 3 else (1, 1, math.prod(shape))
    if name != "square" or norm != "l2":
        return image
    channels, height, width = image
    pixels = height * width
    others = [(side, pixels // side) for side in range(pixels, 0, -1) if pixels % side == 0]
    others.sort(key=lambda sides: abs(sides[0] - sides[1]))  # the squarest first
    for high, wide in [(height, width), *others]:
        if _windows_fit(high, wide):
            return channels, high, wide
    return None


def _windows_fit(height: int, width: int) -> bool:
    side = height // 5
    if side == 0 or width < side:
        return side > 0  # no window at all: it starts from the image itself
    first = (height - 5 * side) // 2
    starts = [(first + side * i, limit) for limit in (height, width) for i in range(limit // side)]
    return side == 1 or all(start + side <= limit for start, limit in starts)


def plan(
    shape: tuple[int, ...], classes: int, epsilon: float, norm: str, effort: Effort
) -> tuple[tuple[str, ...], list[str]]:
    """Return the attacks to run in their order, and what a reader must know where they are not AutoAttack's own."""
    if epsilon == 0:
        return (), ["radius 0: there is nothing to attack"]
    notes = []
    if effort != STANDARD:
        notes.append(
            f"{effort.iterations} iterations, {effort.targets} targets and {effort.queries} queries instead of "
            f"{STANDARD.iterations}, {STANDARD.targets} and {STANDARD.queries}: this is not AutoAttack"
        )
    if classes - 1 < effort.targets:
        notes.append(
            f"{classes} classes: APGD-T and FAB-T aim at all {classes - 1} wrong classes instead of {effort.targets}"
        )
    if classes < 4:
        notes.append(
            f"{classes} classes: the targeted DLR loss needs four, so APGD-T maximises the difference of two logits; "
            "AutoAttack leaves this case open"
        )
    arranged = shape_for("square", shape, norm)
    if arranged is None:
        notes.append(f"Square Attack cannot run in L2 on inputs of shape {shape}: the three white-box attacks remain")
        return COMPONENTS[:-1], notes
    if arranged != shape:
        notes.append(f"Square Attack sees inputs of shape {shape} as images of shape {arranged}")
    return COMPONENTS, notes


def passes_of(name: str, classes: int, effort: Effort = STANDARD) -> int:
    """Return the forward passes that an attack makes at most for one image; those with gradients cost twice.

    APGD makes one pass with a gradient in each step, FAB one with and one without, Square one without.
    """
    targets = min(effort.targets, classes - 1)
    steps = effort.iterations
    return {
        "apgd-ce": steps + 3,
        "apgd-t": targets * (steps + 2) + 2,
        "fab-t": targets * (2 * steps + 3) + 2,
        "square": effort.queries + 4,
    }[name]
