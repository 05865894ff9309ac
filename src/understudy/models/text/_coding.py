"""Texts and pairs of texts as numbers of tokens, cut to what a model takes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from understudy.errors import DataError


def tokens(
    tokenizer: Any, texts: Sequence[str], contexts: Sequence[str] | None, max_length: int
) -> list[dict[str, list[int]]]:
    """Return what each text is to the model, not padded; see `Backbone.tokens`."""
    check_texts(texts, "texts")
    if contexts is not None:
        check_texts(contexts, "contexts")
    if contexts is not None and len(contexts) != len(texts):
        raise DataError(f"{len(texts)} texts with {len(contexts)} contexts", expected="one context a text")
    if not texts:
        return []
    coded = _code(tokenizer, list(texts), contexts, max_length)
    names = [name for name in coded if isinstance(coded[name][0], list)]
    return [{name: coded[name][row] for name in names} for row in range(len(texts))]


def check_texts(texts: object, what: str) -> None:
    """Refuse what is no list of texts; a single text would be taken for a list of letters.

    Args:
        texts: what was given.
        what: what they are called, for messages.

    Raises:
        DataError: with the number of the first item that is no text, counted from 0.
    """
    if isinstance(texts, str | bytes) or not isinstance(texts, Sequence | np.ndarray):
        raise DataError(
            f"{what} is one {type(texts).__name__}", where=what, expected="a list of texts", fix="put it into a list"
        )
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(
                f"item {number} is {text!r:.60}, a {type(text).__name__}",
                where=f"{what}[{number}]",
                expected="a text (str)",
                fix="leave it out, or decode it" if isinstance(text, bytes) else "leave it out, or write it as text",
            )


def collate(tokenizer: Any, rows: Sequence[Mapping[str, Sequence[int]]], device: torch.device) -> dict[str, Tensor]:
    """Return one batch of rows of `tokens`, padded to the longest of them."""
    padding = {
        "input_ids": int(tokenizer.pad_token_id),
        "token_type_ids": int(getattr(tokenizer, "pad_token_type_id", 0)),
    }
    longest = max(len(row["input_ids"]) for row in rows)
    return {
        name: torch.tensor(
            [list(row[name]) + [padding.get(name, 0)] * (longest - len(row[name])) for row in rows],
            dtype=torch.long,
            device=device,
        )
        for name in rows[0]
    }


def visible_words(tokenizer: Any, text: str, context: str | None, max_length: int) -> int:
    """Return how many whitespace words of a text reach the model; see `Backbone.visible_words`."""
    contexts = None if context is None else [context]
    coded = _code(tokenizer, [text], contexts, max_length, return_offsets_mapping=True)
    own = 0 if context is None else 1
    spans = zip(coded["offset_mapping"][0], coded.sequence_ids(0), strict=True)
    end = max((stop for (_, stop), part in spans if part == own), default=0)
    return len(text[:end].split())


def _code(tokenizer: Any, texts: list[str], contexts: Sequence[str] | None, max_length: int, **options: Any) -> Any:
    if contexts is None:
        return tokenizer(texts, truncation=True, max_length=max_length, **options)
    short = _short(tokenizer, contexts, max_length)
    return tokenizer(short, texts, truncation="only_second", max_length=max_length, **options)


def _short(tokenizer: Any, contexts: Sequence[str], max_length: int) -> list[str]:
    """Cut contexts that would leave their text less than half of the room."""
    room = (max_length - tokenizer.num_special_tokens_to_add(pair=True)) // 2
    coded = tokenizer(list(contexts), add_special_tokens=False, return_offsets_mapping=True)
    spans = coded["offset_mapping"]
    return [text if len(row) <= room else text[: row[room - 1][1]] for text, row in zip(contexts, spans, strict=True)]
