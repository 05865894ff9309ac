"""A whole classifier that is trained itself, for full fine-tuning and soups of models."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from understudy.errors import ConfigError
from understudy.models.text.backbone import Backbone
from understudy.models.text.merge import check_weights
from understudy.runs.files import folder_aside


class FullModel(nn.Module):
    """A trainable copy of a backbone with its head; forward as `SlotModel`'s.

    Args:
        backbone: what is copied; it stays as it is, and its tokenizer and labels serve the copy.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self._backbone = (backbone,)  # in a tuple, for a submodule would be trained, saved and counted
        self.model = copy.deepcopy(backbone.model).requires_grad_(True)
        self.eval()

    @property
    def backbone(self) -> Backbone:
        """What was copied."""
        return self._backbone[0]

    def forward(
        self,
        *,
        weights: Tensor | None = None,
        input_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        **more: Any,
    ) -> Float[Tensor, "n c"]:
        """Return logits, in float32 or wider; arguments as `SlotModel.forward`, weights must be None.

        Raises:
            ConfigError: weights were given: there are no slots to mix.
        """
        if weights is not None:
            raise ConfigError("weights for a model without slots", expected="None")
        inputs: Mapping[str, Any] = {
            "input_ids": input_ids,
            "inputs_embeds": inputs_embeds,
            "attention_mask": attention_mask,
            "token_type_ids": token_type_ids,
            **more,
        }
        logits: Tensor = self.model(**{name: value for name, value in inputs.items() if value is not None}).logits
        return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits

    def save(self, folder: Path) -> None:
        """Write a plain Transformers folder, tokenizer included, whole or not at all."""
        with folder_aside(folder) as aside:
            self.model.save_pretrained(aside)
            self.backbone.tokenizer.save_pretrained(aside)

    def _apply(self, fn: Any, recurse: bool = True) -> "FullModel":
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.backbone.to(next(self.model.parameters()).device)  # its batches must go where the copy is
        return self


def average(models: Sequence[FullModel], weights: Sequence[float] | None = None) -> FullModel:
    """Return the soup of models of one backbone: the weighted mean of all their weights.

    Source: Wortsman et al. 2022, "Model soups" (arXiv:2203.05482).

    Args:
        models: one or more.
        weights: one a model, in [0, 1] with sum 1; None weighs all alike.

    Raises:
        ConfigError: no model, models of different backbones, or weights that are none.
    """
    if not models:
        raise ConfigError("no model to average")
    if any(model.backbone.sha256 != models[0].backbone.sha256 for model in models):
        raise ConfigError("models of different backbones cannot be averaged")
    shares = check_weights(weights or [1.0 / len(models)] * len(models), len(models))
    states = [model.state_dict() for model in models]
    mean: dict[str, Tensor] = {}
    for name, value in states[0].items():
        if value.is_floating_point():
            wide = torch.stack([share * state[name].double() for share, state in zip(shares, states, strict=True)])
            value = wide.sum(0).to(value.dtype)
        mean[name] = value
    soup = FullModel(models[0].backbone)
    soup.load_state_dict(mean)
    return soup
