"""The file of `--config`: the settings of a run in TOML, as a run's own config.toml holds them."""

import tomllib
from pathlib import Path
from typing import Any

from understudy.errors import ConfigError, nearest

TEXT_KEYS = ("method", "preset", "model", "student", "teacher", "data", "bank", "teacher_sha256")
_TABLES = ("options", "run")


def read_config(path: Path, name: str, verb: str) -> dict[str, Any]:
    """Return the settings in a file for the method `name`; its tables are checked where all values meet.

    Raises:
        ConfigError: the file cannot be read, is no TOML, has an unknown key, or is for another method.
    """
    try:
        file = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        what = f"cannot read the configuration: {error.strerror}"
        raise ConfigError(what, where=path, expected="a TOML file", fix="check the path") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(
            f"the configuration is no TOML: {error}",
            where=path,
            expected='lines such as student = "mlp", and the method\'s values under [options]',
            fix="start from the config.toml of a run",
        ) from None
    strange = {"train": ("student", "teacher", "bank", "teacher_sha256"), "distil": ("model",)}[verb]
    for key, value in file.items():
        _check(path, key, value)
        if key in strange:
            raise ConfigError(f"{key} has no place in `understudy {verb}`", where=path, fix="remove it from the file")
    if file.get("method", name) != name:
        raise ConfigError(
            f"the configuration is for {file['method']}, not for {name}",
            where=path,
            fix=f"use the command of {file['method']}, or another file",
        )
    return file


def _check(path: Path, key: str, value: object) -> None:
    if key not in (*TEXT_KEYS, *_TABLES):
        near = nearest(key, (*TEXT_KEYS, *_TABLES))
        advice = f"{near} The method's values belong under [options], seed and the like under [run]."
        raise ConfigError(f"unknown key {key!r}", where=path, fix=advice)
    if key in _TABLES and not isinstance(value, dict):
        raise ConfigError(f"{key} is {value!r}", where=path, expected=f"a section [{key}]")
    if key in TEXT_KEYS and not isinstance(value, str):
        raise ConfigError(f"{key} is {value!r}", where=path, expected="text in quotes")
