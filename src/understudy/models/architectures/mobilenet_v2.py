"""MobileNetV2 for small images: inverted residuals with linear bottlenecks.

Sandler, Howard, Zhu, Zhmoginov, Chen: MobileNetV2. CVPR 2018, arXiv 1801.04381, table 2. As usual for 32x32
images, the stem and the 24-channel stage keep the resolution, so that three of the five halvings remain.
"""

from typing import Annotated, ClassVar

from pydantic import Field
from torch import nn

from understudy.models.architectures.base import Architecture, image_shape
from understudy.models.architectures.layers import Residual, conv_bn, global_head, named

# Expansion t, channels c, blocks n, stride s of each stage; the 24-channel stage has stride 2 in the paper.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class MobileNetV2(Architecture):
    """Seven stages of inverted residuals, then a 1x1 convolution of 1280 channels."""

    name: ClassVar[str] = "mobilenet_v2"

    width: Annotated[float, Field(ge=0.1, le=4.0)] = 1.0
    """Width multiplier; channels are rounded to multiples of 8."""

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        channels, _, _ = image_shape(self, input_shape)
        inputs = _scaled(32, self.width)
        stem = _conv_bn_relu6(channels, inputs, 3)
        stages = nn.Sequential()
        for expansion, stage_channels, count, first_stride in _STAGES:
            outputs = _scaled(stage_channels, self.width)
            layers = nn.Sequential()
            for block in range(count):
                layers.append(_inverted_residual(inputs, outputs, expansion, first_stride if block == 0 else 1))
                inputs = outputs
            stages.append(layers)
        last = _scaled(1280, max(1.0, self.width))  # the last layer is never narrowed (section 5)
        return named(stem=stem, stages=stages, last=_conv_bn_relu6(inputs, last, 1), head=global_head(last, classes))


def _inverted_residual(inputs: int, outputs: int, expansion: int, stride: int) -> nn.Module:
    hidden = inputs * expansion
    expand = [] if expansion == 1 else [_conv_bn_relu6(inputs, hidden, 1)]
    body = nn.Sequential(
        *expand,
        _conv_bn_relu6(hidden, hidden, 3, stride=stride, groups=hidden),
        *conv_bn(hidden, outputs, 1),  # the linear bottleneck
    )
    return Residual(body) if stride == 1 and inputs == outputs else body


def _conv_bn_relu6(inputs: int, outputs: int, size_px: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(*conv_bn(inputs, outputs, size_px, stride=stride, groups=groups), nn.ReLU6())


def _scaled(channels: int, width: float) -> int:
    """Return the nearest multiple of 8 to channels * width that takes away at most a tenth."""
    rounded = max(8, int(channels * width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels * width else rounded
