"""The attacks that papers report, by their names; steps scale with the radius, which the names are about at 8/255.

| name | objective | start | steps | step at epsilon 8/255 |
|---|---|---|---|---|
| `fgsm` | cross-entropy | none | 1 | 8/255 |
| `pgdN`, as `pgd20` | cross-entropy | uniform | N | 2/255; above 20 steps 0.8/255 |
| `pgdN-trades`, as `pgd20-trades` | cross-entropy | uniform | N | 0.003 |
| `cwN`, as `cw` (30 steps) | margin | uniform | N | 0.003 |
| `dlrN` | difference of logits ratio | uniform | N | 2/255; above 20 steps 0.8/255 |
| `fgsm-rs` | cross-entropy | uniform | 1 | 10/255 |
| `n-fgsm` | cross-entropy | uniform, twice the radius | 1 | 8/255, and no return into the ball: for training |

Each gives its last iterate. With `xR` after the steps, as in `pgd100x5`, there are R restarts, and a sample falls that
is misclassified unperturbed or at any iterate of any restart; those of `cwN` and `dlrN` aim, after the first, at one
wrong class each, the likeliest first, so that `cwNxC` is exact on linear models of C classes. In the norm l2 a step is
a gradient brought to the same length; the papers' names stand for L-inf attacks.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from understudy.attacks._climb import Model
from understudy.attacks.attack import Attack
from understudy.attacks.objectives import DLR, CrossEntropy, InnerObjective, Margin
from understudy.attacks.perturb import perturb
from understudy.attacks.radius import Norm, parse_radius
from understudy.errors import ConfigError, nearest

AUTOATTACK = "autoattack"
"""Known by name here, run by `auto_attack`."""

_KNOWN = ("fgsm", "pgd20", "pgd20-trades", "pgd100x5", "cw", "dlr20", "fgsm-rs", "n-fgsm", AUTOATTACK)
_PATTERN = re.compile(r"(?P<kind>pgd|cw|dlr)(?P<steps>[1-9]\d{0,4})(x(?P<restarts>[1-9]\d{0,2}))?(?P<trades>-trades)?")


@dataclass(frozen=True)
class NamedAttack:
    """An attack with its name and its objective."""

    name: str
    label: str
    """As papers print it."""
    attack: Attack
    objective: Callable[[Tensor], InnerObjective]
    """From the labels of a batch."""

    def run(
        self,
        model: Model,
        x: Float[Tensor, " batch *shape"],
        labels: Int[Tensor, " batch"],
        generator: torch.Generator | None,
        *,
        check: bool = True,
    ) -> Float[Tensor, " batch *shape"]:
        """Return the attacked images; see `perturb`."""
        return perturb(
            model,
            x,
            self.objective(labels),
            attack=self.attack,
            generator=generator,
            labels=labels,
            check=check,
        )


def named(name: str, *, epsilon: str | int | float, norm: Norm = "linf") -> NamedAttack:
    """Return the attack of a name, at a radius in pixel units of [0, 1].

    Raises:
        ConfigError: no attack here has the name, or the radius is none.
    """
    try:
        radius = parse_radius(epsilon)
    except ValueError as error:
        raise ConfigError(str(error), where="epsilon") from None
    single = {
        "fgsm": ("FGSM", partial(Attack, start="none", step=radius)),
        "fgsm-rs": ("FGSM-RS", partial(Attack, start="uniform", step=1.25 * radius)),
        "n-fgsm": ("N-FGSM", partial(Attack, start="wide", step=radius, project=False)),
    }
    if name in single:
        label, make = single[name]
        return NamedAttack(name, label, make(norm=norm, epsilon=radius, steps=1), CrossEntropy)
    return _iterated(name, radius, norm)


def parse_attacks(text: str) -> list[str]:
    """Return the names in a list such as "fgsm,pgd20,cw,autoattack", for an evaluation.

    Raises:
        ConfigError: a name is unknown, said twice, or stands for an attack that leaves the ball.
    """
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    for name in names:
        if name == "n-fgsm":
            raise ConfigError("n-fgsm leaves the ball: it is for training", where="attack", fix="evaluate with fgsm")
        if names.count(name) > 1:
            raise ConfigError(f"the attack {name!r} is named twice", where="attack")
        if name != AUTOATTACK:
            named(name, epsilon=0.0)
    if not names:
        raise ConfigError("no attack is named", where="attack", expected="names such as fgsm,pgd20,cw,autoattack")
    return names


def _iterated(name: str, radius: float, norm: Norm) -> NamedAttack:
    match = _PATTERN.fullmatch("cw30" if name == "cw" else name)
    if match is None or (match["trades"] and match["kind"] != "pgd"):
        raise ConfigError(
            f"there is no attack {name!r}",
            where="attack",
            expected="fgsm, cw, autoattack, or steps and restarts in the name: pgd20, cw30, pgd100x5",
            fix=nearest(name, _KNOWN),
        )
    kind, steps, restarts = match["kind"], int(match["steps"]), int(match["restarts"] or 1)
    attack = Attack(
        norm=norm,
        epsilon=radius,
        step=radius * _step_share(kind, steps, trades=bool(match["trades"])),
        steps=steps,
        start="uniform",
        restarts=restarts,
        targeted=kind != "pgd" and restarts > 1,
        early_exit=restarts > 1,
    )
    objectives: dict[str, Callable[[Tensor], InnerObjective]] = {"pgd": CrossEntropy, "cw": Margin, "dlr": DLR}
    return NamedAttack(name, _label(name, kind, norm), attack, objectives[kind])


def _step_share(kind: str, steps: int, *, trades: bool) -> float:
    """Return the step as a share of the radius: the papers' steps at 8/255."""
    if trades or kind == "cw":
        return 0.003 * 255 / 8
    return 1 / 4 if steps <= 20 else 1 / 10


def _label(name: str, kind: str, norm: Norm) -> str:
    number = name.removeprefix(kind).replace("-trades", " (TRADES)").replace("x", " × ")
    title = {"pgd": "PGD", "cw": "CW∞" if norm == "linf" else "CW margin", "dlr": "DLR"}[kind]
    return f"{title}-{number}" if number else title
