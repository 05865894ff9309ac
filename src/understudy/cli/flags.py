"""Command-line flags made from a config class: names, types, bounds, defaults and help all come from its fields."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from cyclopts import Group, Parameter, Token
from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from understudy.methods.option_names import flag_name

_BOUNDS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
_WHOLE = re.compile(r"[+-]?\d+")


@dataclass(frozen=True)
class Flag:
    """One flag: `--its-name` sets the value at `path`."""

    path: tuple[str, ...]
    parameter: inspect.Parameter


def flags_of(cls: type[BaseModel], *, group: Group) -> list[Flag]:
    """Return a flag for each field; a nested class gives its fields, under their own names.

    Every flag defaults to None, which means not given, so that a file and a preset can stand beneath it.
    """
    return [
        Flag(path, _parameter(flag_name(path), info, default, group=group)) for path, info, default in _leaves(cls, {})
    ]


def option(name: str, kind: Any, text: str, *, group: Group, **settings: Any) -> inspect.Parameter:
    """Return one keyword flag that is None when it is not given."""
    parameter = Parameter(help=text, group=group, show_default=False, **settings)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, parameter]
    )


def whole_numbers(kind: Any, tokens: Sequence[Token]) -> int | tuple[int, ...]:
    """Return the whole numbers of a flag; the parser's own way would round 1.5 to 2.

    Raises:
        ValueError: a word is no whole number.
    """
    values = []
    for token in tokens:
        if not _WHOLE.fullmatch(token.value):
            raise ValueError(f"{token.value!r} is no whole number")
        values.append(int(token.value))
    return tuple(values) if get_origin(kind) is tuple else values[0]


def command(function: Callable[..., Any], parameters: list[inspect.Parameter], *, name: str) -> Callable[..., Any]:
    """Return `function` with the signature that the command line should see."""

    def call(**values: Any) -> Any:
        return function({**dict.fromkeys(call.__annotations__), **values})

    call.__name__ = name
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call


def collect(flags: list[Flag], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flags that were given, as nested values."""
    nested: dict[str, Any] = {}
    for flag in flags:
        value = values.get(flag.parameter.name)
        if value is not None:
            place = nested
            for part in flag.path[:-1]:
                place = place.setdefault(part, {})
            place[flag.path[-1]] = value
    return nested


def _leaves(cls: type[BaseModel], outer: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], FieldInfo, Any]]:
    for name, info in cls.model_fields.items():
        default = outer.get(name, info.get_default(call_default_factory=True))
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            values = default.model_dump() if isinstance(default, BaseModel) else {}
            for path, leaf, value in _leaves(inner, values):
                yield (name, *path), leaf, value
        else:
            yield (name,), info, default


def _parameter(name: str, info: FieldInfo, default: Any, *, group: Group) -> inspect.Parameter:
    reads_text = any(isinstance(item, BeforeValidator) for item in info.metadata)  # such as a radius of 8/255
    kind = str if reads_text else _plain(info.annotation)
    listed = get_origin(kind) is tuple
    shown = next((item.shown for item in info.metadata if hasattr(item, "shown")), _shown)
    facts = [text for text in (_bounds(info), shown(default)) if text]
    text = (info.description or "") + (f" ({'; '.join(facts)})" if facts else "")
    settings: dict[str, Any] = {} if bool in (kind, *get_args(kind)) else {"negative": ()}
    if int in (kind, *get_args(kind)):
        settings["converter"] = whole_numbers
    return option(name, kind, text, group=group, consume_multiple=1 if listed else None, **settings)


def _bounds(info: FieldInfo) -> str:
    found = []
    for item in info.metadata:
        found += [f"{sign} {getattr(item, name):g}" for name, sign in _BOUNDS.items() if hasattr(item, name)]
    return " and ".join(found)


def _shown(default: Any) -> str:
    if default is PydanticUndefined or default is None:
        return ""
    if isinstance(default, bool):
        return f"default: {'on' if default else 'off'}"
    if isinstance(default, float):
        return f"default: {default:g}"
    if isinstance(default, tuple):
        return "default: " + " ".join(str(item) for item in default)
    return f"default: {default}"


def _plain(annotation: Any) -> Any:
    """Return a type without pydantic's bounds inside, which are checked where all values meet."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _plain(inner[0])
    if origin is tuple:
        return tuple[tuple(_plain(item) if item is not ... else ... for item in inner)]  # type: ignore[misc]
    if origin in (Union, UnionType):
        return Union[tuple(_plain(item) for item in inner)]  # noqa: UP007 - built from parts
    return annotation
