"""Watching for numbers that are not finite, without holding up an accelerator."""

import torch
from torch import Tensor


class FiniteWatch:
    """Remembers whether all numbers it was shown were finite.

    On the CPU it knows at once. On CUDA the answer comes back while the device works on, so it is known some calls
    later; `broken` waits for it.

    Args:
        device: where the numbers are.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._found = torch.zeros((), dtype=torch.bool, device=device)
        self._coming: tuple[Tensor, torch.cuda.Event] | None = None

    def seems_broken(self, x: Tensor) -> bool:
        """Take in some numbers; return whether it is known by now that one, of these or of earlier ones, is not."""
        self._found |= x.isfinite().all().logical_not()
        if self._device.type == "cpu":
            return bool(self._found)
        if self._device.type != "cuda":  # without a way to ask later, the next checkpoint asks
            return False
        known = False
        if self._coming is not None and self._coming[1].query():  # type: ignore[no-untyped-call]
            known, self._coming = bool(self._coming[0]), None
        if self._coming is None:
            self._coming = self._send()
        return known

    def broken(self) -> bool:
        """Return whether any number so far was not finite; waits for the device."""
        return bool(self._found)

    def _send(self) -> tuple[Tensor, torch.cuda.Event]:
        copy = torch.empty((), dtype=torch.bool, pin_memory=True).copy_(self._found, non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        return copy, event
