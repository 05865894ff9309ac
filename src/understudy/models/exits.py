"""A network with further exits: small classifiers on intermediate activations, from one and the same forward pass."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import floor

import torch
from torch import Tensor, nn

from understudy.errors import ConfigError, nearest
from understudy.models.build import initialise
from understudy.models.modes import evaluating
from understudy.models.network import Network

_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class Exits(nn.Module):
    """A network that also gives the logits of linear heads on pooled intermediate activations.

    The network is listened to during a forward pass of this wrapper alone; nothing is left behind on it, and it stays
    a submodule, trained in place where the wrapper is trained.

    Args:
        network: any network of ours, ours or from elsewhere.
        at: where the exits are: the name of a module of `network.net`, or a share of its depth; see `cut_at`.
        classes: outputs of each exit.
        generator: draws the weights of the heads, of variance 1 / features; biases start at 0.

    Raises:
        ConfigError: there is no such module, it gives no activation of its own, or there is nothing to listen to
            between the input and the last layer.
    """

    def __init__(
        self, network: Network, *, at: Sequence[str | float], classes: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.network = network
        self.names = tuple(place if isinstance(place, str) else cut_at(network, place) for place in at)
        """Of the modules whose outputs the exits see, in `network.net`."""
        widths = _widths(network, self.names)
        self.heads = nn.ModuleList(_head(width, classes, generator) for width in widths)
        device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
        self.heads.to(device)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the network's logits and those of each exit, all of shape (batch, classes), of inputs in [0, 1]."""
        with _listening(self.network.net, self.names) as heard:
            logits: Tensor = self.network(x)
        exits = (head(pooled(heard[name])) for name, head in zip(self.names, self.heads, strict=True))
        return logits, *exits


def cut_at(network: Network, share: float) -> str:
    """Return the name of the module at a share of the network's depth.

    Depth is counted in sections: a layer or block with weights and what follows it up to the next. The first and the
    last are never left out, so that there is always a section before an exit and one behind it: with three layers,
    1/3 is the first hidden activation and 2/3 the second.

    Args:
        network: any network of ours.
        share: 0 to 1.

    Raises:
        ConfigError: nothing lies between the input and the last layer.
    """
    ends = sections(network)
    if len(ends) < 2:
        raise ConfigError(
            "the network has no activation between its input and its last layer",
            where=network.spec,
            fix="take a deeper network",
        )
    return ends[min(max(floor(share * len(ends) + 0.5), 1), len(ends) - 1) - 1]


def sections(network: Network) -> tuple[str, ...]:
    """Return, in the order of a forward pass, the modules with which the network's sections end; the last is its head.

    Plain sequences are taken apart; a network with a forward of its own is cut between its children, and where these
    hand on no tensors, between its innermost layers.
    """
    net = network.net
    leaves = [name for name, module in net.named_modules() if name and not any(module.children())]
    for names in (_trunk(net), leaves):
        ends: list[str] = []
        for name, _ in _probe(network, names):
            if _has_weights(net.get_submodule(name)):
                ends.append(name)
            elif ends:
                ends[-1] = name
        if len(ends) > 1:
            break
    return tuple(ends)


def pooled(activation: Tensor) -> Tensor:
    """Return features of shape (batch, width): the mean of each map, or of an image's tokens; vectors as they are."""
    if activation.ndim == 3:
        return activation.mean(dim=1)  # (batch, tokens, width)
    return activation.flatten(2).mean(dim=2) if activation.ndim > 3 else activation


def _trunk(net: nn.Module) -> list[str]:
    """Return the names of the steps that the network is a sequence of, as far as that can be told."""
    names = _steps(net, "")
    while len(names) == 1 and any(net.get_submodule(names[0]).children()):
        (name,) = names
        children = net.get_submodule(name).named_children()
        names = [step for child, module in children for step in _steps(module, f"{name}.{child}".lstrip("."))]
    return names


def _steps(module: nn.Module, name: str) -> list[str]:
    if type(module) is not nn.Sequential:
        return [name]
    return [step for child, inner in module.named_children() for step in _steps(inner, f"{name}.{child}".lstrip("."))]


def _has_weights(module: nn.Module) -> bool:
    return any(isinstance(inner, _WEIGHTED) for inner in module.modules())


def _widths(network: Network, names: Sequence[str]) -> list[int]:
    known = {name for name, _ in network.net.named_modules() if name}
    for name in names:
        if name not in known:
            raise ConfigError(f"the network has no module {name!r}", where=network.spec, expected=nearest(name, known))
    shapes = dict(_probe(network, names))
    if missing := [name for name in names if name not in shapes]:
        raise ConfigError(
            f"module {missing[0]!r} gives no activation",
            where=network.spec,
            expected="a module that a forward pass runs once, and that returns one tensor with a row an image",
        )
    return [shapes[name][-1] if len(shapes[name]) < 4 else shapes[name][1] for name in names]


@torch.no_grad()
def _probe(network: Network, names: Sequence[str]) -> list[tuple[str, tuple[int, ...]]]:
    """Return those that a forward pass runs once and that return rows, in its order, with the shapes of two inputs."""
    heard: list[tuple[str, Tensor | None]] = []

    def listen(name: str, output: object) -> None:
        heard.append((name, output if isinstance(output, Tensor) else None))

    like = next(network.parameters(), torch.zeros(()))
    zeros = torch.zeros(2, *network.input_shape, dtype=like.dtype, device=like.device)
    handles = [
        network.net.get_submodule(name).register_forward_hook(lambda _m, _i, output, name=name: listen(name, output))
        for name in names
    ]
    try:
        with evaluating(network):
            network(zeros)
    finally:
        for handle in handles:
            handle.remove()
    once = [name for name, _ in heard]
    return [
        (name, tuple(output.shape))
        for name, output in heard
        if output is not None and output.ndim > 1 and len(output) == 2 and once.count(name) == 1
    ]


@contextmanager
def _listening(net: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    heard: dict[str, Tensor] = {}
    handles = [
        net.get_submodule(name).register_forward_hook(lambda _m, _i, output, name=name: heard.update({name: output}))
        for name in names
    ]
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()


def _head(features: int, classes: int, generator: torch.Generator) -> nn.Linear:
    with torch.device("meta"):  # or the layer would draw from the global generator
        head = nn.Linear(features, classes)
    initialise(head.to_empty(device="cpu"), generator)
    return head
