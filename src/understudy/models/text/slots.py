"""K adapters over one frozen language model, mixed per row in one batched forward."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from understudy.errors import ShapeError
from understudy.models.text._hooks import Hook, bottleneck_hook, head_hook, lora_hook
from understudy.models.text._mixing import bottleneck_mixed, head_mixed, lora_mixed, norm_mixed
from understudy.models.text.adapter import Adapter, LoraMix
from understudy.models.text.backbone import Backbone
from understudy.models.text.compatible import check_compatible
from understudy.models.text.merge import merge

__all__ = ["SlotModel", "bottleneck_mixed", "first_pass", "head_mixed", "lora_mixed", "merge", "norm_mixed"]


class SlotModel(nn.Module):
    """Slots (adapter and head) laid over a frozen backbone, which is neither copied nor changed nor a submodule.

    The slots are stacked as parameters. A forward hangs them over the backbone's layers and takes them off again, so
    that several of these share one backbone. With one slot it is what training trains.

    Args:
        backbone: the frozen model.
        adapters: one a slot; slot 0 is the clean one where slots are mixed.
        lora_mix: "factor" mixes A and B each, tensor by tensor; "product" mixes B A (ranks and scales may differ).
        freeze_head: keep the heads as they are.

    Raises:
        ConfigError: the adapters do not fit the backbone or one another.
    """

    def __init__(
        self,
        backbone: Backbone,
        adapters: Sequence[Adapter],
        *,
        lora_mix: LoraMix = "factor",
        freeze_head: bool = False,
    ) -> None:
        super().__init__()
        check_compatible(adapters, backbone, lora_mix=lora_mix)
        self._backbone = (backbone,)  # in a tuple, for a submodule would be trained, saved and counted
        self.configs = tuple(adapter.config for adapter in adapters)
        self.lora_mix = lora_mix
        self._names: dict[str, str] = {}
        for name in adapters[0].tensors:
            self._stack(name, [_widened(name, adapter, self._rank) for adapter in adapters], trained=True)
        for name in adapters[0].head:
            self._stack(name, [adapter.head[name] for adapter in adapters], trained=not freeze_head)
        self._adapted = adapters[0].modules
        self._heads = tuple(dict.fromkeys(name.rpartition(".")[0] for name in adapters[0].head))
        scales = torch.tensor([config.scale for config in self.configs], dtype=torch.float64)
        self.register_buffer("_scales", scales.to(backbone.dtype), persistent=False)
        super().to(backbone.device)
        self.eval()

    @property
    def backbone(self) -> Backbone:
        """The frozen model below."""
        return self._backbone[0]

    @property
    def slots(self) -> int:
        """Number of slots, K."""
        return len(self.configs)

    def forward(
        self,
        *,
        weights: Float[Tensor, "n k"] | None = None,
        input_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        **more: Any,
    ) -> Float[Tensor, "n c"]:
        """Return logits, in float32 or wider.

        Args:
            weights: of the slots, a row each, non-negative with sum 1; None only with one slot.
            input_ids: token numbers (n, t); or
            inputs_embeds: word embeddings (n, t, d) in their place.
            attention_mask: 1 where a token is, 0 where padding is.
            token_type_ids: number of the text that a token belongs to.
            more: handed on to the backbone.

        Raises:
            ShapeError: weights that do not fit the rows or slots.
        """
        inputs = {
            "input_ids": input_ids,
            "inputs_embeds": inputs_embeds,
            "attention_mask": attention_mask,
            "token_type_ids": token_type_ids,
            **more,
        }
        inputs = {name: value for name, value in inputs.items() if value is not None}
        self._check_weights(weights, inputs)
        model = self.backbone.model
        if model.training != self.training:  # others share the backbone
            model.train(self.training)
        with self._hung(weights):
            logits: Tensor = model(**inputs).logits
        return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits

    def adapter(self, slot: int = 0) -> Adapter:
        """Return a copy of a slot as it is now, on the CPU."""
        backbone, config = self.backbone, self.configs[slot]
        values = {name: self._get(name)[slot].detach().cpu().clone() for name in self._names}
        tensors = {
            name: _cut(name, value, config.rank) for name, value in values.items() if name not in backbone.head_names
        }
        return Adapter(
            config=config,
            tensors=tensors,
            head={name: values[name] for name in backbone.head_names},
            backbone=backbone.spec,
            backbone_sha256=backbone.sha256,
            labels=backbone.labels,
        )

    def train(self, mode: bool = True) -> "SlotModel":
        """Put slots and backbone into training mode (dropout), or out of it."""
        super().train(mode)
        self.backbone.model.train(mode)
        return self

    def _apply(self, fn: Any, recurse: bool = True) -> "SlotModel":
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.backbone.to(self._scales.device)  # type: ignore[arg-type]
        return self

    @property
    def _rank(self) -> int:
        return max(config.rank for config in self.configs)

    def _stack(self, name: str, values: Sequence[Tensor], *, trained: bool) -> None:
        self._names[name] = name.replace(".", "/")  # a parameter's own name may hold no dot
        stacked = torch.stack([value.detach().to(self.backbone.dtype) for value in values])
        self.register_parameter(self._names[name], nn.Parameter(stacked, requires_grad=trained))

    def _get(self, name: str) -> Tensor:
        value: Tensor = getattr(self, self._names[name])
        return value

    def _check_weights(self, weights: Tensor | None, inputs: Mapping[str, Any]) -> None:
        if weights is None:
            if self.slots > 1:
                raise ShapeError(f"no weights for {self.slots} slots", expected="one row of weights a text")
            return
        key = "input_ids" if "input_ids" in inputs else "inputs_embeds"
        rows = inputs[key].shape[0]
        if tuple(weights.shape) != (rows, self.slots):
            raise ShapeError(f"weights of shape {tuple(weights.shape)}", expected=f"({rows}, {self.slots})")

    @contextmanager
    def _hung(self, weights: Tensor | None) -> Iterator[None]:
        """Hang the slots over the backbone's layers for the block."""
        model = self.backbone.model
        handles = []
        try:
            for name in self._adapted:
                handles.append(model.get_submodule(name).register_forward_hook(self._change(name, weights)))
            for name in self._heads:
                handles.append(model.get_submodule(name).register_forward_hook(self._head(name, weights)))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _change(self, name: str, weights: Tensor | None) -> Hook:
        """Return what the slots do to an adapted map."""
        config = self.configs[0]
        share = config.dropout if self.training else 0.0
        if config.kind == "lora":
            a, b = self._get(f"{name}.lora_A.weight"), self._get(f"{name}.lora_B.weight")
            return lora_hook(name, a, b, cast(Tensor, self._scales), weights, self.lora_mix, share)
        down, down_bias = self._get(f"{name}.down.weight"), self._get(f"{name}.down.bias")
        up, up_bias = self._get(f"{name}.up.weight"), self._get(f"{name}.up.bias")
        return bottleneck_hook(name, down, down_bias, up, up_bias, weights, config.activation, share)

    def _head(self, name: str, weights: Tensor | None) -> Hook:
        """Return what stands in for a layer of the head."""
        bias = self._get(f"{name}.bias") if f"{name}.bias" in self._names else None
        return head_hook(self._get(f"{name}.weight"), bias, weights)


