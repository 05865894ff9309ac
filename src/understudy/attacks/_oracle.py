"""The network as AutoAttack sees it: asked for float32 logits, and given back as it was found."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from jaxtyping import Float
from torch import Tensor, nn

from understudy.attacks.guard import untouched
from understudy.runs.interrupts import Interrupted, asked_to_stop


class Oracle:
    """Answers an attack with logits, counts what it is asked, and stops when the user asks to.

    Args:
        model: takes float32 inputs of `shape` in [0, 1].
        shape: of one input.
        heard: called after every forward pass with the number of passes so far.
    """

    def __init__(self, model: nn.Module, shape: tuple[int, ...], heard: Callable[[int], object]) -> None:
        self._model = model
        self._shape = shape
        self._heard = heard
        self.passes = 0

    def __call__(self, x: Float[Tensor, "b ..."]) -> Float[Tensor, "b k"]:
        """Return the logits as a tensor of their own, for Square Attack writes into it."""
        if asked_to_stop():  # a unit may take an hour: what is on file is kept, this unit is attacked again
            raise Interrupted
        logits: Tensor = self._model(x.reshape(len(x), *self._shape))
        self.passes += 1
        self._heard(self.passes)
        return logits.float().clone()


@contextmanager
def lent(model: nn.Module) -> Iterator[torch.device]:
    """Lend a network to code that is not ours: eval mode, float32, no gradient of a parameter.

    Afterwards modes, buffers, gradients and the global random state are what they were, also when the block raises.

    Yields:
        The device on which the network lives.
    """
    device = next((tensor.device for tensor in chain(model.parameters(), model.buffers())), torch.device("cpu"))
    cuda = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with (
        torch.random.fork_rng(devices=cuda),
        torch.autocast(device.type, enabled=False),
        untouched(model),
    ):
        try:
            for parameter in learned:
                parameter.requires_grad_(False)  # FAB calls backward(), which costs half as much without them
            yield device
        finally:
            for parameter in learned:
                parameter.requires_grad_(True)
