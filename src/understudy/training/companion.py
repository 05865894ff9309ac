"""What goes along with a phase of training, and into its checkpoints."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn


@runtime_checkable
class Companion(Protocol):
    """What goes along with a phase: it looks on at the end of each epoch, and has a state in each checkpoint."""

    name: str
    """Under which its state is kept; its own among the companions of a phase."""

    def restore(self, step: int, kept: Mapping[str, Tensor]) -> None:
        """Go on from the checkpoint after `step` steps; called once, before the first step, with {} at a new start."""
        ...

    def state(self, step: int) -> Mapping[str, Tensor]:
        """Return the state after `step` steps, for the checkpoint; make durable first what lies in own files."""
        ...

    def epoch_ended(self, epoch: int, module: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """Look on after the last step of an epoch, counted from 0; weights may be changed in place."""
        ...


@runtime_checkable
class Remarking(Protocol):
    """A companion with something to say beside the progress of its phase."""

    def remark(self) -> str:
        """Return a few words, or none."""
        ...
