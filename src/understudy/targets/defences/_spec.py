"""Defences of embeddings as text, see `understudy.targets._chains`, and lists of them."""

import re
from collections.abc import Sequence

from understudy.errors import ConfigError
from understudy.targets._chains import describe_chain, parse_chain
from understudy.targets.defences._table import all_defences
from understudy.targets.defences.base import Defence

_KEY = re.compile(r"\s*\w+\s*=")


def parse_defences(spec: str) -> tuple[Defence, ...]:
    """Return the defences that a spec names, in the order in which they are applied; "none" is ().

    Raises:
        ConfigError: no such defence or option (near names are listed), a value of the wrong type or out of range, an
            option given twice, or a defence that draws from the client's seed twice.

    Example:
        >>> parse_defences("rounding:1+noise:0.1")
        (Rounding(decimals=1), Noise(sigma=0.1, mu=0.0))
    """
    return parse_chain(spec, all_defences())


def describe(defences: Sequence[Defence]) -> str:
    """Return the canonical spec, which `parse_defences` turns into equal defences.

    Example:
        >>> describe(parse_defences("noise:mu=0,sigma=1e-1"))
        'noise:0.1'
    """
    return describe_chain(defences)


def split_defences(text: str) -> list[str]:
    """Return the specs of a comma list; a comma before `key=` belongs to the spec that it stands in.

    Raises:
        ConfigError: there is nothing between two commas, or nothing at all.

    Example:
        >>> split_defences("none,bucket_noise:sigma=0.1,bits=12,topk:5")
        ['none', 'bucket_noise:sigma=0.1,bits=12', 'topk:5']
    """
    specs: list[str] = []
    for piece in text.split(","):
        if specs and _KEY.match(piece):
            specs[-1] += f",{piece.strip()}"
        elif piece.strip():
            specs.append(piece.strip())
        else:
            raise ConfigError(f"an empty defence in {text!r}", expected="specs separated by single commas, or none")
    return specs
