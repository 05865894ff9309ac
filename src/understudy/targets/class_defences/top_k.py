"""Answers with all but their largest probabilities left out."""

from typing import Annotated, ClassVar

import torch
from jaxtyping import Float, Float64, Int64
from pydantic import Field, model_validator
from torch import Tensor

from understudy.errors import ConfigError
from understudy.targets.class_defences.base import ClassDefence


class TopK(ClassDefence):
    """Keep the k largest probabilities and renormalise: ỹ = y·1_S / Σ_S y, S the classes of the k largest.

    Of equal probabilities the first ones are kept, so that exactly k classes are. Softened, ỹ is what the logits
    outside S at minus infinity would give: ỹ^(1/T) renormalised is softmax(z/T) over S.

    Ma et al.: Sparse Logits Suffice to Fail Knowledge Distillation (Stingy Teacher). ICLR workshop PAIR²Struct 2022.
    Its ratios are 0.2 for CIFAR-10 and 0.1 for CIFAR-100, Tiny-ImageNet and ImageNet.
    """

    name: ClassVar[str] = "top_k"
    main: ClassVar[str | None] = "k"
    summary: ClassVar[str] = "keeps the largest probabilities and renormalises"
    random: ClassVar[bool] = False
    personal: ClassVar[bool] = False
    reference: ClassVar[str] = "Ma et al. 2022 (Stingy Teacher)"

    k: Annotated[int, Field(ge=1)] | None = None
    """Classes that are kept; none: as the ratio says."""
    ratio: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of the classes that are kept, rounded down but to one class at least."""

    @model_validator(mode="after")
    def _one_of_the_two(self) -> "TopK":
        if (self.k is None) == (self.ratio is None):
            raise ValueError("either k or ratio must be given, for example top_k:2 or top_k:ratio=0.2")
        return self

    @property
    def keeps_top1(self) -> bool:
        """Always; see `ClassDefence.keeps_top1`."""
        return True

    def kept(self, classes: int) -> int:
        """Return how many of `classes` classes are kept; 0.29 of 100 are 29, whatever binary fractions say.

        Example:
            >>> TopK(ratio=0.29).kept(100)
            29
        """
        if self.k is not None:
            return self.k
        assert self.ratio is not None
        return max(1, int(self.ratio * classes + 1e-9))

    def check(self, classes: int) -> None:
        """Refuse to keep more classes than there are; see `ClassDefence.check`."""
        if self.kept(classes) > classes:
            raise ConfigError(
                f"cannot keep the {self.k} largest of {classes} probabilities",
                where=f"defence top_k:{self.k}",
                expected=f"1 to {classes}, the number of classes",
            )

    def serve(
        self,
        y: Float64[Tensor, "b k"],
        *,
        images: Float[Tensor, " b *input"] | None,  # noqa: ARG002
        keys: Int64[Tensor, " b"],  # noqa: ARG002
        seed: int,  # noqa: ARG002
        memory: dict[str, Tensor],  # noqa: ARG002
    ) -> Float64[Tensor, "b k"]:
        """Return `y` with its k largest probabilities, renormalised; see `ClassDefence.serve`."""
        order = y.sort(dim=1, descending=True, stable=True).indices  # topk promises no order of equal numbers
        mask = torch.zeros_like(y).scatter(1, order[:, : self.kept(y.shape[1])], 1.0)
        kept = y * mask
        return kept / kept.sum(dim=1, keepdim=True)
