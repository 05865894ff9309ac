"""Replacements that a masked language model expects at a place of a sentence: whole words only, the likeliest first."""

import re
from collections.abc import Sequence

import torch

from understudy.attacks.text.pretrained import open_pretrained
from understudy.attacks.text.synonyms import keep_casing, split_punctuation
from understudy.attacks.text.words import Words

_ROWS = 32
_MARKS = ("Ġ", "▁")
"""How byte-level and SentencePiece vocabularies mark the beginning of a word."""


class MaskedWords:
    """A masked language model as a source of candidates that fit a context.

    Args:
        spec: folder of a Transformers model with a masked-language-model head.

    Raises:
        ConfigError: the folder is none, or holds no such head.
        DependencyError: the extra `text` is not installed.
    """

    def __init__(self, spec: str) -> None:
        self._helper = open_pretrained(spec, "masked_lm")
        self._mask = str(self._helper.tokenizer.mask_token)
        self._mask_id = int(self._helper.tokenizer.mask_token_id)
        self._ids, self._names = _whole_words(self._helper.tokenizer)

    @property
    def summary(self) -> str:
        """What a record says of this source."""
        return f"masked language model {self._helper.spec.rstrip('/').rpartition('/')[2]}"

    def top(self, words: Words, positions: Sequence[int], count: int) -> list[list[str]]:
        """Return, for each position, up to `count` whole words for it, the likeliest first; one batch for all.

        The word at the position is masked (punctuation around it stays), is itself left out, and gives its casing.
        A position beyond the model's length has none.
        """
        texts = [self._masked(words, position) for position in positions]
        found: list[list[str]] = []
        for start in range(0, len(texts), _ROWS):
            ranked = self._ranked(texts[start : start + _ROWS], count + 8)
            for position, names in zip(positions[start : start + _ROWS], ranked, strict=True):
                before, core, after = split_punctuation(words.words[position])
                cased = dict.fromkeys(keep_casing(core, name) for name in names if name.lower() != core.lower())
                found.append([f"{before}{name}{after}" for name in list(cased)[:count]] if core else [])
        return found

    def _masked(self, words: Words, position: int) -> str:
        before, _, after = split_punctuation(words.words[position])
        return words.with_word(position, f"{before}{self._mask}{after}").text

    def _ranked(self, texts: list[str], count: int) -> list[list[str]]:
        """Return, for each masked text, the likeliest whole words at its mask."""
        encoded = self._helper.encode(texts)
        with torch.inference_mode():
            logits = self._helper.model(**encoded).logits  # (texts, tokens, vocabulary)
        ranked = []
        for row, ids in enumerate(encoded["input_ids"]):
            places = (ids == self._mask_id).nonzero().flatten().tolist()
            scores = logits[row, places[0], self._ids].float() if places else torch.empty(0)
            order = scores.argsort(descending=True, stable=True)[:count].tolist()
            ranked.append([self._names[index] for index in order])
        return ranked


def _whole_words(tokenizer: object) -> tuple[torch.Tensor, list[str]]:
    """Return the ids of the vocabulary's whole words, and the words: two letters or more, nothing else, no pieces."""
    vocabulary: dict[str, int] = tokenizer.get_vocab()  # type: ignore[attr-defined]
    special = set(tokenizer.all_special_ids)  # type: ignore[attr-defined]
    mark = next((mark for mark in _MARKS if sum(token.startswith(mark) for token in vocabulary) > 1), "")
    whole = [
        (index, token.removeprefix(mark))
        for token, index in sorted(vocabulary.items(), key=lambda item: item[1])
        if index not in special and token.startswith(mark) and re.fullmatch(r"[^\W\d_]{2,}", token.removeprefix(mark))
    ]
    return torch.tensor([index for index, _ in whole], dtype=torch.int64), [name for _, name in whole]
