"""Perturbations that are kept from epoch to epoch, so that an attack of few steps goes on where it stopped.

Zheng, Zhang, Gu, Zhou, Honavar, Liu: Efficient Adversarial Training with Transferable Adversarial Examples. CVPR 2020,
arXiv 1912.11969.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from understudy.data import Batch
from understudy.data.batches import uploaded

_LEVELS = 127  # of int8, on either side of 0


class WarmStart:
    """One perturbation an image, in the coordinates of the padded image, so that it follows crops and flips.

    Kept as int8, in steps of ε/127: 240 MB for CIFAR-10 with 4 pixels of padding. A companion of the training loop.

    Args:
        rows: images of the training set.
        shape: channels, height and width of an image.
        padding: pixels added on every side before cropping.
        epsilon: largest perturbation of a pixel; > 0.
        reset: epochs between fresh starts.
        device: where the perturbations are kept.
    """

    name = "warm_start"

    def __init__(
        self,
        rows: int,
        shape: tuple[int, int, int],
        *,
        padding: int,
        epsilon: float,
        reset: int,
        device: torch.device,
    ) -> None:
        channels, height, width = shape
        self._size = (height + 2 * padding, width + 2 * padding)
        self._crop, self._places = (height, width), 2 * padding + 1
        self._unit, self._reset = epsilon / _LEVELS, reset
        self._kept = torch.zeros(rows, channels, *self._size, dtype=torch.int8, device=device)

    def begin(self, batch: Batch, epoch: int) -> Float[Tensor, "b c h w"] | None:
        """Return where to start from; None in epochs that start afresh."""
        if epoch % self._reset == 0:
            return None
        pixels = self._pixels(batch)
        kept = self._kept[batch.indices].flatten(2).gather(2, pixels).view_as(batch.x)
        return batch.x + kept.to(batch.x.dtype) * self._unit

    def keep(self, batch: Batch, x_adv: Float[Tensor, "b c h w"]) -> None:
        """Keep the perturbations of a batch."""
        levels = ((x_adv - batch.x) / self._unit).round_().clamp_(-_LEVELS, _LEVELS).to(torch.int8)
        kept = self._kept[batch.indices]
        kept.flatten(2).scatter_(2, self._pixels(batch), levels.flatten(2))
        self._kept[batch.indices] = kept

    def restore(self, step: int, kept: Mapping[str, Tensor]) -> None:  # noqa: ARG002 (the protocol's signature)
        """Go on from a checkpoint's perturbations."""
        self._kept.zero_()
        if kept:
            self._kept.copy_(kept["perturbations"])

    def state(self, step: int) -> dict[str, Tensor]:  # noqa: ARG002
        """Return the perturbations."""
        return {"perturbations": self._kept}

    def epoch_ended(self, epoch: int, module: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """Do nothing."""

    def _pixels(self, batch: Batch) -> Int64[Tensor, "b c pixels"]:
        """Return, for each pixel of each crop, its place in the padded image laid out flat; see `crop_and_flip`."""
        device, (height, width) = self._kept.device, self._crop
        view = uploaded(batch.view, device)
        corner, mirrored = view // 2, (view % 2).bool()
        row = (corner // self._places)[:, None] + torch.arange(height, device=device)
        column = torch.arange(width, device=device).expand(len(view), -1)
        column = (corner % self._places)[:, None] + torch.where(mirrored[:, None], column.flip(1), column)
        pixels = row[:, :, None] * self._size[1] + column[:, None, :]
        return pixels.flatten(1)[:, None].expand(-1, self._kept.shape[1], -1)
