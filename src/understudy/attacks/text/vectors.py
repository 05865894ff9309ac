"""Synonyms as neighbours among word vectors: those of the largest cosine, above a bound."""

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from understudy.errors import DataError


class VectorNeighbours:
    """The words nearest to a word by the cosine of their vectors; a `SynonymSource`.

    TextFooler takes the 50 nearest counter-fitted vectors of cosine at least 0.5 (Jin et al. 2020, section 3).

    Args:
        path: a text file, a word and its numbers on each line, separated by spaces; a first line of two whole numbers
            (count and width, as word2vec and fastText write it) is passed over.
        top: at most so many neighbours of a word.
        cosine: of a neighbour at least, in [-1, 1].

    Raises:
        DataError: there is no such file, a line is damaged, a number is not finite, or widths differ.
    """

    def __init__(self, path: Path, *, top: int = 50, cosine: int | float = 0.5) -> None:
        self.path, self.top, self.cosine = path, top, float(cosine)
        self.words, self._unit = _read_vectors(path)
        self._rows = {word: row for row, word in reversed(list(enumerate(self.words)))}
        self._found: dict[str, list[str]] = {}

    @property
    def summary(self) -> str:
        """What a record says of this source."""
        return f"word vectors {self.path.name}, cosine >= {self.cosine:g}"

    def synonyms(self, word: str) -> Sequence[str]:
        """Return the neighbours of a word (as written, else in lower case), the nearest first; ties in file order."""
        row = self._rows.get(word, self._rows.get(word.lower(), -1))
        if row < 0:
            return ()
        known = self.words[row]
        if known not in self._found:
            self._found[known] = self._nearest(row)
        return self._found[known]

    def _nearest(self, row: int) -> list[str]:
        cosines = self._unit @ self._unit[row]
        near = np.flatnonzero(cosines >= self.cosine)
        order = near[np.argsort(-cosines[near], kind="stable")]
        return [self.words[other] for other in order if other != row][: self.top]


@lru_cache(maxsize=1)
def _read_vectors(path: Path) -> tuple[list[str], NDArray[np.float32]]:
    """Return the words of a file and their vectors of length one, float32 of shape (words, width)."""
    words: list[str] = []
    rows: list[NDArray[np.float32]] = []
    for number, fields in _lines(path):
        vector = _vector(path, number, fields)
        if rows and len(vector) != len(rows[0]):
            raise _damaged(path, number, f"{len(vector)} numbers, where lines before have {len(rows[0])}")
        words.append(fields[0])
        rows.append(vector)
    if not rows:
        raise _damaged(path, 0, "no vectors")
    return words, np.stack(rows)


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                fields = line.split()
                header = number == 1 and len(fields) == 2 and all(field.isdecimal() for field in fields)
                if fields and not header:
                    yield number, fields
    except FileNotFoundError:
        raise DataError(
            "there is no such file of word vectors", where=path, fix="name a text file of them by --vectors"
        ) from None
    except UnicodeDecodeError:
        raise _damaged(path, 0, "bytes that are no text: a binary file of vectors has to be converted first") from None


def _vector(path: Path, number: int, fields: list[str]) -> NDArray[np.float32]:
    try:
        vector = np.array(fields[1:], dtype=np.float64)
    except ValueError:
        raise _damaged(path, number, "a field that is no number") from None
    length = math.sqrt(float(vector @ vector)) if len(vector) else 0.0
    if not math.isfinite(length):
        raise _damaged(path, number, "a number that is not finite")
    if length == 0.0:
        raise _damaged(path, number, "no numbers, or zeros only: such a vector has no direction")
    return (vector / length).astype(np.float32)


def _damaged(path: Path, number: int, what: str) -> DataError:
    return DataError(
        f"this file of word vectors is damaged: {what}",
        where=f"{path}, line {number}" if number else path,
        expected="a word and its numbers on each line, the same count of them on all",
        fix="mend the file, or name another by --vectors",
    )
