"""Answers without numbers: the class alone."""

from typing import ClassVar

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor
from torch.nn import functional

from understudy.targets.class_defences.base import ClassDefence


class Labels(ClassDefence):
    """Serve the predicted class and nothing else: ỹ = onehot(argmax y). Of equal classes the first is served.

    A student of hard labels is the lower bound for every defence that keeps the top-1.
    """

    name: ClassVar[str] = "labels"
    summary: ClassVar[str] = "serves the predicted class alone"
    random: ClassVar[bool] = False
    personal: ClassVar[bool] = False
    reference: ClassVar[str] = "baseline"

    @property
    def keeps_top1(self) -> bool:
        """Always; see `ClassDefence.keeps_top1`."""
        return True

    def serve(
        self,
        y: Float64[Tensor, "b k"],
        *,
        images: Float[Tensor, " b *input"] | None,  # noqa: ARG002
        keys: Int64[Tensor, " b"],  # noqa: ARG002
        seed: int,  # noqa: ARG002
        memory: dict[str, Tensor],  # noqa: ARG002
    ) -> Float64[Tensor, "b k"]:
        """Return one-hot rows; see `ClassDefence.serve`."""
        return functional.one_hot(y.argmax(dim=1), y.shape[1]).to(torch.float64)
