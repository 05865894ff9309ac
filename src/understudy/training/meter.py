"""Means of scalars that stay on the device until they are read."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from understudy.errors import DivergenceError


class Meter:
    """Adds up scalars over a window of steps without waiting for the device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._names: list[str] = []
        self._sum = torch.zeros(0, device=device)
        self._count = 0

    def add(self, scalars: Mapping[str, Tensor]) -> None:
        """Add one step's scalars."""
        values = torch.stack([value.detach().float() for value in scalars.values()])
        self._names = list(scalars)
        self._sum = values if self._count == 0 else self._sum + values
        self._count += 1

    def read(self, where: str, *, over_processes: bool = False) -> dict[str, float]:
        """Return the window's means; this waits for the device.

        Args:
            where: what to name if a mean is not finite.
            over_processes: average over all processes; all of them must call.

        Raises:
            DivergenceError: a mean is NaN or infinite.
        """
        means = self._sum / max(self._count, 1)
        if over_processes:
            torch.distributed.all_reduce(means)
            means /= torch.distributed.get_world_size()
        values = dict(zip(self._names, means.tolist(), strict=True))
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        if bad:
            raise DivergenceError(
                f"{' and '.join(bad)} became NaN or infinite in training",
                where=where,
                fix="lower the learning rate; the last good checkpoint is kept",
            )
        return values

    def reset(self) -> None:
        """Start a new window."""
        self._count = 0

    def state(self) -> dict[str, Tensor]:
        """Return the window so far, for a checkpoint."""
        return {"meter": self._sum, "meter_count": torch.tensor(self._count)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on with a window taken from a checkpoint."""
        self._sum = state["meter"].to(self._device)
        self._count = int(state["meter_count"])
