"""The attack that adversarial sets are made with: a radius in the network's own coordinates, and a box of choice.

Untargeted L∞ PGD on the cross-entropy, from the image itself, as the Adversarial Sparse Teacher's released code has it:

    x'₀ = x;   x'ᵢ₊₁ = clip_box( x + clip( x'ᵢ + a·sign ∇CE(z(x'ᵢ), y) − x, −ε, ε ) )

There ε and a act on normalised images. Here images stay in [0, 1], and a radius in normalised coordinates is one of
ε·std in each channel: the same points, for the sign of the gradient is the same in both.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from understudy.attacks.guard import untouched
from understudy.attacks.radius import check_radius
from understudy.errors import ConfigError
from understudy.models import Frozen, Network

Box = Literal["valid", "unit"]
Coordinates = Literal["normalised", "pixels"]


@dataclass(frozen=True)
class BoxedPGD:
    """How the attack goes.

    Args:
        epsilon: largest change of a value, in the coordinates named.
        step: length of one step, likewise.
        steps: 0 gives copies of the images.
        box: "valid" is that of pixels, [0, 1]. "unit" is [0, 1] in normalised coordinates, as in the released code:
            pixels from the mean to one deviation above it. Values outside it are brought in, however far ε allows.
        coordinates: in which ε and the step are meant: the network's normalised ones, or pixels of [0, 1].

    Raises:
        ConfigError: a radius in pixels above 1, or the unit box with pixels.
    """

    epsilon: float
    step: float
    steps: int
    box: Box = "valid"
    coordinates: Coordinates = "normalised"

    def __post_init__(self) -> None:
        if self.coordinates == "pixels":
            check_radius(self.epsilon, "linf")
            if self.box == "unit":
                raise ConfigError("the unit box is one of normalised coordinates", fix="take box valid with pixels")

    def to_json(self) -> dict[str, Any]:
        """Return the settings as plain values."""
        return {name: float(value) if name in ("epsilon", "step") else value for name, value in asdict(self).items()}


def boxed_pgd(
    model: Network | Frozen, x: Float[Tensor, "b c h w"], labels: Int[Tensor, " b"], *, attack: BoxedPGD
) -> Float[Tensor, "b c h w"]:
    """Return images on which the cross-entropy is large; the network is asked in eval mode and given back untouched.

    Args:
        model: gives logits of images in [0, 1].
        x: images in [0, 1]; they are not changed. Shape (b, c, h, w).
        labels: true classes. Shape (b,).
        attack: how.

    Returns:
        New images in [0, 1], in pixels whatever the coordinates of the attack.
    """
    mean, std = (values.view(-1, 1, 1) for values in (model.normalise.mean, model.normalise.std))
    scale = std if attack.coordinates == "normalised" else torch.ones_like(std)
    low, high = (mean, mean + std) if attack.box == "unit" else (torch.zeros_like(std), torch.ones_like(std))
    radius, step = attack.epsilon * scale, attack.step * scale
    x = x.detach()
    points = x.clone()
    with torch.inference_mode(False), torch.enable_grad(), untouched(model):
        for _ in range(attack.steps):
            points.requires_grad_()
            loss = F.cross_entropy(model(points).float(), labels, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, points)
            moved = points.detach() + step * gradient.sign() - x
            points = torch.clamp(x + torch.clamp(moved, -radius, radius), low, high)
    return points.detach()
