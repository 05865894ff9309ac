"""The networks of the published CPU reference, whose maps shrink by strides; ours, `cnn`, pools instead."""

from torch import nn


def target() -> nn.Module:
    """Return the target: 36, 72 and 96 channels."""
    return _network(36, 72, 96)


def surrogate() -> nn.Module:
    """Return the surrogate: 24, 48 and 96 channels."""
    return _network(24, 48, 96)


def _network(*widths: int) -> nn.Module:
    layers: list[nn.Module] = []
    inputs = 1
    for width, stride in zip(widths, (1, 2, 2), strict=True):
        layers += [nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
