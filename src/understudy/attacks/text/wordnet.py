"""A reader of WordNet's own database files: base forms, parts of speech and synonyms, without another package.

Miller, "WordNet: a lexical database for English" (CACM 1995), format as in the manual pages wndb(5WN) and morphy(7WN).
The four indexes are read into dictionaries, the data files are mapped into memory and read a synset at a time. Offsets
are bytes of one distribution's files (Debian's `data.adj` is a byte longer than Princeton's): files never mix.
"""

import mmap
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from understudy.errors import DependencyError, IntegrityError

ENVIRONMENT = "WNSEARCHDIR"
"""WordNet's own environment variable for the folder of its files."""
DEBIAN_FOLDER = Path("/usr/share/wordnet")
"""Where Debian's package `wordnet-base` puts them."""
PARTS = ("noun", "verb", "adj", "adv")
"""Parts of speech, in the order in which synsets of a word are listed."""
WITHOUT_WORDNET = (
    "without it work deepwordbug and textbugger, and with --synonyms TABLE.json pwws:source=synonyms, "
    "pso:source=synonyms and textfooler:word_class=false"
)

_RULES = {
    "noun": "s: ses:s xes:x zes:z ches:ch shes:sh men:man ies:y",
    "verb": "s: ies:y es:e es: ed:e ed: ing:e ing:",
    "adj": "er: est: er:e est:e",
    "adv": "",
}
"""Suffixes and what takes their place: the rules of detachment of morphy(7WN)."""
_SUFFIXES = {part: [rule.split(":") for rule in rules.split()] for part, rules in _RULES.items()}


