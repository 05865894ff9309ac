"""The file of `--config`: the settings of a run in TOML, as a run's own config.toml holds them."""

import tomllib
from pathlib import Path
from typing import Any

from understudy.errors import ConfigError, nearest

TEXT_KEYS = {
    "train": ("method", "preset", "model", "data"),
    "protect": ("method", "preset", "model", "data"),
    "distil": ("method", "preset", "student", "teacher", "data", "bank", "teacher_sha256"),
    "extract": ("method", "preset", "target", "surrogate", "data", "target_sha256"),
    "adapt": ("method", "preset", "bank"),
}
"""Keys of each verb's file whose values are text."""
_LISTS = ("probe",)
_TABLES = {
    "train": ("options", "run"),
    "protect": ("options", "run"),
    "distil": ("options", "run"),
    "extract": ("options", "terms", "probes", "run"),
    "adapt": ("text", "options", "run"),
}


def read_config(path: Path, name: str, verb: str) -> dict[str, Any]:
    """Return the settings in a file for the method `name`; its tables are checked where all values meet.

    Raises:
        ConfigError: the file cannot be read, is no TOML, has an unknown key, or is for another method.
    """
    file = read_toml(path, example='student = "mlp", and the method\'s values under [options]')
    if verb == "adapt" and "methods" in file and "text" in file:
        raise ConfigError(
            "this is the configuration of a study of `withstand`",
            where=path,
            expected="that of a run of `adapt`",
            fix="use it with `understudy withstand`",
        )
    for key, value in file.items():
        _check(path, key, value, verb)
    if file.get("method", name) != name:
        raise ConfigError(
            f"the configuration is for {file['method']}, not for {name}",
            where=path,
            fix=f"use the command of {file['method']}, or another file",
        )
    return file


def read_toml(path: Path, *, example: str) -> dict[str, Any]:
    """Return the content of a TOML file.

    Raises:
        ConfigError: the file cannot be read, or is no TOML; the message shows the example of what it should hold.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        what = f"cannot read the configuration: {error.strerror}"
        raise ConfigError(what, where=path, expected="a TOML file", fix="check the path") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(
            f"the configuration is no TOML: {error}",
            where=path,
            expected=f"lines such as {example}",
            fix="start from the config.toml of a run",
        ) from None


def _check(path: Path, key: str, value: object, verb: str) -> None:
    texts, tables = TEXT_KEYS[verb], _TABLES[verb]
    lists = _LISTS if verb == "extract" else ()
    known = (*texts, *lists, *tables)
    if key not in known and any(key in (*TEXT_KEYS[other], *_TABLES[other], *_LISTS) for other in TEXT_KEYS):
        raise ConfigError(f"{key} has no place in `understudy {verb}`", where=path, fix="remove it from the file")
    if key not in known:
        near = nearest(key, known)
        advice = f"{near} The method's values belong under [options], seed and the like under [run]."
        raise ConfigError(f"unknown key {key!r}", where=path, fix=advice)
    if key in tables and not isinstance(value, dict):
        raise ConfigError(f"{key} is {value!r}", where=path, expected=f"a section [{key}]")
    if key in texts and not isinstance(value, str):
        raise ConfigError(f"{key} is {value!r}", where=path, expected="text in quotes")
    if key in lists and not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
        raise ConfigError(f"{key} is {value!r}", where=path, expected="a list of texts in quotes")
