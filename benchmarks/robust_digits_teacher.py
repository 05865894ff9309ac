"""A teacher that errs on some training images whatever is done to them; used by `robust_digits.py`."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from understudy.data import ImageSet, as_float
from understudy.models import Classifier
from understudy.runs.seeds import stream


class Swapped(nn.Module):
    """A network whose top logit is exchanged with that of a fixed wrong class, near certain images.

    It knows the images by sight, so that the whole ball around one is answered alike, however it is asked. The
    exchange is a permutation: gradients pass through it. What is under the last layer stays as it is.

    Args:
        net: takes images in [0, 1] and gives logits.
        images: those to err on, no two balls of which overlap. Shape (n, ...).
        wrong: for each, the class that its top class changes places with. Shape (n,).
        radius: of the ball around each image, in L-inf.
    """

    def __init__(
        self, net: nn.Module, images: Float[Tensor, " n *shape"], wrong: Int64[Tensor, " n"], radius: float
    ) -> None:
        super().__init__()
        self.net = net
        self.radius = radius
        self.images: Tensor
        self.wrong: Tensor
        self.register_buffer("images", images.flatten(1))
        self.register_buffer("wrong", wrong)

    def forward(self, x: Float[Tensor, " b *shape"]) -> Float[Tensor, "b k"]:
        """Return the logits, with two of them exchanged where an image is one to err on."""
        logits: Tensor = self.net(x)
        distance, row = torch.cdist(x.detach().flatten(1), self.images, p=float("inf")).min(dim=1)
        top = logits.argmax(dim=1)
        other = torch.where(distance <= self.radius, self.wrong[row], top)
        order = torch.arange(logits.shape[1], device=x.device).repeat(len(x), 1)
        order = order.scatter(1, top[:, None], other[:, None]).scatter(1, other[:, None], top[:, None])
        return logits.gather(1, order)


@dataclass(frozen=True, eq=False)
class Errors:
    """On which images a teacher errs, and towards what."""

    rows: Int64[Tensor, " n"]
    wrong: Int64[Tensor, " n"]


def draw_errors(data: ImageSet, *, share: float, radius: float, seed: int) -> Errors:
    """Return that share of the rows, each with a wrong class; rows with another image within 2 · radius are spared."""
    generator = stream(seed, "errors")
    order = torch.randperm(len(data), generator=generator)
    shift = torch.randint(1, len(data.classes), (len(data),), generator=generator)
    alone = apart(data, 2 * radius)
    rows = order[alone[order]][: round(share * len(data))]
    return Errors(rows, (data.labels[rows] + shift[rows]) % len(data.classes))


def apart(data: ImageSet, distance: float) -> Bool[Tensor, " n"]:
    """Return which images have no other one within a distance in L-inf."""
    flat = as_float(data.images).flatten(1)
    found = torch.cdist(flat, flat, p=float("inf"))
    found.fill_diagonal_(float("inf"))
    return found.amin(dim=1) > distance


def make_err(teacher: Classifier, data: ImageSet, errors: Errors, *, radius: float) -> Classifier:
    """Return the teacher with these errors; it takes images as they are, so its normalisation must be none.

    Raises:
        ValueError: the teacher normalises.
    """
    if teacher.normalise.mean.any() or (teacher.normalise.std != 1).any():
        raise ValueError("the errors are found by pixels in [0, 1], and this teacher normalises them")
    images = as_float(data.images[errors.rows])
    net = Swapped(teacher.net, images, errors.wrong, radius)
    channels = [0.0] * data.shape[0], [1.0] * data.shape[0]
    return Classifier(
        net,
        spec=f"{teacher.spec} (errs on {len(errors.rows)} images)",
        input_shape=teacher.input_shape,
        classes=teacher.classes,
        mean=channels[0],
        std=channels[1],
    )
