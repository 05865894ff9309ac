"""Which methods a study of text trains, as text: `clean_adapter,adpmixup:rule=pairwise,adpmixup:rule=clean_range`."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from understudy import catalogue
from understudy.errors import ConfigError, nearest
from understudy.methods.option_names import flag_name
from understudy.methods.text_method import TextMethod
from understudy.study.job import defaults, merged
from understudy.study.text_values import checked

CLEAN = "clean"
"""Key of slot 0: the adapter trained on clean sentences, which every study has."""
SLOT_0 = "clean_adapter"
"""The method that is slot 0 and nothing else."""
_MORE = re.compile(r"\s*\w+\s*=")
_TELLING = ("preset", "rule", "attack", "scope", "kind", "selection", "mix")
"""Options whose values say by themselves what they are."""
_EXPECTED = "NAME or NAME:key=value:key=value, separated by commas"


@dataclass(frozen=True)
class Chosen:
    """A method with its values."""

    key: str
    """Its name in records: the method, and the options that were given."""
    name: str
    """In the catalogue."""
    method: TextMethod
    options: Mapping[str, Any]
    """What was given by name, apart from what all methods share."""
    preset: str | None = None

    @property
    def label(self) -> str:
        """What tables call it."""
        told = ", ".join(_told(name, value) for name, value in self.options.items())
        label = catalogue.entry(self.name).label or self.name
        return f"{label} ({told})" if told else label

    @property
    def fidelity(self) -> str:
        """Whether it follows a paper, the authors' code, or is our own instantiation."""
        return type(self.method).fidelity


def text_method(
    name: str, *, preset: str | None, options: Mapping[str, Any], named: Mapping[str, str] | None = None
) -> TextMethod:
    """Return a method of `understudy adapt` with the preset's values, overridden by the options.

    Args:
        name: in the catalogue.
        preset: named values of the method's options.
        options: nested as fields are.
        named: of options that were given otherwise than by a flag, where they were.

    Raises:
        ConfigError: the method, the preset or an option is unknown or out of range.
    """
    catalogue.entry(name, verb="adapt")
    cls: Any = catalogue.load(name, verb="adapt")
    base = cls.preset(preset).model_dump() if preset else defaults(cls)
    method: TextMethod = checked(cls, merged(base, options), where=f"options of {name}", named=named)
    return method


def choose_methods(
    specs: Iterable[str], *, preset: str | None = None, options: Mapping[str, Any] | None = None
) -> tuple[Chosen, ...]:
    """Resolve the methods of a study; one that is slot 0 itself is left to slot 0.

    Args:
        specs: NAME or NAME:key=value:key=value each; the key `preset` names values of its own.
        preset: of every method that has it.
        options: of every method that has them, nested as fields are.

    Raises:
        ConfigError: a method, preset or option is unknown, or two methods are the same.
    """
    found: dict[str, Chosen] = {}
    listed = [spec.strip() for spec in specs]
    presets = 0
    for spec in listed:
        one, has_preset = _chosen(spec, preset, options or {})
        presets += has_preset
        if one.key in found or any(one.method == other.method for other in found.values()):
            raise ConfigError(f"{spec} is listed twice", where="--methods", fix="name each method once")
        found[one.key] = one
    if preset is not None and not presets:
        raise ConfigError(
            f"none of the methods has a preset {preset!r}",
            where="--preset",
            fix=nearest(preset, _presets(found.values())),
        )
    return tuple(found.values())


def _presets(chosen: Iterable[Chosen]) -> set[str]:
    return {name for one in chosen for name in type(one.method).presets()}


def split_methods(text: str) -> list[str]:
    """Return the specs of a comma list.

    Raises:
        ConfigError: there is nothing between two commas, or nothing at all.
    """
    specs: list[str] = []
    for piece in text.split(","):
        if specs and _MORE.match(piece):  # options may be joined by commas, too
            specs[-1] += f":{piece.strip()}"
        elif piece.strip():
            specs.append(piece.strip())
        else:
            raise ConfigError(f"an empty method in {text!r}", where="--methods", expected=_EXPECTED)
    return specs


def _chosen(spec: str, preset: str | None, shared: Mapping[str, Any]) -> tuple[Chosen, bool]:
    name, *items = (part.strip() for part in spec.split(":"))
    where = f"--methods, {spec!r}"
    given: dict[str, str] = {}
    for item in items:
        key, equals, value = (part.strip() for part in item.partition("="))
        if not (key and equals and value):
            raise ConfigError(f"cannot read {item!r} as an option", where=where, expected=_EXPECTED)
        if key in given:
            raise ConfigError(f"option {key!r} is given twice", where=where)
        given[key] = value
    catalogue.entry(name, verb="adapt")
    cls: Any = catalogue.load(name, verb="adapt")
    own = given.pop("preset", None)
    has_preset = preset is not None and preset in cls.presets()
    taken = own or (preset if has_preset else None)
    fields = {flag_name(path): path for path in option_paths(cls)}
    nested: dict[str, Any] = {}
    for key, value in given.items():
        if key not in fields:
            raise ConfigError(f"{key!r} is no option of {name}", where=where, fix=nearest(key, fields))
        nested = merged(nested, _nested(fields[key], value))
    values = merged(_fitting(cls, shared), nested)
    method = text_method(name, preset=taken, options=values, named=dict.fromkeys(given, where))
    options = {key: _at(method, fields[key]) for key in given}
    told = {**({"preset": own} if own else {}), **options}
    key = ":".join([name, *(f"{option}={_short(value)}" for option, value in told.items())])
    return Chosen(key, name, method, told, taken), has_preset


def option_names(name: str) -> list[str]:
    """Return the names of a method's options, as flags and specs call them."""
    return [flag_name(path) for path in option_paths(catalogue.load(name))]


def option_paths(cls: type[BaseModel], outer: tuple[str, ...] = ()) -> Iterable[tuple[str, ...]]:
    """Yield where each option of a method stands: a field, or a field of a nested table."""
    for name, info in cls.model_fields.items():
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from option_paths(inner, (*outer, name))
        else:
            yield (*outer, name)


def _fitting(cls: type[BaseModel], shared: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the shared options that a method has."""
    return {name: value for name, value in shared.items() if name in cls.model_fields}


def _nested(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    return {path[0]: value} if len(path) == 1 else {path[0]: _nested(path[1:], value)}


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        value = getattr(value, name)
    return value


def _told(name: str, value: Any) -> str:
    """Return an option as a table names it: by its value alone where that says what it is."""
    if name in _TELLING:
        return str(value)
    words = name.replace("_", " ")
    return words if value is True else f"{words} {_short(value)}"


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)
