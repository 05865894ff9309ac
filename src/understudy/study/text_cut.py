"""How many sentences a backbone does not read to their end."""

from understudy.data.text_set import TextSet
from understudy.models.text.backbone import Backbone

_LEAST = 0.001
"""Share of the sentences from which on it is told."""


def cut_share(backbone: Backbone, data: TextSet) -> float:
    """Return the share of sentences that are longer than the backbone's `max_length`, so that their end is cut off."""
    tokenizer, most = backbone.tokenizer, backbone.max_length
    contexts = [None] * len(data) if data.contexts is None else list(data.contexts)
    # Texts of fewer characters than tokens allowed cannot be too long, and most are short.
    special = tokenizer.num_special_tokens_to_add(pair=data.contexts is not None)
    long = [
        (text, context)
        for text, context in zip(data.texts, contexts, strict=True)
        if len(text.encode()) + len((context or "").encode()) + special > most
    ]
    if not long:
        return 0.0
    texts = [text for text, _ in long]
    firsts = [context for _, context in long]
    coded = tokenizer(texts, truncation=False) if data.contexts is None else tokenizer(firsts, texts, truncation=False)
    return sum(len(row) > most for row in coded["input_ids"]) / len(data)


def cut_note(backbone: Backbone, train: TextSet, test: TextSet) -> str | None:
    """Return in words how many sentences are cut, and the flag that decides; None where next to none is."""
    shares = {"training": cut_share(backbone, train), "test": cut_share(backbone, test)}
    said = [f"{share:.1%} of the {kind} sentences" for kind, share in shares.items() if share >= _LEAST]
    if not said:
        return None
    return f"{' and '.join(said)} are longer than {backbone.max_length} tokens and were cut (--max-length)."
