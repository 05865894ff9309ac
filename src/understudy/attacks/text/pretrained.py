"""Helper models of attacks, opened from a local Transformers folder (or a hub's name that the user gave) and frozen."""

from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError

from understudy.errors import ConfigError, IntegrityError
from understudy.models.text.extras import quiet, transformers

Kind = Literal["masked_lm", "encoder"]
"""A masked language model, whose head has to be in the folder; or an encoder of sentences."""

_TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "tokenizer.model")
_PADDED_POSITIONS = ("roberta", "xlm-roberta", "camembert")
"""Their positions begin behind the padding index."""
_HEADS: dict[Kind, str] = {"masked_lm": "AutoModelForMaskedLM", "encoder": "AutoModel"}
_WORDS = {"masked_lm": "a masked language model", "encoder": "a sentence encoder"}
_FLAGS = {"masked_lm": "--masked-lm", "encoder": "--similarity-encoder"}


class Pretrained:
    """A frozen helper model with its tokenizer, in evaluation mode on the CPU.

    Args:
        spec: folder of Transformers, or a name on a hub.
        kind: what it is for.

    Raises:
        ConfigError: the folder is none, or lacks weights: those of the head, as a rule.
        IntegrityError: the file of the weights is damaged.
        DependencyError: the extra `text` is not installed.
    """

    def __init__(self, spec: str, kind: Kind) -> None:
        self.spec, self.kind = spec, kind
        library = transformers()
        place = Path(spec).expanduser()
        if place.is_dir() and not (place / "config.json").is_file():
            raise self._refused("the folder holds no config.json")
        if place.is_dir() and not any((place / name).is_file() for name in _TOKENIZERS):
            raise self._refused("the folder holds no tokenizer")
        if not place.is_dir() and (place.exists() or spec.startswith((".", "/", "~"))):
            raise self._refused("there is no such folder")
        with quiet(), torch.random.fork_rng(devices=[]):
            auto = getattr(library, _HEADS[kind])
            self.model, info = self._opened(auto, use_safetensors=True, output_loading_info=True)
            self.tokenizer = self._opened(library.AutoTokenizer)
        absent = sorted(name for name in info["missing_keys"] if kind == "masked_lm" or ".pooler." not in f".{name}")
        if absent:
            raise self._refused(f"{len(absent)} of its weights are missing, {absent[0]} first, and would be random")
        if not self.tokenizer.is_fast or self.tokenizer.pad_token_id is None:
            raise self._refused("its tokenizer is slow, or has no padding token")
        self.model.float().requires_grad_(False).eval()
        config = self.model.config
        offset = 2 if config.model_type in _PADDED_POSITIONS else 0
        self.max_length = min(
            int(self.tokenizer.model_max_length), getattr(config, "max_position_embeddings", 512) - offset
        )

    def encode(self, texts: list[str]) -> dict[str, torch.Tensor]:
        """Return the inputs of a batch, padded, and cut at the model's length."""
        batch = self.tokenizer(texts, padding=True, truncation=True, max_length=self.max_length, return_tensors="pt")
        return dict(batch)

    def _opened(self, auto: Any, **options: Any) -> Any:
        """Call `from_pretrained`, on local files first, and say in our words what went wrong."""
        place = Path(self.spec).expanduser()
        try:
            try:
                return auto.from_pretrained(str(place), local_files_only=True, trust_remote_code=False, **options)
            except OSError:
                if place.is_dir():
                    raise
            return auto.from_pretrained(self.spec, trust_remote_code=False, **options)
        except SafetensorError as error:
            raise IntegrityError(
                f"the weights cannot be read: {error}", where=self.spec, fix="restore the file"
            ) from error
        except (OSError, ValueError, KeyError, RuntimeError, ImportError, TypeError, AttributeError) as error:
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise self._refused(f"it cannot be opened: {first}") from error

    def _refused(self, what: str) -> ConfigError:
        return ConfigError(
            f"this is not {_WORDS[self.kind]}: {what}",
            where=self.spec,
            expected="a folder as Transformers saves it: config.json, model.safetensors and the tokenizer's files"
            + (", with the head of a masked language model" if self.kind == "masked_lm" else ""),
            fix=f"name one by {_FLAGS[self.kind]}",
        )


@lru_cache(maxsize=4)
def open_pretrained(spec: str, kind: Kind) -> Pretrained:
    """Return a helper model, opened once a process."""
    return Pretrained(spec, kind)
