"""A frozen language model that can classify: encoder, tokenizer and the shape of its head."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from understudy.errors import ConfigError, DataError, ShapeError
from understudy.models.text import _coding
from understudy.models.text._load import Loaded, load_parts
from understudy.runs.seeds import stream
from understudy.runs.tensors import digest

__all__ = ["SYNTHETIC", "Backbone", "draw_head", "load_backbone"]

SYNTHETIC = "understudy_synthetic"
"""Entry of `config.json` that marks an encoder made of synthetic sentences; it goes wherever the folder is copied."""


@dataclass(eq=False)
class Backbone:
    """A frozen sequence classifier of Transformers; adapters and heads are laid over it, never into it.

    Args:
        spec: the folder or hub name it was loaded from, as given.
        model: an `AutoModelForSequenceClassification`, every parameter frozen, in eval mode.
        tokenizer: its tokenizer.
        sha256: over the encoder's weights, the head left out; a function of the folder alone.
        max_length: tokens of a text, special ones included; longer texts are cut.
        labels: names of the classes.
        architecture: the model type of its configuration, such as `bert`.
        head_names: the weights that belong to the head: all outside the base model, and a pooler that the folder lacks.
        drawn: those of `head_names` that the folder lacks, so that they are drawn from a seed.
    """

    spec: str
    model: Any
    tokenizer: Any
    sha256: str
    max_length: int
    labels: tuple[str, ...]
    architecture: str
    head_names: tuple[str, ...]
    drawn: frozenset[str]

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.labels)

    @property
    def hidden_size(self) -> int:
        """Width of a token's state."""
        return int(self._table.shape[1])

    @property
    def layers(self) -> int:
        """Number of Transformer layers."""
        return int(self.model.config.num_hidden_layers)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._table.device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights."""
        return self._table.dtype

    @property
    def embeddings(self) -> nn.Module:
        """The look-up table of word embeddings."""
        table: nn.Module = self.model.get_input_embeddings()
        return table

    @property
    def _table(self) -> Tensor:
        table: Tensor = self.model.get_input_embeddings().weight
        return table

    @property
    def layer_modules(self) -> list[nn.Module]:
        """The Transformer layers, lowest first."""
        lists = [part for part in self.model.base_model.modules() if isinstance(part, nn.ModuleList)]
        if not lists:
            raise ConfigError(f"{self.architecture} has no list of layers", where=self.spec)
        return list(lists[0])

    @property
    def unknown_token(self) -> str:
        """The word that stands for a word the model does not know."""
        return str(self.tokenizer.unk_token or self.tokenizer.pad_token)

    @property
    def mask_token(self) -> str:
        """The word that stands for a hidden word; the unknown one where there is none."""
        return str(self.tokenizer.mask_token or self.unknown_token)

    @property
    def synthetic(self) -> bool:
        """Whether the encoder was trained on made-up sentences alone: it shows mechanics, and no real model."""
        return bool(getattr(self.model.config, SYNTHETIC, False))

    @property
    def parameters(self) -> int:
        """Number of frozen weights, the head's left out."""
        head = set(self.head_names)
        return sum(value.numel() for name, value in self.model.named_parameters() if name not in head)

    def to(self, target: torch.device | torch.dtype | str) -> "Backbone":
        """Move the weights to a device, or into another number format; return itself."""
        self.model.to(target)
        return self

    def tokens(self, texts: Sequence[str], contexts: Sequence[str] | None = None) -> list[dict[str, list[int]]]:
        """Return what each text is to the model, not padded: token numbers, attention mask, segment numbers.

        Args:
            texts: what is classified; cut to `max_length` tokens.
            contexts: a first text each. Then only the second is cut, unless the first leaves it less than half
                of the room; such a context is cut to that half.

        Raises:
            DataError: texts and contexts are not equally many, or not lists of text.
        """
        return _coding.tokens(self.tokenizer, texts, contexts, self.max_length)

    def collate(self, rows: Sequence[Mapping[str, Sequence[int]]]) -> dict[str, Tensor]:
        """Return one batch of rows of `tokens`, padded to the longest of them, on the model's device."""
        return _coding.collate(self.tokenizer, rows, self.device)

    def encode(
        self, texts: Sequence[str], contexts: Sequence[str] | None = None, *, pad: bool = True
    ) -> dict[str, Tensor]:
        """Return a batch of texts as the model takes it, on its device.

        Args:
            texts: at least one.
            contexts: a first text each; see `tokens`.
            pad: fill shorter rows up; False refuses rows of different lengths.

        Raises:
            DataError: no text, or texts and contexts are not equally many.
            ShapeError: rows of different lengths with `pad=False`.
        """
        rows = self.tokens(texts, contexts)
        if not rows:
            raise DataError("no text to encode")
        if not pad and len({len(row["input_ids"]) for row in rows}) > 1:
            raise ShapeError("the texts have different numbers of tokens", fix="pad them, or encode them one by one")
        return self.collate(rows)

    def visible_words(self, text: str, context: str | None = None) -> int:
        """Return how many whitespace words of a text reach the model, the last perhaps in part, before it is cut."""
        return _coding.visible_words(self.tokenizer, text, context, self.max_length)


