"""The published synthesis loop, written plainly from its description: what `synthesis.py` measures ours against.

Autocast, contiguous memory, batch normalisation unfolded, one set at a time, all pairs of a group by broadcasting, a
check of the loss once a set, a further forward pass for the labels, one compressed-archive member a sample.
"""

import tarfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


def draw(
    teacher: nn.Module,
    folder: Path,
    *,
    shape: tuple[int, ...],
    classes: int,
    sets: int,
    samples_per_set: int,
    group_size: int,
    steps: int,
    weights: tuple[float, float, float],
    step_size: float,
    decades: float,
    dtype: torch.dtype,
) -> None:
    """Draw all sets from a network that takes normalised inputs, and write them into `folder`/samples.tar."""
    device = next(teacher.parameters()).device
    teacher.eval().requires_grad_(False)
    groups = samples_per_set // group_size
    with tarfile.open(folder / "samples.tar", "w") as archive:
        for index in range(sets):
            epsilon = 10 ** (np.log10(step_size) - decades * index / sets)
            x = torch.randn(groups, group_size, *shape, device=device, requires_grad=True)
            order = [torch.randperm(classes, device=device) for _ in range(groups)]
            labels = torch.stack(order)[:, :group_size]
            optimiser = torch.optim.SGD([x], lr=epsilon)
            for _ in range(steps):
                with torch.autocast(device.type, dtype):
                    logits = teacher(x.view(samples_per_set, *shape)).view(groups, group_size, classes)
                    loss = _loss(x, logits, labels, weights)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            if not torch.isfinite(loss):
                raise RuntimeError("not finite")
            flat = x.detach().view(samples_per_set, *shape)
            with torch.no_grad():
                probs = teacher(flat).softmax(dim=1)
            _store(archive, folder, index, flat.cpu(), probs.cpu())


def _loss(x: Tensor, logits: Tensor, labels: Tensor, weights: tuple[float, float, float]) -> Tensor:
    members = labels.shape[1]
    classification = F.cross_entropy(logits.flatten(0, 1), labels.flatten()) * members
    pairs = (logits.unsqueeze(1) - logits.unsqueeze(2)).square().mean() * 0.5 * members**2
    vertical = (x[..., 1:, :] - x[..., :-1, :]).abs().mean(dim=(-2, -1))
    horizontal = (x[..., :, 1:] - x[..., :, :-1]).abs().mean(dim=(-2, -1))
    variation = (vertical + horizontal).mean()
    return weights[0] * classification + weights[1] * pairs + weights[2] * variation


def _store(archive: tarfile.TarFile, folder: Path, index: int, x: Tensor, probs: Tensor) -> None:
    for row in range(len(x)):
        path = folder / f"{index * len(x) + row:09d}.npz"
        np.savez(path, data=x[row].numpy(), label=probs[row].numpy())
        archive.add(path, arcname=path.name)
        path.unlink()
