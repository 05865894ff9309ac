"""Where replacements of a word come from: one protocol, a table of synonyms in JSON, how finds fit into a text."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from understudy.errors import DataError


@runtime_checkable
class SynonymSource(Protocol):
    """Anything that lists words to put in the place of a word, the best first."""

    @property
    def summary(self) -> str:
        """What a record says of this source, in a few words."""

    def synonyms(self, word: str) -> Sequence[str]:
        """Return words in place of `word`, which has no punctuation around it, the best first."""


class SynonymTable:
    """A JSON object of words and the lists of their synonyms, such as `{"fine": ["good", "grand"]}`.

    Words are looked up as they are written, then in lower case.

    Args:
        path: the file.

    Raises:
        DataError: there is no such file, or it is not an object of words and lists of words.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._table = _read_table(path)

    @property
    def summary(self) -> str:
        """What a record says of this source."""
        return f"synonym table {self.path.name}"

    def synonyms(self, word: str) -> Sequence[str]:
        """Return the words listed for a word."""
        return self._table.get(word) or self._table.get(word.lower()) or ()


def replacements(source: SynonymSource, word: str, limit: int) -> list[str]:
    """Return up to `limit` single words to put in the place of a whitespace word of a text, the best first.

    Punctuation around the word stays where it is ("(fine," gives "(good,"), the casing of the word is kept, and what
    differs from the word in casing only is left out.

    Args:
        source: lists the synonyms.
        word: as it stands in the text, without spaces.
        limit: at most so many.
    """
    before, core, after = split_punctuation(word)
    if not core:
        return []
    found = dict.fromkeys(
        keep_casing(core, name)
        for name in source.synonyms(core)
        if name and not re.search(r"[\s_]", name) and name.lower() != core.lower()
    )
    return [f"{before}{name}{after}" for name in list(found)[:limit]]


def split_punctuation(word: str) -> tuple[str, str, str]:
    """Return what stands before a word's letters and digits, the word from the first to the last of them, and the rest.

    Example:
        >>> split_punctuation('"well-made,"')
        ('"', 'well-made', ',"')
    """
    places = [i for i, character in enumerate(word) if character.isalnum()]
    if not places:
        return word, "", ""
    first, end = places[0], places[-1] + 1
    return word[:first], word[first:end], word[end:]


def keep_casing(word: str, replacement: str) -> str:
    """Return a replacement in the casing of the word: all capitals, a capital first, or as it is.

    Example:
        >>> keep_casing("Fine", "good")
        'Good'
    """
    if len(word) > 1 and word.isupper():
        return replacement.upper()
    return replacement[:1].upper() + replacement[1:] if word[:1].isupper() else replacement


def _read_table(path: Path) -> dict[str, list[str]]:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _no_table(path, "there is no such file") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise _no_table(path, f"it cannot be read as JSON: {error}") from None
    if not isinstance(table, dict):
        raise _no_table(path, f"it holds a {type(table).__name__}")
    for word, names in table.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise _no_table(path, f"the entry of {word!r} is no list of words")
    if not any(table.values()):
        raise _no_table(path, "no word of it has a synonym")
    return table


def _no_table(path: Path, what: str) -> DataError:
    return DataError(
        f"this is no table of synonyms: {what}",
        where=path,
        expected='a JSON object of words and lists of words, such as {"fine": ["good", "grand"]}',
        fix="name such a file by --synonyms",
    )
