"""Steps up an objective, and the search that goes on with the samples that stand."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from understudy.attacks._ball import Ball, starting_points
from understudy.attacks.attack import Attack
from understudy.attacks.objectives import Aimable, InnerObjective, Rows
from understudy.errors import AccessError, ConfigError

Model = Callable[[Tensor], Tensor]
"""Logits of images in [0, 1]; normalisation lies inside."""


def first_points(ball: Ball, attack: Attack, generator: torch.Generator | None, begin: Tensor | None) -> Tensor:
    """Return where a climb begins: at the points given, brought into the ball, or at the attack's own start."""
    if begin is not None:
        return ball.clip(begin.detach())
    return starting_points(ball, attack.start, attack.epsilon, generator)


def ascend(
    model: Model, ball: Ball, objective: InnerObjective, points: Tensor, rows: Rows, step: float
) -> tuple[Tensor, Tensor]:
    """Return points one step up, and the logits of those it started from.

    Raises:
        AccessError: the logits carry no gradient.
    """
    points = points.detach().requires_grad_()
    logits = model(points)
    values = objective(logits, points, rows)
    if not values.requires_grad:
        raise AccessError(
            "the model's answers carry no gradient, so no attack can climb it",
            expected="a differentiable model: no torch.no_grad, detach or argmax between images and logits",
        )
    (gradient,) = torch.autograd.grad(values.sum(), points, allow_unused=True)
    points = points.detach()
    # A model that does not look at its input leaves the images where they are.
    return (points if gradient is None else ball.climb(points, gradient, step)), logits.detach()


@dataclass(frozen=True)
class Search:
    """An attack on what stands, restart after restart; what falls in any of them has fallen."""

    model: Model
    objective: InnerObjective
    attack: Attack
    labels: Tensor
    generator: torch.Generator | None

    def run(self, ball: Ball, begin: Tensor | None) -> Tensor:
        """Return the images as they fell, and of those that stand the last points of the best restart."""
        found = ball.centre.clone()
        highest = torch.full(self.labels.shape, -torch.inf, dtype=found.dtype, device=found.device)
        with torch.no_grad():
            clean = self.model(found)
        standing = torch.nonzero(clean.argmax(dim=1) == self.labels).squeeze(1)
        for restart in range(self.attack.restarts):
            if len(standing) == 0:
                break
            given = begin[standing] if begin is not None and restart == 0 else None
            points = first_points(ball.at(standing), self.attack, self.generator, given)
            standing = self._restart(ball, self._aimed(clean, restart), points, standing, found, highest)
        return found

    def _restart(
        self, ball: Ball, objective: InnerObjective, points: Tensor, live: Tensor, found: Tensor, highest: Tensor
    ) -> Tensor:
        """Climb once; write what was found into `found` and `highest`, and return the rows that stand."""
        around = ball.at(live)
        for _ in range(self.attack.steps):
            moved, logits = ascend(self.model, around, objective, points, live, self.attack.step)
            if self.attack.early_exit:
                stands = logits.argmax(dim=1) == self.labels[live]
                if not stands.all():
                    found[live[~stands]] = points[~stands]
                    live, moved, around = live[stands], moved[stands], around.at(stands)
                if len(live) == 0:
                    return live
            points = moved
        with torch.no_grad():
            logits = self.model(points)
            values = self.objective(logits, points, live).to(highest.dtype)
        stands = logits.argmax(dim=1) == self.labels[live]
        better = ~stands | (values > highest[live])
        found[live[better]] = points[better]
        highest[live] = torch.maximum(highest[live], values)
        return live[stands]

    def _aimed(self, clean: Tensor, restart: int) -> InnerObjective:
        """Return the objective of a restart: the search's own, or one towards the next wrong class."""
        if restart == 0 or not self.attack.targeted:
            return self.objective
        if not isinstance(self.objective, Aimable):
            raise ConfigError(
                "this objective cannot aim at one class", expected="CrossEntropy, Margin or DLR in targeted restarts"
            )
        wrong = clean.scatter(1, self.labels.unsqueeze(1), -torch.inf).argsort(dim=1, descending=True)
        return self.objective.towards(wrong[:, (restart - 1) % max(1, clean.shape[1] - 1)])
