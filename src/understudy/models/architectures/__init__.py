"""The architectures: one file each, and the table of their names."""

from understudy.models.architectures.base import Architecture
from understudy.models.architectures.cnn import CNN
from understudy.models.architectures.mlp import MLP
from understudy.models.architectures.mobilenet_v2 import MobileNetV2
from understudy.models.architectures.resnet import ResNet, ResNet18, ResNet34
from understudy.models.architectures.vit import ViT
from understudy.models.architectures.wide_resnet import WideResNet

ARCHITECTURES: dict[str, type[Architecture]] = {
    architecture.name: architecture
    for architecture in (CNN, MLP, ResNet18, ResNet34, ResNet, WideResNet, MobileNetV2, ViT)
}
"""Every architecture by the name that its specs begin with."""

__all__ = [
    "ARCHITECTURES",
    "CNN",
    "MLP",
    "Architecture",
    "MobileNetV2",
    "ResNet",
    "ResNet18",
    "ResNet34",
    "ViT",
    "WideResNet",
]
