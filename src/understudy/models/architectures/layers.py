"""Layers that several architectures share; everything else is put together from `nn.Sequential`."""

from collections import OrderedDict
from typing import no_type_check

from torch import Tensor, nn


class Residual(nn.Module):
    """Return body(x) + shortcut(x); without a shortcut, body(x) + x.

    The only layer with a forward of its own in the convolutional networks, so that all of them can be traced.
    """

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.body = body
        self.shortcut = nn.Identity() if shortcut is None else shortcut

    @no_type_check  # torch.fx passes proxies, which no shape check admits
    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the body's shape, which is the shortcut's too."""
        return self.body(x) + self.shortcut(x)


def conv(inputs: int, outputs: int, size_px: int, *, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """Return a convolution without bias that keeps the map's size at stride 1; `size_px` is odd."""
    return nn.Conv2d(inputs, outputs, size_px, stride=stride, padding=size_px // 2, groups=groups, bias=False)


def conv_bn(inputs: int, outputs: int, size_px: int, *, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Return a convolution and its BatchNorm."""
    return [conv(inputs, outputs, size_px, stride=stride, groups=groups), nn.BatchNorm2d(outputs)]


def global_head(inputs: int, classes: int) -> nn.Sequential:
    """Return global average pooling and a linear layer."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))


def named(**parts: nn.Module) -> nn.Sequential:
    """Return a sequence whose parts have names, so that state dicts can be read by people."""
    return nn.Sequential(OrderedDict(parts))
