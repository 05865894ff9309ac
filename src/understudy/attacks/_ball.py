"""The points that an attack may reach: within a radius of each image, and within the box of pixels [0, 1]."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.attacks.radius import Norm
from understudy.errors import ConfigError

Start = Literal["none", "uniform", "gaussian", "wide"]
GAUSSIAN = 0.001
"""Standard deviation of the Gaussian start, in pixel units of [0, 1]."""

Points = Float[Tensor, " batch *shape"]


@dataclass(frozen=True)
class LinfBall:
    """max |x' − x| ≤ ε, clipped to the box beforehand."""

    centre: Points
    low: Points
    high: Points

    def at(self, rows: Tensor) -> "LinfBall":
        """Return the balls of some of the images."""
        return LinfBall(self.centre[rows], self.low[rows], self.high[rows])

    def clip(self, points: Points) -> Points:
        """Return the nearest points that may be reached."""
        return torch.clamp(points, self.low, self.high)

    def climb(self, points: Points, gradient: Points, step: float) -> Points:
        """Return points one step up: every pixel moves by `step`, wherever its gradient is not 0."""
        return torch.add(points, gradient.sign(), alpha=step).clamp_(self.low, self.high)

    def noise(self, radius: float, generator: torch.Generator) -> Points:
        """Return uniform noise of a radius."""
        return (2 * _drawn(torch.rand, self.centre, generator) - 1) * radius


@dataclass(frozen=True)
class L2Ball:
    """‖x' − x‖₂ ≤ ε over all pixels of an image; the box is met by the nearest point of both together."""

    centre: Points
    radius: float

    def at(self, rows: Tensor) -> "L2Ball":
        """Return the balls of some of the images."""
        return L2Ball(self.centre[rows], self.radius)

    def clip(self, points: Points) -> Points:
        """Return the nearest points that lie in both the ball and the box.

        They are clip(x + s·d) for the largest s ≤ 1 that the ball allows (the projection's optimality conditions).
        The squared length Σ min(s²d², room²) is concave in s², so Newton's steps climb to s from below and are
        never outside. Each step leaves out the pixels that have met the box; twelve are more than images need.
        """
        if self.radius == float("inf"):
            return points.clamp(0, 1)
        centre = self.centre.flatten(1)
        delta = points.flatten(1) - centre
        squared, room = delta.square(), torch.where(delta > 0, 1 - centre, centre).square()
        scale = torch.zeros_like(squared[:, :1])
        for _ in range(NEWTON_STEPS):
            last = scale
            free = scale * squared < room
            spent = torch.where(free, 0, room).sum(dim=1, keepdim=True)
            slope = torch.where(free, squared, 0).sum(dim=1, keepdim=True).clamp_min(_TINY)
            scale = ((self.radius**2 - spent).clamp_min(0) / slope).clamp(max=1)
            if scale.is_cpu and torch.equal(scale, last):  # there, looking costs nothing
                break
        return torch.addcmul(centre, delta, scale.sqrt()).clamp_(0, 1).view_as(points)

    def climb(self, points: Points, gradient: Points, step: float) -> Points:
        """Return points one step up: each image moves by the length `step` along its gradient."""
        return self.clip(torch.add(points, _unit(gradient), alpha=step))

    def noise(self, radius: float, generator: torch.Generator) -> Points:
        """Return noise that is uniform in the ball of a radius."""
        direction = _unit(_drawn(torch.randn, self.centre, generator))
        share = _drawn(torch.rand, self.centre.flatten(1)[:, :1], generator)
        length = radius * share ** (1 / max(1, direction[0].numel()))
        return direction * length.view(-1, *[1] * (direction.ndim - 1))


Ball = LinfBall | L2Ball
NEWTON_STEPS = 12
_TINY = torch.finfo(torch.float32).tiny


def ball_around(x: Points, norm: Norm, radius: float, *, bounded: bool = True) -> Ball:
    """Return the ball around each image; not `bounded`, the box alone holds its points."""
    if norm == "l2":
        return L2Ball(x, radius if bounded else float("inf"))
    if not bounded:
        return LinfBall(x, torch.zeros_like(x), torch.ones_like(x))
    return LinfBall(x, (x - radius).clamp_(min=0), (x + radius).clamp_(max=1))


def starting_points(ball: Ball, start: Start, radius: float, generator: torch.Generator | None) -> Points:
    """Return where an attack begins: at the images, or at random points around them that may be reached.

    Raises:
        ConfigError: the start is random, and there is no generator; the global one is never used.
    """
    if start == "none":
        return ball.centre.clone()
    if generator is None:
        raise ConfigError(
            f"an attack with the random start {start!r} needs a generator",
            fix="pass generator=stream(seed, name), or take start='none'",
        )
    if start == "gaussian":
        noise = GAUSSIAN * _drawn(torch.randn, ball.centre, generator)
    else:
        noise = ball.noise(2 * radius if start == "wide" else radius, generator)
    return ball.clip(ball.centre + noise)


def _drawn(draw: Callable[..., Tensor], like: Tensor, generator: torch.Generator) -> Tensor:
    noise = draw(like.shape, generator=generator, dtype=like.dtype, device=generator.device)
    return noise.to(like.device)


def _unit(vectors: Tensor) -> Tensor:
    """Return vectors of length 1; those of length 0, or with a value that is not finite, become 0.

    Divided by their largest value first, so that tiny gradients keep their direction.
    """
    flat = vectors.flatten(1)
    flat = flat / flat.abs().amax(dim=1, keepdim=True)
    flat = flat / flat.norm(dim=1, keepdim=True)
    return torch.nan_to_num(flat, nan=0.0, posinf=0.0, neginf=0.0).view_as(vectors)
