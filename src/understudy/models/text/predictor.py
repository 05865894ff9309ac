"""What attacks and evaluation see of a text classifier: texts in, probabilities out."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.models.text.backbone import Backbone
from understudy.models.text.full import FullModel
from understudy.models.text.merge import check_weights
from understudy.models.text.slots import SlotModel
from understudy.runs.tensors import digest


@runtime_checkable
class TextClassifier(Protocol):
    """A classifier of texts."""

    @property
    def classes(self) -> int:
        """Number of classes."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes."""
        ...

    @property
    def backbone(self) -> Backbone:
        """The language model, whose tokenizer decides what reaches it."""
        ...

    @property
    def passes(self) -> float:
        """Passes of the backbone that one text costs."""
        ...

    @property
    def sha256(self) -> str:
        """Digest of all that decides the answers."""
        ...

    def probs(self, texts: Sequence[str], contexts: Sequence[str] | None = None) -> Float[Tensor, "n c"]:
        """Return probabilities of the classes, float32 on the CPU, a row a text in the order given.

        Args:
            texts: what is classified; none gives zero rows.
            contexts: a first text each, where the task has pairs.
        """
        ...


class Predictor:
    """A trained network as a `TextClassifier`: one pass a text.

    Args:
        network: slots, or a whole model.
        backbone: its language model.
        weights: of the slots, the same for every text; None only with one slot.
        rows: texts in a batch.
        precision: "float32", or "bf16" for autocast; probabilities are float32 in either.

    Raises:
        ConfigError: weights that do not fit the slots.
    """

    passes = 1.0

    def __init__(
        self,
        network: SlotModel | FullModel,
        backbone: Backbone,
        *,
        weights: Sequence[float] | None = None,
        rows: int = 64,
        precision: Literal["float32", "bf16"] = "float32",
    ) -> None:
        self.network = network
        self.backbone = backbone
        slots = network.slots if isinstance(network, SlotModel) else 1
        self.weights = None if weights is None else check_weights(weights, slots)
        self.rows = rows
        self.precision = precision

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.backbone.classes

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.backbone.labels

    @property
    def sha256(self) -> str:
        """Digest of the network, its weights of slots and its backbone."""
        mix = f"{self.network.lora_mix}|{self.network.configs}" if isinstance(self.network, SlotModel) else "full"
        facts = f"{digest(self.network.state_dict())}|{self.backbone.sha256}|{self.weights}|{mix}"
        return hashlib.sha256(f"{facts}|{self.backbone.max_length}|{self.labels}".encode()).hexdigest()

    def probs(self, texts: Sequence[str], contexts: Sequence[str] | None = None) -> Float[Tensor, "n c"]:
        """Return probabilities; see `TextClassifier.probs`. The network is left in eval mode."""
        self.network.eval()
        answers = torch.zeros(len(texts), self.classes)
        with (
            torch.no_grad(),
            torch.autocast(self.backbone.device.type, torch.bfloat16, enabled=self.precision == "bf16"),
        ):
            for numbers, encoded in batches(self.backbone, texts, contexts, rows=self.rows):
                given = None if self.weights is None else self._repeated(len(numbers))
                logits = self.network(weights=given, **encoded)
                answers[numbers] = torch.softmax(logits.float(), dim=-1).cpu()
        return answers

    def _repeated(self, rows: int) -> Tensor:
        backbone = self.backbone
        return torch.tensor([self.weights], dtype=backbone.dtype, device=backbone.device).expand(rows, -1)


def batches(
    backbone: Backbone, texts: Sequence[str], contexts: Sequence[str] | None = None, *, rows: int
) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
    """Yield batches of texts of nearly equal length, so that little is padded: their numbers, and what to feed.

    Args:
        backbone: whose tokenizer and device are used.
        texts: any number.
        contexts: a first text each.
        rows: the most in a batch.
    """
    tokens = backbone.tokens(texts, contexts)
    order = sorted(range(len(tokens)), key=lambda row: len(tokens[row]["input_ids"]))
    for start in range(0, len(order), rows):
        numbers = order[start : start + rows]
        yield numbers, backbone.collate([tokens[row] for row in numbers])
