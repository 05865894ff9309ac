"""A target that is a network in this process."""

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.errors import AccessError, ConfigError
from understudy.models import Classifier, Encoder, Precision, encoder_of, freeze, model_digest
from understudy.targets.access import Access
from understudy.targets.target import Target, answers_of, check_shown, identify, parse_access


class ModuleTarget(Target):
    """A classifier or an encoder as a target; what answers is a frozen copy, so the network itself stays as it is.

    Args:
        network: a classifier, or an encoder, which gives embeddings alone.
        access: what it gives. Embeddings of a classifier are what its last linear layer sees.
        name: what messages call it; the network's spec if None.
        device: where it runs.
        precision: of its weights and activations; answers are float32 either way.
        batch_rows: images that go through the network at a time.
        k: probabilities that are shown under access `top-k`.

    Raises:
        AccessError: an encoder has no such answers.
        ConfigError: `batch_rows` or `k` is out of range, the access is none of a target, or a classifier has no
            linear layer to take off.
        DivergenceError: a weight is NaN or infinite.
    """

    def __init__(
        self,
        network: Classifier | Encoder,
        *,
        access: Access | str = Access.EMBEDDINGS,
        name: str | None = None,
        device: torch.device | str = "cpu",
        precision: Precision = "float32",
        batch_rows: int = 256,
        k: int = 5,
    ) -> None:
        self.access = parse_access(access)
        self.name = network.spec if name is None else name
        self.input_shape = network.input_shape
        if isinstance(network, Encoder) and self.access is not Access.EMBEDDINGS:
            raise AccessError(f"{self.name} is an encoder: it gives embeddings, and no {self.access.value}")
        if isinstance(network, Classifier) and self.access is Access.EMBEDDINGS:
            network = encoder_of(network)
        self.width = network.outputs
        if batch_rows < 1:
            raise ConfigError(f"batch_rows is {batch_rows}", expected="1 or more")
        self._k = check_shown(self.access, k, self.width)
        self._batch_rows = batch_rows
        self._device = torch.device(device)
        self.identity = identify(
            weights=model_digest(network),
            spec=network.spec,
            access=self.access.value,
            k=self._k,
            precision=precision,
        )
        self._frozen = freeze(network, precision=precision).to(self._device)

    def answer(self, images: Float[Tensor, "b ..."]) -> Float[Tensor, "b d"]:
        """Return the answers to inputs in [0, 1]; see `Target.answer`."""
        rows = torch.empty(len(images), self.width)
        with torch.inference_mode():
            for start in range(0, len(images), self._batch_rows):
                piece = images[start : start + self._batch_rows].to(self._device)
                rows[start : start + len(piece)] = answers_of(self._frozen(piece), self.access, k=self._k).cpu()
        return rows
