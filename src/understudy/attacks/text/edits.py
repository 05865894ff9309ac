"""Edits of one character in a word, drawn at random: what character attacks are made of.

An edit takes a word and a source of chance, and returns another word, or None where it cannot change this one.
"""

import random
from collections.abc import Callable, Sequence
from string import ascii_lowercase

Edit = Callable[[str, random.Random], str | None]

_LOOKALIKES = {
    "a": "@", "b": "6", "e": "3", "g": "9", "h": "n", "i": "1", "l": "1", "m": "n", "n": "m", "o": "0", "q": "9",
    "s": "5", "t": "7", "u": "v", "v": "u", "w": "v", "z": "2",
}  # fmt: skip
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


def swap(word: str, rng: random.Random) -> str | None:
    """Return the word with two unequal neighbours swapped."""
    return _swapped(word, range(len(word) - 1), rng)


def swap_inside(word: str, rng: random.Random) -> str | None:
    """Return the word with two unequal neighbours swapped, the first and the last letter in their places."""
    return _swapped(word, range(1, len(word) - 2), rng)


def substitute(word: str, rng: random.Random) -> str | None:
    """Return the word with a character replaced by another letter."""
    place = rng.randrange(len(word))
    letter = rng.choice([letter for letter in ascii_lowercase if letter != word[place].lower()])
    return word[:place] + _cased(letter, word[place]) + word[place + 1 :]


def delete(word: str, rng: random.Random) -> str | None:
    """Return the word without one of its characters; None for a word of one."""
    return _deleted(word, range(len(word)), rng) if len(word) > 1 else None


def delete_inside(word: str, rng: random.Random) -> str | None:
    """Return the word without one of its inner characters."""
    return _deleted(word, range(1, len(word) - 1), rng)


def insert(word: str, rng: random.Random) -> str | None:
    """Return the word with a letter put in anywhere."""
    place = rng.randrange(len(word) + 1)
    return word[:place] + _cased(rng.choice(ascii_lowercase), word[max(0, place - 1)]) + word[place:]


def split(word: str, rng: random.Random) -> str | None:
    """Return the word with a space put inside."""
    if len(word) < 2:
        return None
    place = rng.randrange(1, len(word))
    return f"{word[:place]} {word[place:]}"


def mistype(word: str, rng: random.Random) -> str | None:
    """Return the word with a letter replaced by one that looks like it, or by that of a neighbouring key."""
    places = [i for i, character in enumerate(word) if character.lower() in KEYS]
    if not places:
        return None
    place = rng.choice(places)
    letter = word[place].lower()
    near = [*_LOOKALIKES.get(letter, ""), *KEYS[letter]]
    return word[:place] + _cased(rng.choice(near), word[place]) + word[place + 1 :]


def _swapped(word: str, places: Sequence[int], rng: random.Random) -> str | None:
    unequal = [i for i in places if word[i] != word[i + 1]]
    if not unequal:
        return None
    i = rng.choice(unequal)
    return word[:i] + word[i + 1] + word[i] + word[i + 2 :]


def _deleted(word: str, places: Sequence[int], rng: random.Random) -> str | None:
    if not places:
        return None
    place = rng.choice(places)
    return word[:place] + word[place + 1 :]


def _cased(letter: str, model: str) -> str:
    return letter.upper() if model.isupper() else letter


def _keys() -> dict[str, str]:
    """Return the letters on the keys to the left and right of each letter, and above and below it."""
    near: dict[str, str] = {}
    for r, row in enumerate(_ROWS):
        for c, letter in enumerate(row):
            others = [row[c - 1 : c], row[c + 1 : c + 2]]
            others += [_ROWS[s][c : c + 1] for s in (r - 1, r + 1) if 0 <= s < len(_ROWS)]
            near[letter] = "".join(others)
    return near


KEYS = _keys()
"""The neighbours of each letter on a QWERTY keyboard."""