def first_pass(model: SlotModel, encoded: Mapping[str, Tensor], slots: Sequence[int]) -> Float[Tensor, "n s c"]:
    """Return the logits of several slots for one batch, in one forward over its rows repeated.

    Args:
        model: the slots.
        encoded: a batch of `Backbone.encode`, n rows.
        slots: numbers of the slots asked, s of them.
    """
    rows, asked = next(iter(encoded.values())).shape[0], list(slots)
    repeated = {name: value.repeat_interleave(len(asked), dim=0) for name, value in encoded.items()}
    backbone = model.backbone
    one_hot = torch.eye(model.slots, dtype=backbone.dtype, device=backbone.device)[asked].repeat(rows, 1)
    logits: Tensor = model(weights=one_hot, **repeated)
    return logits.reshape(rows, len(asked), -1)


def _widened(name: str, adapter: Adapter, rank: int) -> Tensor:
    """Return a LoRA factor with zero rows (A) or columns (B) up to a rank; other tensors as they are."""
    value, missing = adapter.tensors[name], rank - adapter.config.rank
    if adapter.config.kind != "lora" or missing == 0:
        return value
    padding = (0, 0, 0, missing) if name.endswith("lora_A.weight") else (0, missing)
    return nn.functional.pad(value, padding)


def _cut(name: str, value: Tensor, rank: int) -> Tensor:
    if name.endswith("lora_A.weight"):
        return value[:rank].clone()
    return value[:, :rank].clone() if name.endswith("lora_B.weight") else value