class WordNet:
    """One folder of WordNet's files, read on demand.

    Args:
        folder: holds `index.*`, `data.*` and `*.exc` for noun, verb, adj and adv, all of one distribution.

    Raises:
        DependencyError: there is no such folder, or files are missing from it.
        IntegrityError: the files are cut short, or are not WordNet's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        _check_present(folder)
        self._index = {part: _read_index(folder / f"index.{part}") for part in PARTS}
        self._exceptions = {part: _read_exceptions(folder / f"{part}.exc") for part in PARTS}
        self._data = {part: _mapped(folder / f"data.{part}") for part in PARTS}
        for part in PARTS:
            self._check_sample(part)

    @property
    def summary(self) -> str:
        """What a record says of this source."""
        return "WordNet"

    def lemmas(self, word: str, part: str) -> list[str]:
        """Return the base forms of a word that WordNet knows as this part of speech, the word itself first.

        The list of exceptions is asked first, then the suffix rules of morphy(7WN), each applied once.
        """
        form, index = word.lower(), self._index[part]
        bases = self._exceptions[part].get(form)
        if bases is None:
            bases = [form[: len(form) - len(old)] + new for old, new in _SUFFIXES[part] if form.endswith(old)]
        return [base for base in dict.fromkeys([form, *bases]) if base in index]

    def parts_of_speech(self, word: str) -> frozenset[str]:
        """Return the parts of speech ("noun", "verb", "adj", "adv") that a word can have; empty for unknown words."""
        return frozenset(part for part in PARTS if self.lemmas(word, part))

    def synsets(self, word: str, part: str | None = None) -> Iterator[list[str]]:
        """Yield the words of each synset of a word, in the order of its senses; underscores stand for spaces in them.

        Raises:
            IntegrityError: an offset of the index is not the beginning of a synset.
        """
        for each in PARTS if part is None else (part,):
            for lemma in self.lemmas(word, each):
                for offset in self._offsets(lemma, each):
                    yield self._words(each, offset)

    def synonyms(self, word: str) -> list[str]:
        """Return the single words of all synsets of a word, each once, the word itself left out."""
        found = (name for names in self.synsets(word) for name in names if "_" not in name)
        return [name for name in dict.fromkeys(found) if name.lower() != word.lower()]

    def _offsets(self, lemma: str, part: str) -> list[int]:
        fields = self._index[part][lemma].split()
        count = int(fields[1])
        return [int(field) for field in fields[-count:]]

    def _words(self, part: str, offset: int) -> list[str]:
        data = self._data[part]
        end = data.find(b"\n", offset)
        line = data[offset:end].split(b" ") if end > 0 else []
        if len(line) < 6 or line[0] != f"{offset:08d}".encode():
            raise _broken(self.folder / f"data.{part}", f"no synset begins at byte {offset}, where the index says so")
        count = int(line[3], 16)
        return [_without_marker(name.decode()) for name in line[4 : 4 + 2 * count : 2]]

    def _check_sample(self, part: str) -> None:
        """Read the last synset that the index names and those of some words: files that do not fit together fail."""
        index = self._index[part]
        if not index:
            raise _broken(self.folder / f"index.{part}", "it holds no words")
        words = list(index)
        try:
            named = {offset for word in words[:: max(1, len(words) // 50)] for offset in self._offsets(word, part)}
            last = max(int(line.rsplit(maxsplit=1)[-1]) for line in index.values())
        except (ValueError, IndexError):
            raise _broken(self.folder / f"index.{part}", "a line does not end in offsets of synsets") from None
        for offset in sorted(named | {last}):
            self._words(part, offset)
        data = self._data[part]
        end = data.rfind(b"\n", 0, len(data) - 1) + 1
        lemma = self._words(part, end)[0].lower()
        if lemma not in index or end not in self._offsets(lemma, part):
            raise _broken(self.folder / f"index.{part}", f"it does not know {lemma!r}, the last synset of data.{part}")


def find_wordnet(folder: Path | None = None) -> WordNet:
    """Return WordNet from a folder, else from `WNSEARCHDIR`, else from Debian's folder; read once a process.

    Raises:
        DependencyError: none of them holds WordNet's files; says what to install and what works without.
        IntegrityError: the files are damaged.
    """
    if folder is None:
        named = os.environ.get(ENVIRONMENT)
        folder = Path(named) if named else DEBIAN_FOLDER
    return _opened(folder.resolve())


@lru_cache(maxsize=1)
def _opened(folder: Path) -> WordNet:
    return WordNet(folder)


def _check_present(folder: Path) -> None:
    names = [f"{kind}.{part}" for part in PARTS for kind in ("index", "data")] + [f"{part}.exc" for part in PARTS]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        some = ", ".join(missing[:4]) + (" ..." if len(missing) > 4 else "")
        raise DependencyError(
            "WordNet's files are missing" if folder.is_dir() else "there is no folder of WordNet's files",
            where=f"{folder} (looked for {some})",
            expected="index.*, data.* and *.exc of WordNet 3",
            fix="install Debian's package wordnet-base (apt install wordnet-base), or name the folder by --wordnet or "
            f"{ENVIRONMENT}; {WITHOUT_WORDNET}",
        )


def _read_index(path: Path) -> dict[str, str]:
    """Return, for each lemma, the rest of its line; the last fields of it are the offsets of its synsets."""
    entries = {}
    for line in _text(path).splitlines():
        if line.startswith(" "):
            continue
        lemma, _, rest = line.partition(" ")
        if not rest:
            raise _broken(path, f"a line holds {lemma[:30]!r} and nothing else")
        entries[lemma] = rest
    return entries


def _read_exceptions(path: Path) -> dict[str, list[str]]:
    return {form: bases for form, *bases in (line.split() for line in _text(path).splitlines() if line.strip())}


def _text(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise _broken(path, "it is not text") from None
    if not text.endswith("\n"):
        raise _broken(path, "its last line is cut short")
    return text


def _mapped(path: Path) -> mmap.mmap:
    if path.stat().st_size == 0:
        raise _broken(path, "it is empty")
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _without_marker(name: str) -> str:
    """Strip an adjective's syntactic marker: (a), (p) or (ip)."""
    return name.partition("(")[0] if name.endswith(")") else name


def _broken(path: Path, what: str) -> IntegrityError:
    return IntegrityError(
        f"this file is damaged or not WordNet's: {what}",
        where=path,
        expected="the files of one distribution of WordNet 3, whole",
        fix="install Debian's package wordnet-base again, or name another folder by --wordnet",
    )
