"""A tiny random BERT with a vocabulary of its own: what runs where no trained model is at hand."""

import string
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from understudy.errors import ConfigError
from understudy.models.text.extras import quiet, transformers
from understudy.runs.files import folder_aside
from understudy.runs.seeds import derive_seed

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def build_tiny(
    words: Iterable[str],
    folder: Path,
    *,
    hidden: int = 64,
    layers: int = 2,
    heads: int = 4,
    max_length: int = 64,
    seed: int,
) -> Path:
    """Write a Transformers folder of an untrained tiny BERT, which serves as backbone and as masked language model.

    Its vocabulary: special tokens, every printable ASCII character at the start of and within a word, and the words.

    Args:
        words: whole words of the vocabulary, put into lower case; order and repeats do not matter.
        folder: where it goes; what is there is replaced.
        hidden: width; a multiple of `heads`.
        layers: Transformer layers.
        heads: attention heads a layer.
        max_length: positions, in tokens.
        seed: same arguments and seed, same bytes.

    Returns:
        The folder.

    Raises:
        ConfigError: `hidden` is no multiple of `heads`.
        DependencyError: `transformers` is not installed.
    """
    if hidden % heads:
        raise ConfigError(f"hidden {hidden} is no multiple of heads {heads}")
    package = transformers()
    vocabulary = _vocabulary(words)
    config = package.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=2 * hidden,
        max_position_embeddings=max_length,
    )
    with quiet(), torch.random.fork_rng(devices=[]), folder_aside(folder) as aside:
        torch.default_generator.manual_seed(derive_seed(seed, "tiny encoder"))
        package.BertForMaskedLM(config).save_pretrained(aside)
        _save_tokenizer(package, vocabulary, aside, max_length)
    return folder


def _vocabulary(words: Iterable[str]) -> list[str]:
    characters = sorted({c.lower() for c in string.printable if not c.isspace()})
    listed = [*_SPECIAL, *characters, *(f"##{c}" for c in characters)]
    return [*listed, *sorted({word.lower() for word in words if word.strip()} - set(listed))]


def _save_tokenizer(package: Any, vocabulary: list[str], folder: Path, max_length: int) -> None:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    numbers = {word: index for index, word in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", numbers["[CLS]"]), ("[SEP]", numbers["[SEP]"])],
    )
    fast = package.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=max_length,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
    fast.save_pretrained(folder)
