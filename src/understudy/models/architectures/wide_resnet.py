"""Wide residual networks, WRN-depth-widen: pre-activation blocks in three stages.

Zagoruyko, Komodakis: Wide Residual Networks. BMVC 2016, arXiv 1605.07146. No dropout. Where a block changes
the number of channels, its shortcut is a 1x1 convolution of the activated input, as in the authors' code.
"""

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field
from torch import nn

from understudy.models.architectures.base import Architecture, image_shape
from understudy.models.architectures.layers import Residual, conv, conv_bn, global_head, named


def _six_n_plus_four(depth: int) -> int:
    if depth % 6 != 4:
        raise ValueError("depth should be 6n + 4: 10, 16, 22, 28, 34, 40, ...")
    return depth


class WideResNet(Architecture):
    """Stages of 16, 32 and 64 times `widen` channels; `wide_resnet16_2` and `wrn-16-2` name it too."""

    name: ClassVar[str] = "wide_resnet"

    depth: Annotated[int, Field(ge=10, le=1000), AfterValidator(_six_n_plus_four)]
    """Weighted layers, 6n + 4 (the paper's d)."""
    widen: Annotated[int, Field(ge=1, le=64)]
    """Widening factor (the paper's k)."""

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        channels, _, _ = image_shape(self, input_shape)
        inputs = 16
        stages = nn.Sequential()
        for stage in range(3):
            outputs = 16 * self.widen * 2**stage
            layers = nn.Sequential()
            for block in range((self.depth - 4) // 6):
                layers.append(_block(inputs, outputs, stride=2 if stage and block == 0 else 1))
                inputs = outputs
            stages.append(layers)
        return named(
            stem=conv(channels, 16, 3),
            stages=stages,
            norm=_activation(inputs),
            head=global_head(inputs, classes),
        )


def _block(inputs: int, outputs: int, *, stride: int) -> nn.Module:
    body = nn.Sequential(*conv_bn(inputs, outputs, 3, stride=stride), nn.ReLU(), conv(outputs, outputs, 3))
    if inputs == outputs and stride == 1:
        return Residual(nn.Sequential(_activation(inputs), body))
    # Here the shortcut sees the activated input, so the activation stands before the fork.
    return named(activation=_activation(inputs), sum=Residual(body, conv(inputs, outputs, 1, stride=stride)))


def _activation(channels: int) -> nn.Module:
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())
