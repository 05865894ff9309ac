"""A classifier: a network whose rows are logits, one number a class."""

from collections.abc import Sequence

from torch import nn

from understudy.errors import ConfigError
from understudy.models.network import Network, Normalise, check_shape

__all__ = ["Classifier", "Normalise", "check_signature"]


class Classifier(Network):
    """A network that maps inputs in [0, 1] to logits, with normalisation as its first layer.

    Args:
        net: works in normalised coordinates, gives logits of shape (batch, classes).
        spec: canonical spec that rebuilds `net`, for example `resnet18:width=16`.
        input_shape: (channels, height, width), or (d,) for vectors.
        classes: number of classes, >= 2.
        mean: per channel; for vectors, one value for all features is allowed too.
        std: per channel, > 0.

    Raises:
        ShapeError: the shape is none, or its channels do not fit `mean`.
        ConfigError: fewer than two classes.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        spec: str,
        input_shape: Sequence[int],
        classes: int,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        shape = check_signature(input_shape, classes)
        super().__init__(net, spec=spec, input_shape=shape, outputs=classes, mean=mean, std=std)
        self.classes = classes


def check_signature(input_shape: Sequence[int], classes: int) -> tuple[int, ...]:
    """Return the input shape as a tuple.

    Raises:
        ShapeError: it is neither (channels, height, width) nor (d,), or a size is below 1.
        ConfigError: fewer than two classes.
    """
    shape = check_shape(input_shape)
    if classes < 2:
        raise ConfigError(f"a classifier of {classes} classes", expected="2 classes or more")
    return shape
