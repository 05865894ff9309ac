"""What every study of text has in common: a backbone, sentences, attacks, and how much is attacked."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt

from understudy.attacks.text import Resources, TextAttack
from understudy.attacks.text.named import parse_text_attacks
from understudy.errors import ConfigError
from understudy.study.text_values import as_flag

TINY = "tiny"
"""Spec of the encoder that is trained on the spot, without a download."""


class TextSettings(BaseModel):
    """Backbone, data and attacks; each field is a flag of `understudy adapt` and `understudy withstand`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    backbone: Annotated[str, Field(min_length=1)]
    """Frozen language model: a Transformers folder, a hub name, or tiny (trained on the spot, without a download)."""
    data: Annotated[str, Field(min_length=1)]
    """Labelled sentences: reviews (embedded), a name, or a folder with train and test; NAME[:2000] trains on fewer."""
    known: str = "deepwordbug"
    """Attacks that models are trained against, such as deepwordbug,pwws; each may have options: pwws:queries=200."""
    unknown: str = ""
    """Attacks that no model has met in training, such as textbugger."""
    rows: PositiveInt = 150
    """Test sentences that are attacked once, against the clean adapter, and shown to every model (static)."""
    adaptive_rows: NonNegativeInt = 60
    """How many of them every model is attacked on itself (adaptive); 0 leaves that out."""
    clean_rows: PositiveInt | None = 1000
    """Test sentences for clean accuracy, at most; the attacked ones are among them."""
    queries: PositiveInt | None = None
    """Most questions an attack may ask about one sentence; not given, each attack's own limit holds."""
    wordnet: str | None = None
    """Folder of WordNet's files, for pwws and pso (default: where the system keeps them)."""
    synonyms: str | None = None
    """JSON table from words to lists of words, for textfooler."""
    vectors: str | None = None
    """Text file of word vectors, for textfooler and textbugger."""
    masked_lm: str | None = None
    """Folder of a masked language model, for bae."""
    similarity_encoder: str | None = None
    """Folder of a sentence encoder, for attacks that keep the meaning near."""
    text_column: str | None = None
    """Column of the texts, if its name does not tell."""
    context_column: str | None = None
    """Column of the first text of each pair, which no attack changes."""
    label_column: str | None = None
    """Column of the labels, if its name does not tell."""
    max_length: PositiveInt = 64
    """Most tokens of a text that reach the model."""

    def attacks(self) -> tuple[tuple[TextAttack, ...], tuple[TextAttack, ...]]:
        """Return the known and the unknown attacks, within the study's budget of queries.

        Raises:
            ConfigError: an attack is not known, has an option that is not, or stands in both lists.
        """
        known, unknown = (
            parse_text_attacks(text, queries=self.queries, where=flag)
            for text, flag in ((self.known, "--known"), (self.unknown, "--unknown"))
        )
        met = {_kind(other) for other in known}
        if both := [one.spec for one in unknown if _kind(one) in met]:
            raise ConfigError(
                f"{both[0]} is known and unknown at once",
                where="--unknown",
                expected="each attack in one of the lists, whatever its budget of queries",
                fix="name it as known if models are trained against it",
            )
        return known, unknown

    def resources(self) -> Resources:
        """Return what attacks look words up in."""
        return Resources(
            wordnet=_path(self.wordnet),
            synonyms=_path(self.synonyms),
            vectors=_path(self.vectors),
            masked_lm=self.masked_lm,
            similarity_encoder=self.similarity_encoder,
        )

    def check(self) -> None:
        """Refuse settings that contradict each other, before anything is loaded.

        Raises:
            ConfigError: with what is wrong.
        """
        self._check_resources()
        if self.adaptive_rows > self.rows:
            raise ConfigError(
                f"{self.adaptive_rows} sentences for the adaptive protocol and {self.rows} for the static one",
                where="--adaptive-rows",
                expected="at most as many as --rows: they are some of the same sentences",
            )
        if self.clean_rows is not None and self.clean_rows < self.rows:
            raise ConfigError(
                f"{self.clean_rows} sentences for clean accuracy and {self.rows} to attack",
                where="--clean-rows",
                expected="at least as many as --rows: the attacked ones are among them",
            )

    def _check_resources(self) -> None:
        """Refuse a resource that no attack opens: with another attack it may be one that decides."""
        known, unknown = self.attacks()
        resources = self.resources()
        read = {name for attack in (*known, *unknown) for name in attack.reads(resources)}
        given = [one.name for one in fields(Resources) if getattr(resources, one.name) is not None]
        if unread := [as_flag(name) for name in given if name not in read]:
            raise ConfigError(
                f"no attack asked for uses {unread[0]}",
                where=unread[0],
                expected="an attack with it that looks something up there",
                fix="leave it out, or name such an attack; --help says which do",
            )


def with_room(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings in which numbers of sentences that were not given fit those that were."""
    rows, both = given.get("rows"), dict(given)
    if isinstance(rows, int) and rows > 0:
        fields_of = TextSettings.model_fields
        both.setdefault("adaptive_rows", min(rows, fields_of["adaptive_rows"].default))
        both.setdefault("clean_rows", max(rows, fields_of["clean_rows"].default))
    return both


def _kind(attack: TextAttack) -> str:
    """Return the spec of an attack without its budget, which makes no other attack of it."""
    default = type(attack).model_fields["queries"].get_default(call_default_factory=True)
    return attack.model_copy(update={"queries": default}).spec


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
