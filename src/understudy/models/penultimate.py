"""Logits and penultimate features of a network from one and the same forward pass."""

from types import TracebackType

from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from understudy.errors import ConfigError
from understudy.models.frozen import Frozen
from understudy.models.network import Network


class Penultimate(nn.Module):
    """A network that also gives what its last linear layer sees, with gradients and in the mode that it is in.

    The last linear layer is the last in the order of definition, as for `encoder_of`. It is listened to until
    `close`, or the end of a `with` block.

    Args:
        network: any network of ours, ours or from elsewhere, in training or frozen.

    Raises:
        ConfigError: there is no linear layer.
    """

    def __init__(self, network: Network | Frozen) -> None:
        super().__init__()
        self.network = network
        self._seen: list[Tensor] = []
        layer = last_linear(network)
        self.width = layer.in_features
        """Number of features."""
        self._handle: RemovableHandle = layer.register_forward_pre_hook(self._listen)

    def forward(self, x: Float[Tensor, " batch *input"]) -> tuple[Float[Tensor, "batch classes"], Tensor]:
        """Return logits, and features of shape (batch, width), of inputs in [0, 1].

        Raises:
            ConfigError: the forward pass did not run the last linear layer.
        """
        self._seen.clear()
        logits: Tensor = self.network(x)
        if not self._seen:
            raise ConfigError(
                "a forward pass does not run the last linear layer of this network",
                where=self.network.spec,
                fix="take another network, or a method on logits alone",
            )
        return logits, self._seen.pop().flatten(1)

    def close(self) -> None:
        """Listen no longer."""
        self._handle.remove()

    def __enter__(self) -> "Penultimate":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _listen(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._seen.append(inputs[0])


def last_linear(network: Network | Frozen) -> nn.Linear:
    """Return the last linear layer in the order of definition.

    Raises:
        ConfigError: there is none.
    """
    layers = [module for module in network.net.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise ConfigError(
            "the network has no linear layer, and so no penultimate features",
            where=network.spec,
            fix="take a network that ends in one, or a method on logits alone",
        )
    return layers[-1]
