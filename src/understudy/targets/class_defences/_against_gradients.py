"""What the defences share that look at the gradient of a copy: the network that stands for it, and the bound."""

from abc import abstractmethod
from typing import Annotated, ClassVar

from jaxtyping import Float, Float64, Int64
from pydantic import Field
from torch import Tensor, nn

from understudy.targets.class_defences._networks import check_images, load_owned, owned_digest
from understudy.targets.class_defences.base import ClassDefence


class AgainstGradients(ClassDefence):
    """Base of defences that change an answer by what it would teach a surrogate."""

    main: ClassVar[str | None] = "epsilon"
    random: ClassVar[bool] = False
    personal: ClassVar[bool] = False

    epsilon: Annotated[float, Field(ge=0, le=2)]
    """Largest L1 distance from the clean probabilities [ε]; 0 changes nothing."""
    surrogate: str
    """Run folder of the network whose gradients stand for the copy's; its path holds no comma and no plus."""

    def check(self, classes: int) -> None:
        """Refuse a surrogate of other classes; see `ClassDefence.check`."""
        load_owned(self.surrogate, classes=classes, where=f"defence {self.name}")

    def identity(self) -> str:
        """Return the hash of the surrogate; see `ClassDefence.identity`."""
        return owned_digest(self.surrogate)

    def serve(
        self,
        y: Float64[Tensor, "b k"],
        *,
        images: Float[Tensor, " b *input"] | None,
        keys: Int64[Tensor, " b"],  # noqa: ARG002
        seed: int,  # noqa: ARG002
        memory: dict[str, Tensor],  # noqa: ARG002
    ) -> Float64[Tensor, "b k"]:
        """Return `y` changed against the surrogate's gradient; see `ClassDefence.serve`."""
        if self.epsilon == 0:
            return y.clone()
        where = f"defence {self.name}"
        surrogate = load_owned(self.surrogate, classes=y.shape[1], where=where).to(y.device)
        return self.against(surrogate, check_images(images, surrogate, where=where), y)

    @abstractmethod
    def against(
        self, surrogate: nn.Module, images: Float[Tensor, " b *input"], y: Float64[Tensor, "b k"]
    ) -> Float64[Tensor, "b k"]:
        """Return `y` changed within the bound.

        Args:
            surrogate: the network whose gradients stand for the copy's.
            images: the queries, as the surrogate takes them. Shape (b, ...).
            y: clean probabilities. Shape (b, k).
        """
