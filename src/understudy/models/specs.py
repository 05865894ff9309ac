"""Specs: one string for an architecture and its options, `name` or `name:key=value,key=value`.

The canonical form names the options in a fixed order and leaves defaults out, so that equal networks have
equal specs: `cnn:pool=global,widths=16-32` is `cnn:widths=16-32`.
"""

import re

from pydantic import ValidationError

from understudy.errors import ConfigError, nearest
from understudy.models.architectures import ARCHITECTURES, Architecture

_WIDE_RESNET = re.compile(r"(?:wide_resnet|wrn-)(\d+)[_-](\d+)")


def parse_spec(spec: str) -> Architecture:
    """Return the architecture that a spec names.

    Raises:
        ConfigError: no such architecture or option (near names are listed), an option given twice or missing,
        a
            value of the wrong type or out of range.

    Example:
        >>> parse_spec("wrn-16-2")
        WideResNet(depth=16, widen=2)
    """
    name, colon, rest = spec.strip().partition(":")
    pairs = _pairs(spec, rest) if colon else []
    if match := _WIDE_RESNET.fullmatch(name):
        name = "wide_resnet"
        pairs = [("depth", match[1]), ("widen", match[2]), *pairs]
    architecture = ARCHITECTURES.get(name)
    if architecture is None:
        raise ConfigError(
            f"no architecture is called {name!r}",
            where=f"spec {spec!r}",
            expected=nearest(name, ARCHITECTURES),
            fix="for a saved model, give the path of its folder",
        )
    options: dict[str, str] = {}
    for key, value in pairs:
        if key in options:
            raise ConfigError(f"option {key!r} is given twice", where=f"spec {spec!r}")
        if key not in architecture.model_fields:
            raise ConfigError(
                f"{name!r} has no option {key!r}",
                where=f"spec {spec!r}",
                expected=nearest(key, architecture.model_fields),
            )
        options[key] = value
    try:
        return architecture.model_validate(options)
    except ValidationError as error:
        raise _refusal(spec, architecture, error) from None


def format_spec(architecture: Architecture) -> str:
    """Return the canonical spec, which `parse_spec` turns into an equal architecture.

    Example:
        >>> format_spec(parse_spec("resnet18:width=16"))
        'resnet18:width=16'
    """
    options = [
        f"{key}={_text(value)}" for key, value in architecture if value != type(architecture).model_fields[key].default
    ]
    return architecture.name + (":" + ",".join(options) if options else "")


def _pairs(spec: str, text: str) -> list[tuple[str, str]]:
    pairs = []
    for item in text.split(","):
        key, equals, value = item.partition("=")
        if not (key.strip() and equals and value.strip()):
            raise ConfigError(
                f"cannot read {item!r} as an option",
                where=f"spec {spec!r}",
                expected="name:key=value,key=value, for example 'cnn:widths=16-32,norm=none'",
            )
        pairs.append((key.strip(), value.strip()))
    return pairs


def _text(value: object) -> str:
    return "-".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _refusal(spec: str, architecture: type[Architecture], error: ValidationError) -> ConfigError:
    """Return the first fault that pydantic found, in a user's words."""
    fault = error.errors()[0]
    key = str(fault["loc"][0])
    reason = fault["msg"].removeprefix("Value error, ")
    return ConfigError(
        f"option {key!r} of {architecture.name!r} is missing"
        if fault["type"] == "missing"
        else f"option {key!r} of {architecture.name!r} cannot be {fault['input']!r}",
        where=f"spec {spec!r}",
        expected="" if fault["type"] == "missing" else reason,
        fix=f"{key}: {architecture.model_fields[key].description}",
    )
