"""A text as its whitespace words, so that one word can be changed and everything else stays as it was."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

_SPACE = re.compile(r"(\s+)")


@dataclass(frozen=True)
class Words:
    """The whitespace words of a text with what stands between them; positions are those of the original text.

    A word that was changed may hold a space or be empty: it still stands at its position.
    """

    words: tuple[str, ...]
    spaces: tuple[str, ...]
    """Before each word, and after the last one: one more than words."""
    unknown: str = "[UNK]"
    """How the victim's tokenizer writes a word that it does not know."""

    @classmethod
    def of(cls, text: str, *, unknown: str = "[UNK]") -> "Words":
        """Return the words of a text; `text` gives it back, character by character.

        Example:
            >>> Words.of(" a  fine film").words
            ('a', 'fine', 'film')
        """
        pieces = _SPACE.split(text)  # words at even places; the first or the last is empty beside outer spaces
        lead = pieces[1] if len(pieces) > 1 and not pieces[0] else ""
        tail = pieces[-2] if len(pieces) > 1 and not pieces[-1] else ""
        words = tuple(piece for piece in pieces[::2] if piece)
        if not words:
            return cls((), (text,), unknown)
        between = tuple(pieces[i] for i in range(1, len(pieces), 2) if pieces[i - 1] and pieces[i + 1])
        return cls(words, (lead, *between, tail), unknown)

    @property
    def text(self) -> str:
        """The text."""
        inner = "".join(space + word for space, word in zip(self.spaces, self.words, strict=False))
        return inner + self.spaces[-1]

    def with_word(self, position: int, word: str) -> "Words":
        """Return the words with another one at a position."""
        return self.with_words({position: word})

    def with_words(self, words: Mapping[int, str]) -> "Words":
        """Return the words with others at some positions."""
        return replace(self, words=tuple(words.get(i, old) for i, old in enumerate(self.words)))

    def blanked(self, position: int) -> str:
        """Return the text with the unknown token in the place of a word."""
        return self.with_word(position, self.unknown).text

    def without(self, position: int) -> str:
        """Return the text without the word at a position and without the space before it (after it, for the first)."""
        drop = position or 1
        spaces = tuple(space for i, space in enumerate(self.spaces) if i != drop)
        return Words(self.words[:position] + self.words[position + 1 :], spaces).text if len(self) > 1 else ""

    def changed(self, other: "Words") -> tuple[int, ...]:
        """Return the positions at which the words differ from those of another text of as many words."""
        return tuple(i for i, (a, b) in enumerate(zip(self.words, other.words, strict=True)) if a != b)

    def __len__(self) -> int:
        return len(self.words)
