"""What word-level attacks look words up in; nothing here is opened before an attack is prepared."""

from dataclasses import dataclass
from pathlib import Path

from understudy.errors import DependencyError

WITHOUT_RESOURCES = ("deepwordbug", "textbugger")
"""The attacks that need nothing."""


@dataclass(frozen=True)
class Resources:
    """Files and models that attacks may use; None leaves each at its default place, if it has one."""

    wordnet: Path | None = None
    """Folder of WordNet's own files (index.*, data.*, *.exc)."""
    synonyms: Path | None = None
    """JSON table: word -> list of words, the nearest first."""
    vectors: Path | None = None
    """Text file of word vectors: a word and its numbers on each line."""
    masked_lm: str | None = None
    """Folder of a Transformers model with a masked-language-model head."""
    similarity_encoder: str | None = None
    """Folder of a Transformers sentence encoder."""


def wanted(**asked: bool) -> tuple[str, ...]:
    """Return the names that are asked for."""
    return tuple(name for name, value in asked.items() if value)


def missing_resource(attack: str, what: str, *, fix: str, where: object = None) -> DependencyError:
    """Return the error for an attack whose resource is not there.

    Args:
        attack: the attack's name.
        what: what it looks words up in, such as "WordNet's files".
        fix: what to install or to give.
        where: where it was looked for.
    """
    free = " and ".join(WITHOUT_RESOURCES)
    return DependencyError(f"{attack} needs {what}", where=where, fix=f"{fix}; {free} work without any resource")
