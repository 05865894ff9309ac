"""What a defence costs an honest client: how far it moves the answers, and whether the class stays."""

from jaxtyping import Bool, Float
from torch import Tensor


def l1_distance(y: Float[Tensor, "b k"], served: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
    """Return ‖ỹ - y‖₁ of each row, 0 to 2.

    Args:
        y: clean probabilities. Shape (b, k).
        served: what left in their place. Shape (b, k).
    """
    return (served.double() - y.double()).abs().sum(dim=1)


def keeps_top1(y: Float[Tensor, "b k"], served: Float[Tensor, "b k"]) -> Bool[Tensor, " b"]:
    """Return whether each served row has its largest number where the clean row, or its logits, has it.

    Args:
        y: clean probabilities or logits. Shape (b, k).
        served: what left in their place. Shape (b, k).
    """
    return y.argmax(dim=1) == served.argmax(dim=1)
