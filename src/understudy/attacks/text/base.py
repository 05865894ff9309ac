"""What every attack on sentences is: a sentence goes in, a search asks the victim, a record comes out.

A search is a coroutine. It yields texts that it wants scored and is sent their probabilities, so that one scheduler
(`understudy.attacks.text.search`) runs many searches side by side and merges what they ask for into common batches.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64
from pydantic import BaseModel, ConfigDict, PositiveInt

from understudy.attacks.text.resources import Resources
from understudy.attacks.text.words import Words
from understudy.errors import IntegrityError
from understudy.models.text.predictor import TextClassifier

Status = Literal["success", "failed", "skipped"]
"""Misclassified in the end; still right; wrong before anything was changed."""


@dataclass(frozen=True)
class Sentence:
    """A text to attack with its true label."""

    text: str
    """What may be changed: of a pair the second text."""
    label: int
    row: int
    """Its row in the data set: names the sentence and seeds its search."""
    context: str | None = None
    """The first text of a pair, which stays as it is."""


@dataclass(frozen=True)
class Record:
    """What came of attacking one sentence."""

    attack: str
    """The attack's spec."""
    row: int
    text: str
    attacked: str
    """The best text found; of a failed attack it may differ from the text, and is still classified right."""
    label: int
    status: Status
    queries: int
    """Evaluations of one text by the victim, that of the unchanged text included."""
    changed: tuple[int, ...]
    """Positions of changed words among the whitespace words of the text."""
    exhausted: bool
    """Whether the budget of queries ended the search."""
    no_candidates: bool
    """Whether no word could be changed at all."""
    score_before: float
    """1 - p[label] of the text."""
    score_after: float
    """1 - p[label] of the attacked text."""
    predicted_before: int
    predicted_after: int
    context: str | None = None

    @property
    def changed_share(self) -> float:
        """Share of the text's words that were changed; 0 for a text without words."""
        return len(self.changed) / max(1, len(self.text.split()))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, which `from_json` turns into an equal record."""
        return {**asdict(self), "changed": list(self.changed)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Record":
        """Return the record that `to_json` wrote.

        Raises:
            IntegrityError: the values are not those of a record.
        """
        if values.keys() != {field.name for field in fields(cls)} or not isinstance(values["changed"], list):
            raise IntegrityError("this is not the record of an attacked sentence", expected="what Record.to_json gives")
        return cls(**{**values, "changed": tuple(values["changed"])})


@dataclass(frozen=True)
class Found:
    """What a search ends with: words that it had scored, at the positions of the original ones."""

    words: Words
    no_candidates: bool = False
    """Whether no word of the sentence had a candidate."""


Search = Generator[list[str], Float64[np.ndarray, "q c"], Found]
"""Yields texts to score, is sent the probabilities of each, and returns what it found.

An answer with fewer rows than texts were asked for says that the budget is used up: the rows belong to the first texts,
and the search returns what it has. A text asked again is answered from memory and costs nothing.
"""


@runtime_checkable
class Searcher(Protocol):
    """An attack with everything loaded; one object serves all sentences."""

    def search(self, sentence: Sentence, words: Words, visible: int, rng: random.Random) -> Search:
        """Begin to search one sentence, which the victim classifies right.

        Args:
            sentence: the sentence.
            words: its words.
            visible: how many of them reach the victim before truncation; only those are worth changing.
            rng: the sentence's own source of chance.
        """
        ...


@runtime_checkable
class Runner(Protocol):
    """An attack that brings its own loop, such as another library's: it is handed the victim itself."""

    def attack(self, victim: TextClassifier, sentences: Sequence[Sentence], *, seed: int) -> list[Record]:
        """Return a record for each sentence, in their order."""
        ...


class TextAttack(BaseModel, ABC):
    """Base of all attacks on sentences: the fields of a subclass are its options.

    A default is part of the file format: `spec` leaves it out, so it must never change.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: ClassVar[str]
    label: ClassVar[str]
    """As papers print it."""
    summary: ClassVar[str]
    paper: ClassVar[str]
    fidelity: ClassVar[Literal["paper", "official", "instantiation"]]
    level: ClassVar[Literal["character", "word"]]
    needs: ClassVar[tuple[str, ...]] = ()
    """Resources in words; none for an attack that runs anywhere."""
    positional: ClassVar[str | None] = None
    """The field that takes a value without a name in a spec, as in `textattack:RECIPE`."""

    queries: PositiveInt | None = 500
    """Most evaluations of one text by the victim, per sentence; none is no limit."""
    max_candidates: PositiveInt = 10
    """Most replacements tried for a word."""

    @property
    def spec(self) -> str:
        """The canonical text that `parse_text_attacks` turns into an equal attack."""
        parts = [self.name]
        for field, info in type(self).model_fields.items():
            value = getattr(self, field)
            if value != info.get_default(call_default_factory=True):
                text = "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
                parts.append(text if field == self.positional else f"{field}={text}")
        return ":".join(parts)

    def constraints(self) -> tuple[str, ...]:
        """Return in words what keeps the attacked text near the original, and what is switched off."""
        return ()

    def reads(self, resources: Resources) -> tuple[str, ...]:  # noqa: ARG002 - most need none
        """Return the fields of `Resources` that the attack opens with its options."""
        return ()

    @abstractmethod
    def prepare(self, resources: Resources) -> Searcher | Runner:
        """Load what the attack looks words up in, once for all sentences.

        Raises:
            DependencyError: a resource is not there; the message says what to install, and which attacks need none.
            ConfigError: a resource is not of the kind that is needed.
        """
