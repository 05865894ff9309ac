"""Residual networks for small images: 3x3 stem, no max-pooling, projection shortcuts (option B).

He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition. CVPR 2016, arXiv 1512.03385. `resnet18` and
`resnet34` are the ImageNet layouts with the stem that the field uses for CIFAR; `resnet` is the paper's own
CIFAR family of depth 6n + 2 (section 4.2). The paper's CIFAR networks pad their shortcuts with zeros (option
A: ResNet-20 has 269,722 parameters); these project (option B: 272,474).
"""

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field
from torch import nn

from understudy.models.architectures.base import Architecture, Width, image_shape
from understudy.models.architectures.layers import Residual, conv_bn, global_head, named


class ResNet18(Architecture):
    """Four stages of basic blocks, 2-2-2-2."""

    name: ClassVar[str] = "resnet18"
    blocks: ClassVar[tuple[int, ...]] = (2, 2, 2, 2)

    width: Width = 64
    """Channels of the first stage; each later stage doubles them."""

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        channels, _, _ = image_shape(self, input_shape)
        return _resnet(channels, classes, self.width, self.blocks)


class ResNet34(ResNet18):
    """Four stages of basic blocks, 3-4-6-3."""

    name: ClassVar[str] = "resnet34"
    blocks: ClassVar[tuple[int, ...]] = (3, 4, 6, 3)


def _six_n_plus_two(depth: int) -> int:
    if depth % 6 != 2:
        raise ValueError("depth should be 6n + 2: 8, 14, 20, 26, 32, 38, 44, ...")
    return depth


class ResNet(Architecture):
    """The CIFAR family of the paper: three stages of n basic blocks, depth 6n + 2."""

    name: ClassVar[str] = "resnet"

    depth: Annotated[int, Field(ge=8, le=1202), AfterValidator(_six_n_plus_two)]
    """Weighted layers, 6n + 2: 20, 32, 44, 56, 110 in the paper."""
    width: Width = 16
    """Channels of the first stage; each later stage doubles them."""

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        channels, _, _ = image_shape(self, input_shape)
        return _resnet(channels, classes, self.width, [(self.depth - 2) // 6] * 3)


def _resnet(channels: int, classes: int, width: int, blocks: Sequence[int]) -> nn.Module:
    stages = nn.Sequential()
    inputs = width
    for stage, count in enumerate(blocks):
        outputs = width * 2**stage
        strides = [1 if stage == 0 else 2] + [1] * (count - 1)
        layers = nn.Sequential()
        for stride in strides:
            layers.append(_basic_block(inputs, outputs, stride))
            inputs = outputs
        stages.append(layers)
    stem = nn.Sequential(*conv_bn(channels, width, 3), nn.ReLU())
    return named(stem=stem, stages=stages, head=global_head(inputs, classes))


def _basic_block(inputs: int, outputs: int, stride: int) -> nn.Module:
    body = nn.Sequential(*conv_bn(inputs, outputs, 3, stride=stride), nn.ReLU(), *conv_bn(outputs, outputs, 3))
    same = stride == 1 and inputs == outputs
    shortcut = None if same else nn.Sequential(*conv_bn(inputs, outputs, 1, stride=stride))
    return named(sum=Residual(body, shortcut), relu=nn.ReLU())
