"""Answers mixed with misleading ones where the classifier is unsure: adaptive misinformation."""

from typing import Annotated, ClassVar

import torch
from jaxtyping import Float, Float64, Int64
from pydantic import Field
from torch import Tensor

from understudy.targets.class_defences._networks import check_images, load_owned, owned_digest
from understudy.targets.class_defences.base import ClassDefence


def misinformed(
    y: Float64[Tensor, "b k"], misleading: Float64[Tensor, "b k"], *, tau: float, nu: float
) -> Float64[Tensor, "b k"]:
    """Return (1 - a)y + a·ŷ with a = sigmoid(ν(τ - max y)) for each row, as Kariyappa and Qureshi 2020.

    Args:
        y: clean probabilities. Shape (b, k).
        misleading: those of the misleading network [ŷ_mis]. Shape (b, k).
        tau: confidence at which half of the answer is misleading [τ].
        nu: how sharply the share changes with the confidence [ν].
    """
    share = torch.sigmoid(nu * (tau - y.amax(dim=1, keepdim=True)))
    return (1 - share) * y + share * misleading


class Misinformation(ClassDefence):
    """Mix in the answer of a misleading network where the classifier is unsure, as it is off the owner's data.

    ỹ = (1 - a)y + a·ŷ_mis, a = sigmoid(ν(τ - max y)). ŷ_mis is the softmax of a network that was trained with
    -ln(1 - ŷ_mis,y). The paper trains the classifier with outlier exposure, so that max y is low off the data; a
    classifier trained otherwise is sure of much that it never saw, and little is mixed in.

    Kariyappa, Qureshi: Defending Against Model Stealing Attacks with Adaptive Misinformation. CVPR 2020, arXiv
    1911.07100. Their code has ν = 10000; the default is the paper's 1000.
    """

    name: ClassVar[str] = "misinformation"
    main: ClassVar[str | None] = "tau"
    summary: ClassVar[str] = "mixes in misleading answers where the classifier is unsure"
    random: ClassVar[bool] = False
    personal: ClassVar[bool] = False
    reference: ClassVar[str] = "Kariyappa and Qureshi 2020"

    tau: Annotated[float, Field(ge=0, le=1)]
    """Confidence at which half of the answer is misleading [τ]."""
    misleader: str
    """Run folder of the misleading network; its path holds no comma and no plus."""
    nu: Annotated[float, Field(gt=0, le=1e6)] = 1000.0
    """How sharply the share changes with the confidence [ν]."""

    @property
    def keeps_top1(self) -> bool:
        """Never for sure: unsure answers become misleading; see `ClassDefence.keeps_top1`."""
        return False

    def check(self, classes: int) -> None:
        """Refuse a misleading network of other classes; see `ClassDefence.check`."""
        load_owned(self.misleader, classes=classes, where=f"defence {self.name}")

    def identity(self) -> str:
        """Return the hash of the misleading network; see `ClassDefence.identity`."""
        return owned_digest(self.misleader)

    def serve(
        self,
        y: Float64[Tensor, "b k"],
        *,
        images: Float[Tensor, " b *input"] | None,
        keys: Int64[Tensor, " b"],  # noqa: ARG002
        seed: int,  # noqa: ARG002
        memory: dict[str, Tensor],  # noqa: ARG002
    ) -> Float64[Tensor, "b k"]:
        """Return `y` with misleading probabilities mixed in; see `ClassDefence.serve`."""
        where = f"defence {self.name}"
        misleader = load_owned(self.misleader, classes=y.shape[1], where=where).to(y.device)
        misleading = misleader(check_images(images, misleader, where=where)).double().softmax(dim=1)
        return misinformed(y, misleading, tau=self.tau, nu=self.nu)
