"""Mixed adapters as a model of Transformers: loaded from a folder, used in a pipeline, saved again.

This is the one module of the package that needs Transformers to be imported; nothing here imports it but inside
functions, and `understudy.MixedAdapterClassifier` reaches it when it is asked for. Importing it makes the model type
known to `AutoConfig`, `AutoModelForSequenceClassification` and the pipeline `text-classification`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from understudy.errors import ConfigError
from understudy.models.text._loading import find_folder
from understudy.models.text._saving import ARCHITECTURE, MODEL_TYPE
from understudy.models.text.backbone import Backbone
from understudy.models.text.extras import transformers
from understudy.models.text.mixture import MixedAdapters
from understudy.models.text.store import load_text_model, save_text_model

_package = transformers()
_Config: Any = _package.PreTrainedConfig if hasattr(_package, "PreTrainedConfig") else _package.PretrainedConfig
_Model: Any = _package.PreTrainedModel
_Output: Any = _package.modeling_outputs.SequenceClassifierOutput

_TAKEN = frozenset({"backbone", "device", "dtype", "torch_dtype"})
# What Auto classes and pipelines hand on, and what has no meaning for a folder on this machine.
# fmt: off
_HANDED_ON = frozenset({
    "adapter_kwargs", "cache_dir", "code_revision", "config", "force_download", "local_files_only", "proxies",
    "revision", "token", "trust_remote_code", "use_safetensors", "weights_only", "_commit_hash", "_from_auto",
    "_from_pipeline",
})
# What they hand on as well, and what would be wanted if it were given.
_UNSET = frozenset({"attn_implementation", "device_map", "subfolder"})
# fmt: on


class MixedAdapterConfig(_Config):  # type: ignore[misc]
    """The `config.json` of a mixture: its labels; all else stands in `understudy.json` beside it."""

    model_type: ClassVar[str] = MODEL_TYPE

    # Written out, for a generated one takes no more than the fields of Transformers' own class.
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)


@dataclass
class MixedOutput(_Output):  # type: ignore[misc]
    """A classifier's output, with what the adapters were mixed by."""

    loss: Tensor | None = None
    """Cross-entropy against the labels, if there were any."""
    logits: Tensor | None = None
    """ln p of the mixture, so that a softmax gives p back. Shape (n, classes)."""
    weights: Tensor | None = None
    """Share of each slot, the clean one first. Shape (n, slots)."""


