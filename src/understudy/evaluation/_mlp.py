"""The small network that the field trains on frozen features."""

import math
from itertools import pairwise

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from understudy.runs.seeds import stream

HIDDEN = (512, 256)
DROPOUT = 0.5
LEARNING_RATE = 1e-4
BATCH_ROWS = 64


def mlp_vote(
    train_x: Float[Tensor, "n d"],
    train_y: Int64[Tensor, " n"],
    test_x: Float[Tensor, "m d"],
    *,
    epochs: int,
    classes: int,
    seed: int,
) -> Int64[Tensor, " m"]:
    """Train d -> 512 -> ReLU -> dropout 0.5 -> 256 -> ReLU -> classes, and return its classes after the last epoch.

    Adam at 1e-4 on batches of 64, cross-entropy: the downstream protocol of StolenEncoder's and RDA's code. Unlike
    theirs it shuffles every epoch, and the last epoch counts, not the best one on the test rows. A last
    batch that is not full is trained on too. No global random state is read or moved.
    """
    layers = train_layers(train_x, train_y, epochs=epochs, classes=classes, seed=seed)
    with torch.no_grad():
        return _forward(layers, test_x, None).argmax(1)


def train_layers(
    x: Float[Tensor, "n d"], y: Int64[Tensor, " n"], *, epochs: int, classes: int, seed: int
) -> list[tuple[Tensor, Tensor]]:
    """Return the weight and bias of each of the three layers after training."""
    generator = stream(seed, "probe/mlp", device=x.device)
    layers = _layers((x.shape[1], *HIDDEN, classes), generator)
    optimiser = torch.optim.Adam([tensor for layer in layers for tensor in layer], lr=LEARNING_RATE, fused=True)
    for _ in range(epochs):
        order = torch.randperm(len(x), generator=generator, device=x.device)
        for rows in torch.split(order, BATCH_ROWS):
            keep = torch.rand(len(rows), HIDDEN[0], generator=generator, device=x.device) >= DROPOUT
            logits = _forward(layers, x[rows], keep / (1 - DROPOUT))
            optimiser.zero_grad()
            loss = functional.cross_entropy(logits, y[rows], reduction="mean")
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return layers


def _layers(widths: tuple[int, ...], generator: torch.Generator) -> list[tuple[Tensor, Tensor]]:
    """Return weights and biases drawn as `torch.nn.Linear` draws them, from a generator of our own."""
    layers = []
    for fan_in, fan_out in pairwise(widths):
        bound = 1 / math.sqrt(fan_in)
        shapes = ((fan_out, fan_in), (fan_out,))
        weight, bias = (torch.empty(shape, device=generator.device) for shape in shapes)
        for tensor in (weight, bias):
            tensor.uniform_(-bound, bound, generator=generator).requires_grad_()
        layers.append((weight, bias))
    return layers


def _forward(
    layers: list[tuple[Tensor, Tensor]], x: Float[Tensor, "b d"], dropout: Float[Tensor, "b h"] | None
) -> Float[Tensor, "b k"]:
    first, second, last = layers
    x = functional.linear(x, *first).relu()
    if dropout is not None:
        x = x * dropout
    x = functional.linear(x, *second).relu()
    return functional.linear(x, *last)
