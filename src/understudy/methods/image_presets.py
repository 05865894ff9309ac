"""Presets of plain distillation and of every attacker: the same, so that attackers have equal budgets."""

from typing import Any, TypeVar

from understudy.methods.method import Method, preset
from understudy.training import from_images

MethodT = TypeVar("MethodT", bound=Method)

DIGITS: dict[str, Any] = {"fit": from_images.DIGITS}
MNIST: dict[str, Any] = {"crop_padding": 2, "fit": from_images.MNIST}
CIFAR10: dict[str, Any] = {"crop_padding": 4, "flip": True, "fit": from_images.CIFAR10}


class QuickPresets(Method):
    """Base of the methods that have these presets."""

    @classmethod
    @preset
    def digits(cls: type[MethodT]) -> MethodT:
        """The embedded 8x8 digits: a few seconds."""
        return cls(**DIGITS)

    @classmethod
    @preset
    def mnist(cls: type[MethodT]) -> MethodT:
        """MNIST with small networks."""
        return cls(**MNIST)

    @classmethod
    @preset
    def cifar10(cls: type[MethodT]) -> MethodT:
        """CIFAR-10 with residual networks: crops of 4 pixels, flips, and the one-cycle rule."""
        return cls(**CIFAR10)
