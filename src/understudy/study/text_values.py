"""Values of a study of text, each within its bounds: a fault names the flag that sets the value, and what it may be."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from understudy.errors import ConfigError
from understudy.methods.method import validated
from understudy.methods.option_names import flag_name

ModelT = TypeVar("ModelT", bound=BaseModel)


def checked(
    cls: type[ModelT], values: Mapping[str, Any], *, where: str, named: Mapping[str, str] | None = None
) -> ModelT:
    """Return `cls(**values)`.

    Args:
        cls: what the values are for.
        values: by field, nested as its fields are.
        where: what is named where a value belongs to no flag.
        named: of options that were given otherwise than by a flag, where they were.

    Raises:
        ConfigError: a name is unknown, or a value is of the wrong type or out of range; the first such value is told.
    """
    try:
        return cls(**values)
    except ValidationError as error:
        fault = error.errors()[0]
        path = [part for part in fault["loc"] if isinstance(part, str)]
        if not path or fault["type"] in ("extra_forbidden", "value_error", "missing"):
            return validated(cls, dict(values), where=where)
        option = flag_name(path)
        place = (named or {}).get(option)
        raise ConfigError(
            f"{as_flag(option) if place is None else option} cannot be {fault['input']!r}",
            where=place or as_flag(option),
            expected=fault["msg"].removeprefix("Input should be ").partition(", unable")[0],
        ) from None


def as_flag(name: str) -> str:
    """Return what a field is called on the command line.

    Example:
        >>> as_flag("adaptive_rows")
        '--adaptive-rows'
    """
    return f"--{name.replace('_', '-')}"
