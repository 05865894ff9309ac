"""What an attack looks words up in, as the account of its sentences keeps it: digests of contents, not paths."""

import hashlib
from functools import lru_cache
from pathlib import Path

from understudy.attacks.text.base import TextAttack
from understudy.attacks.text.resources import Resources
from understudy.attacks.text.wordnet import find_wordnet
from understudy.runs.files import sha256_file

_WORDNET = ("index.*", "data.*", "*.exc")
_MODEL = ("*.json", "*.txt", "*.model", "*.safetensors")


def resource_digests(attack: TextAttack, resources: Resources) -> dict[str, str]:
    """Return the SHA-256 of everything that an attack with these options opens, by the name of the resource.

    A model that is named on a hub stands by its name.

    Raises:
        DependencyError: WordNet is needed and not there.
    """
    found = {}
    for name in attack.reads(resources):
        given = find_wordnet(resources.wordnet).folder if name == "wordnet" else getattr(resources, name)
        if given is not None:
            place = Path(given).expanduser()
            patterns = _WORDNET if name == "wordnet" else _MODEL
            found[name] = _digest(place, patterns) if place.exists() else str(given)
    return found


@lru_cache(maxsize=16)
def _digest(place: Path, patterns: tuple[str, ...]) -> str:
    """Return the digest of a file, or of a folder's files of some patterns; once a process for each."""
    if place.is_file():
        return sha256_file(place)
    total = hashlib.sha256()
    for path in sorted({path for pattern in patterns for path in place.glob(pattern)}):
        total.update(f"{path.name} {sha256_file(path)}\n".encode())
    return total.hexdigest()
