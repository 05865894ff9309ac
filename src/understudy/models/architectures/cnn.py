"""Plain convolutional network: blocks of convolution, normalisation, ReLU and pooling; a linear layer."""

from math import gcd
from typing import ClassVar, Literal

from torch import nn

from understudy.models.architectures.base import Architecture, Widths, image_shape
from understudy.models.architectures.layers import named

_POOLED_MIN_PX = 2  # a smaller map carries no position any more


class CNN(Architecture):
    """One 3x3 convolution a block; a block's max-pooling is left out where the map would fall below 2 px."""

    name: ClassVar[str] = "cnn"

    widths: Widths = (32, 64, 128)
    """Channels of each block."""
    norm: Literal["batch", "group", "none"] = "batch"
    """Normalisation after each convolution; `group` takes at most 8 groups."""
    pool: Literal["global", "flatten"] = "global"
    """What the linear layer sees: the mean of each map, or every pixel of it."""

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        channels, height, width = image_shape(self, input_shape)
        blocks = nn.Sequential()
        for outputs in self.widths:
            block = nn.Sequential(*self._conv(channels, outputs), nn.ReLU())
            if min(height, width) // 2 >= _POOLED_MIN_PX:
                block.append(nn.MaxPool2d(2))
                height, width = height // 2, width // 2
            blocks.append(block)
            channels = outputs
        if self.pool == "global":
            blocks.append(nn.AdaptiveAvgPool2d(1))
            height = width = 1
        return named(blocks=blocks, flatten=nn.Flatten(), head=nn.Linear(channels * height * width, classes))

    def _conv(self, inputs: int, outputs: int) -> list[nn.Module]:
        layer = nn.Conv2d(inputs, outputs, 3, padding=1, bias=self.norm != "batch")  # BatchNorm has the bias
        match self.norm:
            case "batch":
                return [layer, nn.BatchNorm2d(outputs)]
            case "group":
                return [layer, nn.GroupNorm(gcd(8, outputs), outputs)]
            case "none":
                return [layer]