class MixedAdapterClassifier(_Model):  # type: ignore[misc]
    """A frozen language model whose adapters are mixed anew for each sentence, as a model of Transformers.

    Fidelity: instantiation of AdpMixup (arXiv 2401.10111); the equations of its coefficients are not public.

    Args:
        mixed: the mixture; `MixedAdapterClassifier.from_pretrained` reads one from a folder.
    """

    config_class = MixedAdapterConfig
    base_model_prefix = "language_model"
    main_input_name = "input_ids"

    def __init__(self, mixed: MixedAdapters) -> None:
        labels = dict(enumerate(mixed.labels))
        config = MixedAdapterConfig(
            id2label=labels,
            label2id={label: index for index, label in labels.items()},
            problem_type="single_label_classification",
        )
        config.architectures = [ARCHITECTURE]
        super().__init__(config)
        self.language_model = mixed.backbone.model  # a submodule, so that devices and number formats reach it
        self.slots = mixed.slots.requires_grad_(False)
        self.mixer = mixed.mixer.requires_grad_(False)
        self._mixed = (mixed,)
        self.eval()

    @property
    def mixed(self) -> MixedAdapters:
        """The mixture as a text classifier: `mixed.explain(texts)` says what each sentence was mixed by."""
        return self._mixed[0]

    @property
    def backbone(self) -> Backbone:
        """The frozen language model with its tokenizer."""
        return self.mixed.backbone

    def train(self, mode: bool = True) -> "MixedAdapterClassifier":  # noqa: ARG002 (Transformers' signature)
        """Stay in eval mode: the coefficients come from entropies, which dropout would change."""
        super().train(False)
        return self

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
    ) -> MixedOutput | tuple[Tensor, ...]:
        """Return ln p of the mixture, the weights it was mixed by and, given labels, the mean cross-entropy.

        Args:
            input_ids: token numbers (n, t); or
            attention_mask: 1 where a token is, 0 where padding is.
            token_type_ids: number of the text that a token belongs to.
            inputs_embeds: word embeddings (n, t, d) in place of token numbers.
            labels: true classes (n).
            return_dict: False gives a tuple, without what is None.
        """
        given = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "token_type_ids": token_type_ids,
            "inputs_embeds": inputs_embeds,
        }
        found = self.mixed.mix({name: value for name, value in given.items() if value is not None})
        logits = log_probs(found.probs)
        loss = None if labels is None else F.nll_loss(logits, labels, reduction="mean")
        output = MixedOutput(loss=loss, logits=logits, weights=found.weights)
        return output if return_dict is not False else output.to_tuple()

    @classmethod
    def from_pretrained(cls, folder: str | Path, *_: Any, **options: Any) -> "MixedAdapterClassifier":
        """Return the mixture in a folder, in eval mode.

        Args:
            folder: a model folder of a mixture, or a run with one; names on the hub are not looked up.
            _: nothing; what Auto classes may hand on.
            options: `device`; `dtype` (float32, the default); `backbone`, if it is in memory already. What Auto
                classes and pipelines hand on beside is passed over, for it concerns downloads.

        Raises:
            ConfigError: the folder holds no mixture but another model, its backbone is not found, or an option is
                not known.
            IntegrityError: the folder is not what was saved.
        """
        options = {name: value for name, value in options.items() if name not in _UNSET or value not in (None, "")}
        if unknown := sorted(options.keys() - _TAKEN - _HANDED_ON):
            raise ConfigError(f"unknown option {unknown[0]!r}", where="from_pretrained", expected=", ".join(_TAKEN))
        for name in ("dtype", "torch_dtype"):
            if options.get(name) not in (None, "auto", "float32", torch.float32):
                raise ConfigError(f"{name} is {options[name]}", expected="float32; use .to(...) for another format")
        mixed = load_text_model(find_folder(folder), device=options.get("device"), backbone=options.get("backbone"))
        if not isinstance(mixed, MixedAdapters):
            raise ConfigError(
                "this model is one classifier, and no mixture of adapters",
                where=folder,
                fix="load it with peft or Transformers, or with understudy.models.text.store.load_text_model",
            )
        return cls(mixed)

    def save_pretrained(
        self, save_directory: str | Path, *_: Any, include_backbone: bool = False, **_more: Any
    ) -> None:
        """Write the mixture into a folder, with the tokenizer, one PEFT folder a slot and `understudy.json`.

        Args:
            save_directory: is made, or takes the place of a text model that is there.
            _: nothing; what Transformers' own signature has.
            include_backbone: put the frozen language model into the folder too.
            _more: options of Transformers' signature, which have no meaning here.

        Raises:
            ConfigError: it is to be pushed to the hub as well.
        """
        if _more.get("push_to_hub"):
            raise ConfigError("push_to_hub is not offered", fix="upload the folder with huggingface_hub.upload_folder")
        save_text_model(self.mixed, save_directory, about={}, include_backbone=include_backbone)


def log_probs(probs: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
    """Return ln p, with p cut from below at the smallest normal number inside the logarithm alone."""
    return probs.clamp_min(torch.finfo(probs.dtype).tiny).log()


def _register() -> None:
    """Make the model type known to Transformers."""
    from transformers.models.auto import modeling_auto

    _package.AutoConfig.register(MODEL_TYPE, MixedAdapterConfig, exist_ok=True)
    _package.AutoModelForSequenceClassification.register(MixedAdapterConfig, MixedAdapterClassifier, exist_ok=True)
    # The pipeline compares class names with this table, to which `register` does not add.
    modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES[MODEL_TYPE] = ARCHITECTURE


_register()
