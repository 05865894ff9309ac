"""Answers that tell least within a bound, with the class kept: ModelGuard-W."""

import math
from typing import Annotated, ClassVar, NamedTuple

import torch
from jaxtyping import Float, Float64, Int64
from pydantic import Field
from torch import Tensor

from understudy.targets.class_defences.base import ClassDefence
from understudy.targets.class_defences.noise import toward

_MARGIN = 1e-4
_FLOOR = 1e-12
"""Smallest probability whose logarithm is taken; smaller ones cost as much as it."""
_STEPS = 75
"""Golden sections: the interval shrinks by 0.618^75 = 2e-16."""
_GOLDEN = (math.sqrt(5) - 1) / 2


def least_informative(y: Float64[Tensor, "b k"], *, epsilon: float) -> Float64[Tensor, "b k"]:
    """Return the ỹ that minimises Σ_k ỹ_k ln y_k over the probabilities with ‖ỹ - y‖₁ ≤ ε and the argmax of y.

    The linear program of Tang et al. 2024 (ModelGuard-W). The largest class stays above each other by 1e-4, or by what
    they differ in y if that is less. For a fixed probability s of that class the others are filled greedily, from the
    lowest ln y up to their cap; the least cost is convex and piecewise linear in s, and its minimum is found by
    golden sections to the last bits.

    Args:
        y: clean probabilities. Shape (b, k).
        epsilon: largest L1 distance from `y` [ε].
    """
    order = y.argsort(dim=1, descending=True, stable=True)
    sorted_y = y.gather(1, order)
    problem = _Problem(
        top=sorted_y[:, :1],
        others=sorted_y[:, 1:],
        costs=sorted_y.clamp_min(_FLOOR).log(),
        gaps=(sorted_y[:, :1] - sorted_y[:, 1:]).clamp_max(_MARGIN),
        half=epsilon / 2,
    )
    best = torch.zeros_like(y).scatter(1, order, problem.filled(_least(problem))[0])
    return toward(y, best, epsilon)  # only rounding is left to be mended


def _least(problem: "_Problem") -> Float64[Tensor, "b 1"]:
    """Return the probability of the largest class at which the cost is least."""
    low = (problem.top - problem.half).clamp_min(0)
    high = (problem.top + problem.half).clamp_max(1)
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = problem.cost(left), problem.cost(right)
    for _ in range(_STEPS):
        # What is impossible lies to the left only, and costs infinity: from there the way is to the right.
        rightwards = (at_left > at_right) | at_left.isinf()
        low, high = torch.where(rightwards, left, low), torch.where(rightwards, high, right)
        step = _GOLDEN * (high - low)
        new = torch.where(rightwards, low + step, high - step)
        at_new = problem.cost(new)
        left, right = torch.where(rightwards, right, new), torch.where(rightwards, new, left)
        at_left, at_right = torch.where(rightwards, at_right, at_new), torch.where(rightwards, at_new, at_left)
    return high


class _Problem(NamedTuple):
    """Rows of the linear program, each sorted from its largest class down; it is solved in a loop."""

    top: Float64[Tensor, "b 1"]
    others: Float64[Tensor, "b m"]
    costs: Float64[Tensor, "b k"]
    gaps: Float64[Tensor, "b m"]
    half: float
    """Probability that may move, ε/2."""

    def cost(self, s: Tensor) -> Tensor:
        """Return the least Σ ỹ ln y with the largest class at s, both (b, 1); infinity where there is no such ỹ."""
        rows, possible = self.filled(s)
        return (rows * self.costs).sum(dim=1, keepdim=True).where(possible, torch.inf)

    def filled(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Return the best rows, (b, k), with the largest class at s, and whether there are any; (b, 1) both."""
        caps = (s - self.gaps).clamp_min(0)
        free = _filled(1 - s, caps.flip(1)).flip(1)  # were there no bound on the distance
        up_top, down_top = (s - self.top).clamp_min(0), (self.top - s).clamp_min(0)
        kept = self.others.minimum(caps)
        forced = (self.others - caps).clamp_min(0)
        up = self.half - up_top
        down = self.half - down_top - forced.sum(dim=1, keepdim=True)
        raised = _filled(up, (caps - self.others).clamp_min(0).flip(1)).flip(1)
        bounded = kept - _filled(down, kept) + raised
        moved = (free - self.others).clamp_min(0).sum(dim=1, keepdim=True)
        within = moved <= up
        possible = (within | (down >= 0)) & (caps.sum(dim=1, keepdim=True) >= 1 - s)
        return torch.cat([s, torch.where(within, free, bounded)], dim=1), possible


def _filled(amount: Tensor, room: Tensor) -> Tensor:
    """Return how much each place takes, (b, m), if an amount, (b, 1), fills them one after the other."""
    before = room.cumsum(dim=1) - room
    return (amount - before).clamp_min(0).minimum(room)


class ModelGuardW(ClassDefence):
    """Serve what tells an attacker least about y within a bound: min Σ ỹ_k ln y_k, ‖ỹ - y‖₁ ≤ ε, the argmax kept.

    A linear program for each row, see `least_informative`. Where the two largest classes differ by less than the
    margin of 1e-4, their difference is the margin, so that ε = 0 changes nothing.

    Tang et al.: ModelGuard: Information-Theoretic Defense Against Model Extraction Attacks. USENIX Security 2024.
    """

    name: ClassVar[str] = "modelguard_w"
    main: ClassVar[str | None] = "epsilon"
    summary: ClassVar[str] = "serves the answer that tells least within a bound, with the class kept"
    random: ClassVar[bool] = False
    personal: ClassVar[bool] = False
    reference: ClassVar[str] = "Tang et al. 2024"

    epsilon: Annotated[float, Field(ge=0, le=2)]
    """Largest L1 distance from the clean probabilities [ε]; 0 changes nothing."""

    @property
    def keeps_top1(self) -> bool:
        """Always; see `ClassDefence.keeps_top1`."""
        return True

    def serve(
        self,
        y: Float64[Tensor, "b k"],
        *,
        images: Float[Tensor, " b *input"] | None,  # noqa: ARG002
        keys: Int64[Tensor, " b"],  # noqa: ARG002
        seed: int,  # noqa: ARG002
        memory: dict[str, Tensor],  # noqa: ARG002
    ) -> Float64[Tensor, "b k"]:
        """Return the solution of the linear program; see `ClassDefence.serve`."""
        return y.clone() if self.epsilon == 0 else least_informative(y, epsilon=self.epsilon)
