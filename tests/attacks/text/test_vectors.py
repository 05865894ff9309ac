"""Neighbours among word vectors against a slow search, and damaged files."""

from pathlib import Path

import numpy as np
import pytest

from understudy.attacks.text.vectors import VectorNeighbours
from understudy.errors import DataError


def write(path: Path, vectors: dict[str, list[float]], *, header: bool = False) -> Path:
    lines = [f"{word} {' '.join(f'{number:.6f}' for number in numbers)}\n" for word, numbers in vectors.items()]
    width = len(next(iter(vectors.values())))
    path.write_text((f"{len(vectors)} {width}\n" if header else "") + "".join(lines), encoding="utf-8")
    return path


def test_neighbours_by_hand(tmp_path: Path) -> None:
    vectors = {"a": [1.0, 0.0], "b": [0.8, 0.6], "c": [0.0, 2.0], "d": [3.0, 0.1], "e": [1.0, 1.8]}
    near = VectorNeighbours(write(tmp_path / "v.txt", vectors))
    assert list(near.synonyms("a")) == ["d", "b"]  # cosines 0.9994, 0.8; e has 0.486
    assert list(near.synonyms("A")) == ["d", "b"]
    assert list(near.synonyms("c")) == ["e", "b"]
    assert list(near.synonyms("z")) == []
    assert "0.5" in near.summary


@pytest.mark.parametrize("header", [False, True])
def test_neighbours_equal_a_slow_search(tmp_path: Path, header: bool) -> None:
    rng = np.random.default_rng(0)
    vectors = {f"w{i}": rng.normal(size=5).round(6).tolist() for i in range(80)}
    near = VectorNeighbours(write(tmp_path / "v.txt", vectors, header=header), top=6, cosine=0.3)
    assert len(near.words) == 80
    for word, vector in list(vectors.items())[:20]:
        cosines = {
            other: float(np.dot(vector, v) / np.linalg.norm(vector) / np.linalg.norm(v)) for other, v in vectors.items()
        }
        expected = sorted((w for w in vectors if w != word and cosines[w] >= 0.3), key=lambda w: -cosines[w])[:6]
        assert list(near.synonyms(word)) == expected


def test_the_first_of_a_repeated_word_counts(tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    path.write_text("a 1 0\nb 1 0.1\na 0 1\nc 0.1 1\n")
    assert list(VectorNeighbours(path).synonyms("a")) == ["b"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a 1 0\nb 1\n", "line 2"),
        (b"a 1 0\nb 1 x\n", "no number"),
        (b"a 1 0\nb nan 1\n", "not finite"),
        (b"a 1 0\nb inf 1\n", "not finite"),
        (b"a 1 0\nb 0 0\n", "zeros only"),
        (b"a 1 0\nb\n", "zeros only"),
        (b"\xff\xfe\x00\x01", "no text"),
        (b"", "no vectors"),
        (b"2 2\n", "no vectors"),
    ],
)
def test_damaged_vectors_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "v.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        VectorNeighbours(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--vectors"):
        VectorNeighbours(tmp_path / "none.txt")
