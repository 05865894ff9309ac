"""What every target is: a network that is seen only through its answers."""

import hashlib
import json
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from understudy.errors import AccessError, ConfigError, nearest
from understudy.targets.access import Access


class Target(ABC):
    """A network that is seen only through its answers.

    Methods ask an `Endpoint`, which keeps account; whoever calls `answer` itself asks past the ledger.

    An answer is a row of `width` numbers, whatever the access: an embedding; logits; probabilities, all but the k
    largest zero (`top-k`); or a row of zeros with a one at the class (`labels`).
    """

    name: str
    """What reports and messages call it."""
    access: Access
    """What it gives."""
    input_shape: tuple[int, ...]
    """Of one input: (channels, height, width), or (d,) for vectors."""
    width: int
    """Numbers of one answer."""
    identity: str
    """Hexadecimal SHA-256 of what answers; it changes if the answers could."""

    @abstractmethod
    def answer(self, images: Float[Tensor, "b ..."]) -> Float[Tensor, "b d"]:
        """Return the raw answers to inputs in [0, 1], on the CPU; row for row, in eval mode, without gradients.

        Raise `TimeoutError` or `ConnectionError` where the rows may have been answered all the same: they stay
        charged, and are charged anew when they are sent again. After any other exception nothing counts as answered,
        and the next attempt takes the charge over.
        """


def parse_access(access: Access | str) -> Access:
    """Return the access that a target may be declared with.

    Raises:
        ConfigError: there is none of that name, or it is `weights`: a target is seen only through its answers.
    """
    names = [each.value for each in Access if each is not Access.WEIGHTS]
    name = access.value if isinstance(access, Access) else access
    if name not in names:
        raise ConfigError(f"a target cannot give access {name!r}", where="--access", expected=nearest(name, names))
    return Access(name)


def check_access(target: Target, needed: Access, *, what: str) -> None:
    """Refuse a method that needs more than a target gives.

    Args:
        target: the target.
        needed: what the method needs.
        what: the method, as the message calls it.

    Raises:
        AccessError: it needs more; nothing has been asked.
    """
    if not target.access.covers(needed):
        raise AccessError(
            f"{what} needs a target that gives {needed.value}; {target.name} gives {target.access.value} only",
            fix=f"take a method that works with {target.access.value}: "
            f"`understudy methods --access {target.access.value}` lists them",
        )


def answers_of(outputs: Float[Tensor, "b d"], access: Access, *, k: int) -> Float[Tensor, "b d"]:
    """Return what a target of some access shows of a network's outputs.

    Args:
        outputs: embeddings for access `embeddings`, logits for any other.
        access: what is shown.
        k: probabilities that are shown under `top-k`; of equal ones those of the first classes.

    Returns:
        The outputs as they are; or probabilities, all but the k largest zero and not scaled up again; or one-hot rows.
    """
    if access is Access.TOP_K:
        probabilities = outputs.softmax(dim=1)
        # torch.topk promises no order of equals
        shown = probabilities.sort(dim=1, descending=True, stable=True).indices[:, :k]
        return torch.zeros_like(probabilities).scatter(1, shown, probabilities.gather(1, shown))
    if access is Access.LABELS:
        return functional.one_hot(outputs.argmax(dim=1), outputs.shape[1]).to(outputs)
    return outputs


def check_shown(access: Access, k: int, width: int) -> int:
    """Return k where the access is `top-k`, and 0 where it means nothing.

    Raises:
        ConfigError: there are fewer classes than are to be shown, or none is.
    """
    if access is not Access.TOP_K:
        return 0
    if not 1 <= k <= width:
        raise ConfigError(f"cannot show the {k} largest of {width} probabilities", expected=f"1 to {width}")
    return k


def identify(**facts: object) -> str:
    """Return the hexadecimal SHA-256 of JSON-able facts, whatever their order."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
