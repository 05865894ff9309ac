"""What a mistyped command line is told: what is wrong, where, and which help page knows better."""

from cyclopts import CoercionError, CycloptsError, MissingArgumentError, UnknownOptionError, UnusedCliTokensError

from understudy import catalogue
from understudy.errors import ConfigError


def explained(error: CycloptsError) -> str:
    """Return the message of a command line that could not be read, in the form of our own errors."""
    words = [word for word in error.command_chain or () if not word.startswith("-")]
    command = " ".join(["understudy", *words])
    what = _what(error)
    if isinstance(error, UnknownOptionError) and len(words) == 2:
        what += _whose(str(error.token.keyword or error.token.value), *words)
    return str(ConfigError(what, where=command, fix=f"see `{command} --help`"))


def _whose(flag: str, verb: str, method: str) -> str:
    """Return which other methods of a verb have an option, as the rest of a sentence; empty where none has."""
    if verb != "adapt" or method not in catalogue.entries():
        return ""
    # Imported here: the words of a mistake in another verb must not wait for torch.
    from understudy.study.text_methods import option_names

    option = flag.removeprefix("--").removeprefix("no-").partition("=")[0].replace("-", "_")
    others = [name for name, one in catalogue.entries().items() if one.verb == verb and option in option_names(name)]
    return f"; it belongs to {', '.join(others)}" if others else ""


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