def load_backbone(
    spec: str | Path,
    *,
    labels: Sequence[str],
    max_length: int = 128,
    seed: int,
    device: torch.device | str | None = None,
) -> Backbone:
    """Load a frozen language model for a classification task.

    Args:
        spec: a Transformers folder, a run folder whose `backbone/` or `model/` is one, or a name on the hub, which is
            looked for among local files first. Weights are read from safetensors only; remote code is never trusted.
        labels: names of the classes, two or more.
        max_length: tokens of a text, special ones included.
        seed: of the head's weights, where the folder has none that fit.
        device: where the weights go; None is the CPU.

    Raises:
        ConfigError: no such folder or model, no tokenizer, an architecture that cannot classify, fewer than two
            classes, or `max_length` beyond the model's positions.
        IntegrityError: the weights are damaged.
        DependencyError: `transformers` is not installed.
    """
    names = tuple(str(label) for label in labels)
    if len(names) < 2 or len(set(names)) != len(names):
        raise ConfigError(f"labels {names}", expected="two or more different names of classes")
    loaded = load_parts(str(spec), names)
    _check_length(max_length, loaded, str(spec))
    head, drawn = loaded.head, loaded.drawn
    state = loaded.model.state_dict()
    encoder = {name: value for name, value in state.items() if name not in head}
    backbone = Backbone(
        spec=str(spec),
        model=loaded.model,
        tokenizer=loaded.tokenizer,
        sha256=digest(encoder),
        max_length=max_length,
        labels=names,
        architecture=str(loaded.model.config.model_type),
        head_names=tuple(name for name in state if name in head),
        drawn=frozenset(drawn),
    )
    loaded.model.load_state_dict(draw_head(backbone, seed=seed), strict=False)
    return backbone if device is None else backbone.to(device)


def draw_head(backbone: Backbone, *, seed: int) -> dict[str, Tensor]:
    """Return a head for a backbone, on the CPU: what its folder holds, the rest drawn from the seed.

    Matrices are normal with the width that the model's configuration names (0.02 if none), biases zero,
    the scales of layer norms one.
    """
    spread = float(getattr(backbone.model.config, "initializer_range", 0.02) or 0.02)
    state = backbone.model.state_dict()
    head: dict[str, Tensor] = {}
    for name in backbone.head_names:
        own = state[name].detach().cpu()
        if name not in backbone.drawn:
            head[name] = own.clone()
        elif own.ndim > 1:
            draws = torch.randn(own.shape, generator=stream(seed, f"head {name}"))
            head[name] = (draws * spread).to(own.dtype)
        else:
            head[name] = torch.ones_like(own) if name.endswith("weight") else torch.zeros_like(own)
    return head


def _check_length(max_length: int, loaded: Loaded, spec: str) -> None:
    positions = getattr(loaded.model.config, "max_position_embeddings", None)
    for name, part in loaded.model.named_modules():
        if name.endswith("position_embeddings") and getattr(part, "padding_idx", None) is not None:
            positions = part.num_embeddings - part.padding_idx - 1  # RoBERTa counts from after the padding
    least = loaded.tokenizer.num_special_tokens_to_add(pair=True) + 2
    if max_length < least or (positions is not None and max_length > positions):
        raise ConfigError(
            f"max_length {max_length} does not fit the model's {positions} positions",
            where=spec,
            expected=f"{least} to {positions}",
            fix="give a smaller --max-length" if max_length >= least else "give a larger --max-length",
        )
