"""Find and read a Transformers folder: configuration, weights, tokenizer."""

import json
import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from understudy.errors import ConfigError, IntegrityError
from understudy.models.text._record import find_text_model, read_record
from understudy.models.text.extras import quiet, transformers

_TOKENIZERS = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
_FOLDER = "a Transformers folder (config.json, model.safetensors, tokenizer files), or a run with one"
TINY = "tiny"
"""What the commands call the encoder that they train on the spot."""
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class Loaded:
    """A model of Transformers, its tokenizer, the weights outside the encoder and those that were not read."""

    model: Any
    tokenizer: Any
    head: frozenset[str]
    drawn: frozenset[str]


def load_parts(spec: str, labels: tuple[str, ...]) -> Loaded:
    """Load a sequence classifier and its tokenizer from a folder or, by name, from the hub.

    Raises:
        ConfigError: it is not there, has no tokenizer, or cannot classify sequences.
        IntegrityError: its weights are damaged.
        DependencyError: `transformers` is not installed.
    """
    package = transformers()
    place = find_folder(spec)
    if place is not None and not any((place / name).is_file() for name in _TOKENIZERS):
        raise ConfigError("this folder has no tokenizer", where=place, expected="one of " + ", ".join(_TOKENIZERS))
    with quiet():
        config = _read(package.AutoConfig, spec, place)
        if getattr(config, "is_encoder_decoder", False):
            raise ConfigError(f"{config.model_type} has a decoder", where=spec, expected="an encoder, such as BERT")
        model, loading = _read_model(package, spec, place, labels)
        tokenizer = _read(package.AutoTokenizer, spec, place)
    model = model.float().requires_grad_(False).eval()
    head, drawn = _split(model, loading, spec)
    _check_tokenizer(tokenizer, model, spec)
    return Loaded(model, tokenizer, head, drawn)


def find_folder(spec: str) -> Path | None:
    """Return the Transformers folder that a spec names; None if it can only be a name on the hub.

    Raises:
        ConfigError: it is a folder without one, or neither a folder nor such a name.
    """
    root = Path(spec).expanduser()
    if root.is_dir():
        for place in (root, root / "backbone", root / "model", root / "model" / "backbone"):
            if _is_model(place / "config.json"):
                return place
        raise ConfigError("this folder holds no language model", where=root, expected=_FOLDER, fix=_instead(root))
    if root.exists():
        raise ConfigError("this is a file, and no folder", where=root, expected=_FOLDER, fix="name the folder it is in")
    if spec.startswith((".", "/", "~")) or not _HUB_NAME.fullmatch(spec):
        raise ConfigError("no such folder", where=spec, expected=f"{_FOLDER}, or a name on the hub", fix=_near(root))
    return None


def _instead(folder: Path) -> str:
    """Return what to give in place of a folder without a language model."""
    model = find_text_model(folder)
    if model is None:
        return f"check the path, or give {TINY}, which the commands train on the spot"
    spec = read_record(model).backbone.spec
    return f"its adapters stand on the backbone {spec}: give that one"


def _near(place: Path) -> str:
    """Return a sentence with the names that a mistyped one is near to: folders beside it, and `tiny`."""
    here = [child.name for child in place.parent.iterdir() if child.is_dir()] if place.parent.is_dir() else []
    close = get_close_matches(place.name, [*here, TINY], n=3, cutoff=0.6)
    if not close:
        return f"check the path, or give {TINY}, which the commands train on the spot"
    return "did you mean " + " or ".join(repr(name) for name in close) + "?"


def _is_model(path: Path) -> bool:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    kind = config.get("model_type") if isinstance(config, dict) else None
    return isinstance(kind, str) and not kind.startswith("understudy")


def _read_model(package: Any, spec: str, place: Path | None, labels: tuple[str, ...]) -> tuple[Any, dict[str, Any]]:
    with torch.random.fork_rng(devices=[]):
        model, loading = _read(
            package.AutoModelForSequenceClassification,
            spec,
            place,
            id2label=dict(enumerate(labels)),
            label2id={label: index for index, label in enumerate(labels)},
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    return model, loading


def _read(kind: Any, spec: str, place: Path | None, **options: Any) -> Any:
    """Call `from_pretrained`, on local files first, and say in our words what went wrong."""
    name = spec if place is None else str(place)
    try:
        try:
            return kind.from_pretrained(name, local_files_only=True, trust_remote_code=False, **options)
        except OSError:
            if place is not None:
                raise
        return kind.from_pretrained(name, trust_remote_code=False, **options)
    except SafetensorError as error:
        raise IntegrityError(f"the weights cannot be read: {error}", where=name, fix="restore the file") from error
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, TypeError, AttributeError) as error:
        what = (
            "cannot be loaded" if place else "is neither a folder here nor a model that could be fetched from the hub"
        )
        raise ConfigError(
            f"{spec!r} {what}: {str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__}",
            where=name,
            expected="an encoder with a sequence-classification head, safetensors weights and a tokenizer",
            fix="restore the folder, or give another" if place else _near(Path(spec)),
        ) from error


def _split(model: Any, loading: dict[str, Any], spec: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of the head's weights, and those of them that were not in the folder."""
    prefix = f"{model.base_model_prefix}."
    names = list(model.state_dict())
    mismatched = {entry[0] if isinstance(entry, tuple | list) else entry for entry in loading["mismatched_keys"]}
    drawn = (set(loading["missing_keys"]) | mismatched) & set(names)
    # An encoder that was pre-trained without a pooler gets one here: it is learnt with the head.
    head = {name for name in names if not name.startswith(prefix) or (name in drawn and ".pooler." in name)}
    if absent := sorted(drawn - head):
        raise ConfigError(
            f"the weights lack {len(absent)} tensors of the encoder, {absent[0]!r} first; they would be random",
            where=spec,
            expected="a trained encoder",
        )
    for owner in {name.rpartition(".")[0] for name in head}:
        part = model.get_submodule(owner)
        if not isinstance(part, nn.Linear | nn.LayerNorm):
            raise ConfigError(f"the head has a {type(part).__name__} ({owner})", where=spec, expected="linear maps")
    return frozenset(head), frozenset(drawn)


def _check_tokenizer(tokenizer: Any, model: Any, spec: str) -> None:
    if not getattr(tokenizer, "is_fast", False) or tokenizer.pad_token_id is None:
        raise ConfigError("the tokenizer is slow or has no padding token", where=spec, expected="a tokenizer.json")
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise ConfigError(f"the tokenizer has {len(tokenizer)} tokens, the model {rows} embeddings", where=spec)
