"""Multi-layer perceptron: linear layers with ReLU between them; images are flattened."""

from math import prod
from typing import ClassVar, Literal

from torch import nn

from understudy.models.architectures.base import Architecture, Widths
from understudy.models.architectures.layers import named


class MLP(Architecture):
    """Hidden layers of linear, normalisation and ReLU, then one linear layer; takes images and vectors."""

    name: ClassVar[str] = "mlp"

    widths: Widths = (256, 256)
    """Units of each hidden layer."""
    norm: Literal["none", "batch"] = "none"
    """Normalisation after each hidden linear layer."""

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        features = prod(input_shape)
        hidden = nn.Sequential()
        for units in self.widths:
            hidden.append(nn.Linear(features, units, bias=self.norm == "none"))  # BatchNorm has the bias
            if self.norm == "batch":
                hidden.append(nn.BatchNorm1d(units))
            hidden.append(nn.ReLU())
            features = units
        return named(flatten=nn.Flatten(), hidden=hidden, head=nn.Linear(features, classes))
