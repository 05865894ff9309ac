"""One adapter: the small set of weights that makes a frozen language model good at one kind of text."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from understudy.errors import ConfigError
from understudy.models.text.backbone import Backbone, draw_head
from understudy.runs.seeds import stream
from understudy.runs.tensors import digest

Kind = Literal["lora", "pfeiffer", "houlsby"]
LoraMix = Literal["factor", "product"]

# Suffixes of the query and value projections, by architecture; the first pair that a model has is taken.
_QUERY_VALUE = (("query", "value"), ("query_proj", "value_proj"), ("q_lin", "v_lin"), ("q_proj", "v_proj"), ("q", "v"))
# Suffixes of the last maps of the attention and of the feed-forward block.
_BLOCK_ENDS = (
    ("attention.output.dense", "output.dense"),
    ("attention.out_lin", "ffn.lin2"),
    ("attention.dense", "ffn_output"),
    ("attention.attn.o", "output.dense"),
)


class AdapterConfig(BaseModel):
    """What kind of adapter, where and how large.

    Sources: LoRA, Hu et al. 2021 (arXiv:2106.09685), y = W x + (alpha / rank) B A x; Houlsby et al. 2019
    (arXiv:1902.00751) and Pfeiffer et al. 2020 (arXiv:2005.00247), h + U act(D h + b) + c on the output of the
    feed-forward block, Houlsby's on that of the attention block too, before the block's own residual.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: Kind = "lora"
    """LoRA on projections, or a bottleneck once (pfeiffer) or twice (houlsby) a layer."""
    rank: PositiveInt = 8
    """LoRA: rows of A."""
    alpha: PositiveFloat = 16.0
    """LoRA: the update is scaled by alpha / rank."""
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of what enters the adapter that is dropped in training."""
    target_modules: tuple[str, ...] = ()
    """LoRA: ends of the names of the adapted maps; none: query and value projections."""
    reduction: PositiveInt = 16
    """Bottleneck: hidden width / this = width of the bottleneck."""
    activation: Literal["relu", "gelu", "tanh"] = "relu"
    """Bottleneck: what stands between its two maps."""

    @property
    def scale(self) -> float:
        """LoRA's factor s = alpha / rank."""
        return self.alpha / self.rank


@dataclass(frozen=True)
class Adapter:
    """A trained adapter with its head, on the CPU.

    Args:
        config: its kind and size.
        tensors: by name: `<module>.lora_A.weight` (rank x in) and `<module>.lora_B.weight` (out x rank), or
            `<module>.down.weight`, `.down.bias`, `.up.weight` and `.up.bias`.
        head: weights of the classification head under the model's own names.
        backbone: spec of the backbone it was made for.
        backbone_sha256: that backbone's encoder.
        labels: names of the classes.
    """

    config: AdapterConfig
    tensors: Mapping[str, Tensor]
    head: Mapping[str, Tensor]
    backbone: str
    backbone_sha256: str
    labels: tuple[str, ...]

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.labels)

    @property
    def sha256(self) -> str:
        """Digest of all that decides the answers, apart from the backbone's own weights."""
        content = digest({**self.tensors, **{f"head {name}": value for name, value in self.head.items()}})
        facts = f"{content}|{self.config.model_dump_json()}|{self.backbone_sha256}|{self.labels}"
        return hashlib.sha256(facts.encode()).hexdigest()

    @property
    def parameters(self) -> int:
        """Number of weights, the head's left out."""
        return sum(value.numel() for value in self.tensors.values())

    @property
    def bytes(self) -> int:
        """Bytes of all weights, head included."""
        return sum(value.numel() * value.element_size() for value in (*self.tensors.values(), *self.head.values()))

    @property
    def modules(self) -> tuple[str, ...]:
        """Paths of the adapted modules."""
        return tuple(dict.fromkeys(name.rsplit(".", 2)[0] for name in self.tensors))


def adapted_modules(backbone: Backbone, config: AdapterConfig) -> dict[str, nn.Linear]:
    """Return the linear maps that an adapter of this kind changes, by path.

    Raises:
        ConfigError: the model has none, or its architecture's blocks are not known here.
    """
    head = {name.rpartition(".")[0] for name in backbone.head_names}
    prefix = f"{backbone.model.base_model_prefix}."
    linear = {
        name: part
        for name, part in backbone.model.named_modules()
        if isinstance(part, nn.Linear) and name.startswith(prefix) and name not in head
    }
    ends = target_ends(linear, config)
    found = {name: part for name, part in linear.items() if any(f".{name}".endswith(f".{end}") for end in ends)}
    if config.kind == "pfeiffer" and not config.target_modules:
        first = [end for pair in _BLOCK_ENDS for end in pair[:1]]
        found = {name: part for name, part in found.items() if not any(name.endswith(f".{end}") for end in first)}
    if not ends or not found:
        known = sorted({name.rpartition(".")[2] for name in linear})
        raise ConfigError(
            f"no place for a {config.kind} adapter in {backbone.architecture}",
            where=backbone.spec,
            expected=f"linear maps named {', '.join(config.target_modules) or 'as in BERT, RoBERTa or DistilBERT'}",
            fix=f"name some: {', '.join(known) or 'it has no linear map'}",
        )
    return found


def target_ends(names: Mapping[str, object], config: AdapterConfig) -> tuple[str, ...]:
    """Return the ends of the adapted modules' names; empty if the architecture is not known here."""
    if config.target_modules:
        return config.target_modules
    for pair in _QUERY_VALUE if config.kind == "lora" else _BLOCK_ENDS:
        if all(any(name.endswith(f".{end}") for name in names) for end in pair):
            return pair
    return ()


def new_adapter(backbone: Backbone, config: AdapterConfig, *, seed: int) -> Adapter:
    """Return an untrained adapter, which changes nothing yet: the start that all slots of a run share.

    A is drawn as PEFT draws it (uniform, Kaiming with a = sqrt 5: within 1 / sqrt(in)), B is zero; of a bottleneck the
    lower map likewise and the upper is zero. The head is `draw_head`'s.

    Args:
        backbone: what it is laid over.
        config: its kind and size.
        seed: same seed, same tensors.

    Raises:
        ConfigError: the backbone has no place for this kind.
    """
    tensors: dict[str, Tensor] = {}
    for name, part in adapted_modules(backbone, config).items():
        if config.kind == "lora":
            tensors[f"{name}.lora_A.weight"] = _uniform(config.rank, part.in_features, seed, name)
            tensors[f"{name}.lora_B.weight"] = torch.zeros(part.out_features, config.rank)
        else:
            width = max(1, backbone.hidden_size // config.reduction)
            tensors[f"{name}.down.weight"] = _uniform(width, part.out_features, seed, name)
            tensors[f"{name}.down.bias"] = torch.zeros(width)
            tensors[f"{name}.up.weight"] = torch.zeros(part.out_features, width)
            tensors[f"{name}.up.bias"] = torch.zeros(part.out_features)
    return Adapter(
        config=config,
        tensors={name: value.to(backbone.dtype) for name, value in tensors.items()},
        head=draw_head(backbone, seed=seed),
        backbone=backbone.spec,
        backbone_sha256=backbone.sha256,
        labels=backbone.labels,
    )


def _uniform(rows: int, columns: int, seed: int, name: str) -> Tensor:
    draws = torch.rand(rows, columns, generator=stream(seed, f"adapter {name}"))
    return (2.0 * draws - 1.0) / math.sqrt(columns)
