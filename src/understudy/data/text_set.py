"""Labelled sentences, checked once, so that nothing later has to ask."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Int64
from torch import Tensor

from understudy.errors import DataError

TextSplit = Literal["train", "validation", "test"]


@dataclass(frozen=True, eq=False)
class TextSet:
    """Sentences with a class each, and where a task is about pairs a context each.

    Args:
        name: what the set is called in reports.
        split: "train", "validation" or "test".
        texts: the sentences, which attacks may change. At least one.
        labels: class indices into `classes`, on the CPU. Shape (n,).
        classes: names of the classes.
        contexts: what stands before each sentence (a premise, a question), which nothing changes; None without.

    Raises:
        DataError: no rows, lengths that differ, fewer than two classes, or a label outside the classes.
    """

    name: str
    split: TextSplit
    texts: tuple[str, ...]
    labels: Int64[Tensor, " n"]
    classes: tuple[str, ...]
    contexts: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        where = f"{self.name}, split {self.split}"
        if not self.texts:
            raise DataError("the data set is empty", where=where, expected="at least one row")
        lengths = {len(self.texts), len(self.labels), len(self.texts if self.contexts is None else self.contexts)}
        if len(lengths) > 1:
            raise DataError(f"columns of {sorted(lengths)} rows", where=where, expected="one length for all")
        if len(self.classes) < 2:
            raise DataError(f"{len(self.classes)} class", where=where, expected="at least two classes")
        low, high = torch.stack(self.labels.aminmax()).tolist()
        if low < 0 or high >= len(self.classes):
            raise DataError(
                f"label {low if low < 0 else high} lies outside the {len(self.classes)} classes",
                where=where,
                expected=f"labels 0 to {len(self.classes) - 1}",
            )

    def __len__(self) -> int:
        """Return the number of sentences."""
        return len(self.texts)

    def take(self, rows: Int64[Tensor, " k"] | Iterable[int]) -> "TextSet":
        """Return the sentences at `rows`, in that order."""
        chosen = rows.tolist() if isinstance(rows, Tensor) else list(rows)
        return replace(
            self,
            texts=tuple(self.texts[row] for row in chosen),
            labels=self.labels[torch.tensor(chosen, dtype=torch.int64)],
            contexts=None if self.contexts is None else tuple(self.contexts[row] for row in chosen),
        )

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the sentences, contexts, labels and classes, in their order; the name does not count."""
        content = [self.classes, self.texts, self.contexts, self.labels.tolist()]
        return hashlib.sha256(json.dumps(content, ensure_ascii=True).encode()).hexdigest()

    @cached_property
    def repeated(self) -> int:
        """Number of rows whose sentence (and context) stood in an earlier row already, blanks and case aside."""
        return len(self) - len(self._keys())

    def without(self, other: "TextSet") -> tuple["TextSet", int]:
        """Return the rows whose sentence (and context) does not stand in `other`, and how many were left out.

        What is trained on must not be what is tested on; sentences that differ in blanks or case alone are the same.

        Raises:
            DataError: no row is left.
        """
        theirs = other._keys()
        kept = [row for row in range(len(self)) if self._key(row) not in theirs]
        if not kept:
            raise DataError(
                f"every sentence of the {self.split} split stands in the {other.split} split too",
                where=f"{self.name} and {other.name}",
                expected="sentences to train on that are not tested on",
                fix="use different files for the two splits",
            )
        return (self if len(kept) == len(self) else self.take(kept)), len(self) - len(kept)

    def with_classes(self, classes: Sequence[str]) -> "TextSet":
        """Return the set with its labels counted in other classes, those of the split that a model was trained on.

        Raises:
            DataError: a class of this set that has rows is not among them.
        """
        if tuple(classes) == self.classes:
            return self
        counts = torch.bincount(self.labels, minlength=len(self.classes)).tolist()
        unseen = [name for name, count in zip(self.classes, counts, strict=True) if count and name not in classes]
        if unseen:
            raise DataError(
                f"labels that training never shows: {', '.join(map(repr, unseen[:5]))}",
                where=f"{self.name}, split {self.split}",
                expected=f"the classes {', '.join(map(repr, list(classes)[:20]))}",
                fix="check the label column, or train on data that hold every class",
            )
        index = [list(classes).index(name) if name in classes else 0 for name in self.classes]
        return replace(self, labels=torch.tensor(index, dtype=torch.int64)[self.labels], classes=tuple(classes))

    def _keys(self) -> set[tuple[str, str]]:
        return {self._key(row) for row in range(len(self))}

    def _key(self, row: int) -> tuple[str, str]:
        context = "" if self.contexts is None else self.contexts[row]
        return _plain(self.texts[row]), _plain(context)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
