"""What a mistyped command line is told: what is wrong, where, and which help page knows better."""

from cyclopts import CoercionError, CycloptsError, MissingArgumentError, UnusedCliTokensError

from understudy.errors import ConfigError


def explained(error: CycloptsError) -> str:
    """Return the message of a command line that could not be read, in the form of our own errors."""
    words = [word for word in error.command_chain or () if not word.startswith("-")]
    command = " ".join(["understudy", *words])
    return str(ConfigError(_what(error), where=command, fix=f"see `{command} --help`"))


def _what(error: CycloptsError) -> str:
    if isinstance(error, UnusedCliTokensError):
        return "nothing is expected here: " + " ".join(error.unused_tokens or ())
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        given = error.keyword is not None
        return f"{error.keyword} needs a value" if given else f"{error.argument.name} is missing"
    what = str(error).rstrip(".")
    if isinstance(error, CoercionError) and error.argument is not None and error.argument.name not in what:
        return f"{error.argument.name}: {what}"
    return what
