"""What a folder of the text family is: a run of `adapt`, a study, an evaluation; and which models it holds."""

import tomllib
from pathlib import Path

from understudy.errors import ConfigError
from understudy.models.text.store import is_text_model


def verb_of(folder: Path) -> str | None:
    """Return which verb made the run in a folder, from its `config.toml`; None for any other folder."""
    try:
        config = tomllib.loads((folder / "config.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if "evaluate_text" in config:
        return "evaluate"
    if not isinstance(config.get("text"), dict):
        return None
    return "withstand" if "methods" in config else "adapt" if "method" in config else None


def check_verb(folder: Path, verb: str) -> None:
    """Refuse a folder that another verb of the family has made.

    Raises:
        ConfigError: it has.
    """
    found = verb_of(folder)
    if found not in (None, verb):
        raise ConfigError(
            f"this is a run of `{found}`, and not of `{verb}`",
            where=folder,
            fix=f"choose another folder with --run, or go on with it by `understudy {found}`",
        )


def check_is_model(spec: str | Path) -> None:
    """Refuse a folder of the family that is no model itself, and say which ones it holds.

    Raises:
        ConfigError: it is one.
    """
    folder = Path(spec).expanduser()
    verb = None if is_text_model(folder) else verb_of(folder)
    if verb is None:
        return
    held = models_in(folder)
    what = {
        "adapt": "this run has not finished its model",
        "withstand": "this is a study of several models, and no model",
        "evaluate": "this is an evaluation of a model, and no model",
    }[verb]
    fix = {"adapt": "run the same command again to go on", "evaluate": "name the model that was evaluated"}.get(
        verb, ""
    )
    raise ConfigError(what, where=spec, fix=f"name one of {', '.join(map(str, held))}" if held else fix)


def models_in(folder: Path) -> list[Path]:
    """Return the folders of a study's models that are on file, in the order of their names."""
    return [place for place in sorted((folder / "cells").glob("*")) if is_text_model(place)]
