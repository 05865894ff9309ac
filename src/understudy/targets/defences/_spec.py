"""Defences as text: `noise:0.1`, `noise:sigma=0.1,mu=0.2`, and chains `rounding:1+noise:0.1`, left to right.

The canonical form gives the main option as a bare value, names the others in the order of the class, and leaves
defaults out, so that equal chains have equal specs.
"""

import re
from collections.abc import Sequence

from pydantic import ValidationError

from understudy.errors import ConfigError, nearest
from understudy.targets.defences._table import all_defences
from understudy.targets.defences.base import Defence

_LINK = re.compile(r"\+(?!\d)")  # the plus of 1e+3 joins no defences
_KEY = re.compile(r"\s*\w+\s*=")
_EXPECTED = "none, or defences joined by +, each name, name:value or name:key=value,key=value"


def parse_defences(spec: str) -> tuple[Defence, ...]:
    """Return the defences that a spec names, in the order in which they are applied; "none" is ().

    Raises:
        ConfigError: no such defence or option (near names are listed), a value of the wrong type or out of range, an
            option given twice, or a defence that draws from the client's seed twice.

    Example:
        >>> parse_defences("rounding:1+noise:0.1")
        (Rounding(decimals=1), Noise(sigma=0.1, mu=0.0))
    """
    if spec.strip() == "none":
        return ()
    chain = tuple(_parse_one(link.strip(), spec) for link in _LINK.split(spec))
    names = [defence.name for defence in chain if defence.personal]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(
                f"{name!r} stands twice in one chain",
                where=f"defence {spec!r}",
                expected="a defence that draws from the client's seed once: the second would repeat the first's draws",
            )
    return chain


def describe(defences: Sequence[Defence]) -> str:
    """Return the canonical spec, which `parse_defences` turns into equal defences.

    Example:
        >>> describe(parse_defences("noise:mu=0,sigma=1e-1"))
        'noise:0.1'
    """
    return "+".join(map(_describe_one, defences)) or "none"


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


def _parse_one(text: str, spec: str) -> Defence:
    where = f"defence {spec!r}"
    name, colon, rest = text.partition(":")
    name, known = name.strip(), all_defences()
    if not name or (colon and not rest.strip()):
        raise ConfigError(f"cannot read {text!r} as a defence", where=where, expected=_EXPECTED)
    if name not in known:
        fix = "" if name != "none" else "leave it out of the chain"
        raise ConfigError(f"there is no defence {name!r}", where=where, expected=nearest(name, known), fix=fix)
    kind = known[name]
    options: dict[str, str] = {}
    for position, item in enumerate(rest.split(",") if colon else []):
        key, value = _option(kind, item, first=position == 0, where=where)
        if key in options:
            raise ConfigError(f"option {key!r} is given twice", where=where)
        options[key] = value
    try:
        return kind.model_validate(options)
    except ValidationError as error:
        raise _refusal(kind, error, where) from None


def _option(kind: type[Defence], item: str, *, first: bool, where: str) -> tuple[str, str]:
    key, equals, value = (part.strip() for part in item.partition("="))
    if not equals and first and key:
        if kind.main is None:
            fix = f"options: {', '.join(kind.model_fields)}" if kind.model_fields else "it has no options"
            raise ConfigError(f"{kind.name!r} takes no bare value ({key!r})", where=where, fix=fix)
        return kind.main, key
    if not (key and value):
        raise ConfigError(f"cannot read {item!r} as an option", where=where, expected=_EXPECTED)
    if key not in kind.model_fields:
        choices = nearest(key, kind.model_fields) if kind.model_fields else "no options"
        raise ConfigError(f"{kind.name!r} has no option {key!r}", where=where, expected=choices)
    return key, value


def _describe_one(defence: Defence) -> str:
    options: list[str] = []
    for key, value in defence:
        if key == defence.main:
            options.insert(0, str(value))
        elif value != type(defence).model_fields[key].default:
            options.append(f"{key}={value}")
    return defence.name + (":" + ",".join(options) if options else "")


def _refusal(kind: type[Defence], error: ValidationError, where: str) -> ConfigError:
    """Return the first fault that pydantic found, in a user's words."""
    fault = error.errors()[0]
    reason = fault["msg"].removeprefix("Value error, ")
    if not fault["loc"]:  # of several options together
        return ConfigError(f"{kind.name}: {reason}", where=where)
    key = str(fault["loc"][0])
    missing = fault["type"] == "missing"
    return ConfigError(
        f"{kind.name!r} needs a value, its {key}"
        if missing
        else f"{key} of {kind.name!r} cannot be {fault['input']!r}",
        where=where,
        expected=f"for example {kind.name}:{key}=VALUE" if missing else reason,
        fix=f"{key}: {kind.model_fields[key].description}",
    )
