"""Attacks on images: what they climb, how far they go, and those that papers report by name."""

from understudy.attacks._ball import Start
from understudy.attacks._climb import Model
from understudy.attacks.attack import Attack
from understudy.attacks.autoattack import AutoAttackProgress, AutoAttackResult, Effort, auto_attack
from understudy.attacks.guard import untouched
from understudy.attacks.named import AUTOATTACK, NamedAttack, named, parse_attacks
from understudy.attacks.objectives import (
    DLR,
    CrossEntropy,
    InnerObjective,
    KLFrom,
    Margin,
    MovingKL,
    Rows,
    TargetedDLR,
    TargetedMargin,
    Towards,
)
from understudy.attacks.perturb import perturb
from understudy.attacks.radius import (
    RADIUS,
    SLACK,
    Norm,
    OptionalRadius,
    Radius,
    RadiusMarker,
    check_radius,
    parse_radius,
    radius_text,
)

__all__ = [
    "AUTOATTACK",
    "DLR",
    "RADIUS",
    "SLACK",
    "Attack",
    "AutoAttackProgress",
    "AutoAttackResult",
    "CrossEntropy",
    "Effort",
    "InnerObjective",
    "KLFrom",
    "Margin",
    "Model",
    "MovingKL",
    "NamedAttack",
    "Norm",
    "OptionalRadius",
    "Radius",
    "RadiusMarker",
    "Rows",
    "Start",
    "TargetedDLR",
    "TargetedMargin",
    "Towards",
    "auto_attack",
    "check_radius",
    "named",
    "parse_attacks",
    "parse_radius",
    "perturb",
    "radius_text",
    "untouched",
]
