"""Chains as text: `noise:0.1`, `noise:sigma=0.1,mu=0.2`, and `rounding:1+noise:0.1`, applied from left to right.

Defences of embeddings and of classifiers are read by the same rules from tables of their own. The canonical form gives
the main option as a bare value, names the others in the order of the class, and leaves defaults out, so that equal
chains have equal specs.
"""

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from understudy.errors import ConfigError, nearest

LINK = re.compile(r"\+(?!\d)")
"""What joins two defences; the plus of 1e+3 does not."""
_EXPECTED = "none, or defences joined by +, each name, name:value or name:key=value,key=value"


class Link(BaseModel):
    """One defence of a chain, as text knows it: the fields of a subclass are its options.

    A default is part of the file format: the canonical form leaves it out, so it must never change.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    name: ClassVar[str]
    """Its name in specs."""
    main: ClassVar[str | None] = None
    """The option that a bare value sets: `noise:0.1` is `noise:sigma=0.1`."""
    summary: ClassVar[str]
    """One line on what the owner does to the answers."""
    random: ClassVar[bool]
    """Whether the same input on another occasion gets another answer."""
    personal: ClassVar[bool]
    """Whether it depends on the client: on its seed, or on what it asked before."""


L = TypeVar("L", bound=Link)


def parse_chain(spec: str, known: Mapping[str, type[L]]) -> tuple[L, ...]:
    """Return the defences that a spec names, in the order in which they are applied; "none" is ().

    Args:
        spec: of the chain.
        known: the defences that may stand in it, by name.

    Raises:
        ConfigError: no such defence or option (near names are listed), a value of the wrong type or out of range, an
            option given twice, or a defence that draws from the client's seed twice.
    """
    if spec.strip() == "none":
        return ()
    chain = tuple(_parse_one(link.strip(), spec, known) for link in LINK.split(spec))
    names = [defence.name for defence in chain if defence.personal]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(
                f"{name!r} stands twice in one chain",
                where=f"defence {spec!r}",
                expected="a defence that draws from the client's seed once: the second would repeat the first's draws",
            )
    return chain


def describe_chain(chain: Sequence[Link]) -> str:
    """Return the canonical spec, which `parse_chain` turns into equal defences; of no defence "none"."""
    return "+".join(map(_describe_one, chain)) or "none"


def _parse_one(text: str, spec: str, known: Mapping[str, type[L]]) -> L:
    where = f"defence {spec!r}"
    name, colon, rest = text.partition(":")
    name = name.strip()
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


def _option(kind: type[Link], item: str, *, first: bool, where: str) -> tuple[str, str]:
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


def _describe_one(link: Link) -> str:
    options: list[str] = []
    for key, value in link:
        if value == type(link).model_fields[key].default:
            continue
        if key == link.main:
            options.insert(0, str(value))
        else:
            options.append(f"{key}={value}")
    return link.name + (":" + ",".join(options) if options else "")


def _refusal(kind: type[Link], error: ValidationError, where: str) -> ConfigError:
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
