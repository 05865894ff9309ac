"""What attacks on sentences are tested on: a victim whose words weigh what their hashes say."""

import hashlib
import random
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

WORDS = ("bright", "plain", "story", "acting", "honest", "clumsy", "picture", "lovely", "tired", "scenes", "moving",
         "script", "warm", "hollow", "clever", "endless")  # fmt: skip


class HashBackbone:
    """Sees the first words of a text."""

    unknown_token = "[UNK]"

    def __init__(self, longest: int) -> None:
        self.longest = longest

    def visible_words(self, text: str, context: str | None = None) -> int:
        return min(len(text.split()), self.longest - len((context or "").split()))


class HashVictim:
    """Logits are sums of numbers that a hash gives every word, a little larger for later words. Remembers its calls."""

    passes = 1.0
    sha256 = "hashes"

    def __init__(self, classes: int = 2, *, scale: float = 1.0, longest: int = 100) -> None:
        self.classes, self.scale = classes, scale
        self.labels = tuple(str(label) for label in range(classes))
        self.backbone = HashBackbone(longest)
        self._known: dict[tuple[str, str | None], np.ndarray] = {}
        self.calls: list[list[tuple[str | None, str]]] = []

    def probs64(self, text: str, context: str | None = None) -> np.ndarray:
        """Return the probabilities of one text, as float32 holds them."""
        if (text, context) in self._known:
            return self._known[text, context]
        logits = np.zeros(self.classes)
        words = [*(context or "").split(), *text.split()][: self.backbone.longest]
        for place, word in enumerate(words):
            if word != self.backbone.unknown_token:
                bytes_ = hashlib.blake2b(word.encode(), digest_size=self.classes).digest()
                logits += (np.frombuffer(bytes_, dtype=np.uint8) / 127.5 - 1) * (1 + place / 20) * self.scale
        odds = np.exp(logits - logits.max())
        found = self._known[text, context] = (odds / odds.sum()).astype(np.float32).astype(np.float64)
        return found

    def probs(self, texts: Sequence[str], contexts: Sequence[str] | None = None) -> Tensor:
        pairs = list(zip(contexts or [None] * len(texts), texts, strict=True))
        self.calls.append(pairs)
        rows = [self.probs64(text, context) for context, text in pairs]
        return torch.tensor(np.array(rows).reshape(-1, self.classes), dtype=torch.float32)

    @property
    def asked(self) -> list[str]:
        """All texts that were ever scored."""
        return [text for call in self.calls for _, text in call]


@pytest.fixture
def make_victim() -> Callable[..., HashVictim]:
    """Return the class of victims."""
    return HashVictim


@pytest.fixture
def texts() -> list[str]:
    """60 texts of 1 to 12 words, stop words and punctuation among them."""
    rng = random.Random(0)
    some = [*WORDS, "the", "not", "a", "and", "Warm,", "(clever)", "SCRIPT", "42", "--"]
    return [" ".join(rng.choice(some) for _ in range(rng.randint(1, 12))) for _ in range(60)]
