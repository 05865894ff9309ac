"""What a classifier of text is worth: on clean sentences, on sentences attacked before, and when attacked itself.

Two protocols, never to be mixed up. *Static*: sentences attacked once, against the clean model, are shown to every
model. *Adaptive*: each model, its gating included, is attacked itself.
"""

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Int64
from torch import Tensor

from understudy.attacks.text.base import Record
from understudy.errors import DataError
from understudy.evaluation.statistics import Interval, wilson
from understudy.models.text.predictor import TextClassifier

_CHUNK = 64
_TIMED = 5


@dataclass(frozen=True)
class Answers:
    """What a model says of some sentences, and how fast."""

    predictions: Int64[Tensor, " n"]
    """The most likely class of each sentence."""
    sentences_per_s: float
    """Median over parts of the sentences, so that a busy moment of the machine does not count."""


@dataclass(frozen=True)
class Tally:
    """How sentences fared under one attack."""

    sentences: int
    success: int
    failed: int
    skipped: int
    """Sentences that were wrong before the attack began."""
    exhausted: int
    """Sentences on which the budget of queries ended the search."""
    no_candidates: int
    """Sentences in which the attack found no word that it could change; they stay as they are."""
    queries: float
    """Mean number of texts asked about, a sentence."""
    changed_share: float | None
    """Mean share of the words changed in the successes; None where there is none."""

    @property
    def accuracy(self) -> Interval:
        """Share of all sentences that stay right: the failed ones."""
        return wilson(self.failed, self.sentences)

    @property
    def success_rate(self) -> Interval | None:
        """Successes among the sentences that were right before; None where none was."""
        tried = self.success + self.failed
        return wilson(self.success, tried) if tried else None


def answers(model: TextClassifier, texts: Sequence[str], contexts: Sequence[str] | None = None) -> Answers:
    """Return a model's predictions, and how many sentences it answers a second.

    Args:
        model: the classifier.
        texts: sentences, one or more.
        contexts: the first text of each pair, where the data are pairs.

    Raises:
        DataError: there are no sentences.
    """
    import torch

    if not texts:
        raise DataError("no sentences to classify", expected="at least one")
    found, rates = [], []
    # Equal parts: a short rest would be timed as if it were slow.
    size = math.ceil(len(texts) / max(1, min(_TIMED, len(texts) // _CHUNK)))
    for start in range(0, len(texts), size):
        part = slice(start, start + size)
        began = time.perf_counter()
        probs = model.probs(texts[part], None if contexts is None else contexts[part])
        rates.append(len(texts[part]) / max(time.perf_counter() - began, 1e-9))
        found.append(probs.argmax(dim=1))
    return Answers(torch.cat(found), statistics.median(rates))


def attacked_texts(records: Sequence[Record]) -> list[str]:
    """Return what the attack left of each sentence; a skipped one counts unchanged."""
    return [one.text if one.status == "skipped" else one.attacked for one in records]


def tally(records: Sequence[Record]) -> Tally:
    """Count how sentences fared under one attack.

    Raises:
        DataError: there are no records.
    """
    if not records:
        raise DataError("no attacked sentences to count", expected="at least one")
    of = {status: [one for one in records if one.status == status] for status in ("success", "failed", "skipped")}
    changed = [one.changed_share for one in of["success"]]
    return Tally(
        sentences=len(records),
        success=len(of["success"]),
        failed=len(of["failed"]),
        skipped=len(of["skipped"]),
        exhausted=sum(one.exhausted for one in records),
        no_candidates=sum(one.no_candidates for one in records),
        queries=math.fsum(one.queries for one in records) / len(records),
        changed_share=math.fsum(changed) / len(changed) if changed else None,
    )
