"""Errors that a user can cause: each says what is wrong, where, what was expected and what to do."""

from collections.abc import Iterable
from difflib import get_close_matches


class UnderstudyError(Exception):
    """Base of every error that a user can cause; the command line prints it without a traceback and exits 2.

    Args:
        what: the fault in one sentence.
        where: the file, option or step in which it was found.
        expected: what would have been right.
        fix: what to do about it.
    """

    def __init__(self, what: str, *, where: object = None, expected: str = "", fix: str = "") -> None:
        lines = [what]
        if where is not None:
            lines.append(f"  where:    {where}")
        if expected:
            lines.append(f"  expected: {expected}")
        if fix:
            lines.append(f"  to do:    {fix}")
        super().__init__("\n".join(lines))


class ConfigError(UnderstudyError):
    """A name, flag or value that cannot be used."""


class ShapeError(UnderstudyError):
    """Two things that must fit each other do not: shapes, class counts, channels."""


class AccessError(UnderstudyError):
    """A method needs more of the teacher than it is given."""


class DataError(UnderstudyError):
    """A data set that is missing, empty, corrupt or of the wrong kind."""


class IntegrityError(UnderstudyError):
    """A file of ours that is not what was written: altered, cut short, or never ours."""


class StorageError(UnderstudyError):
    """The disk refused: full, read-only or not permitted. Nothing that was whole has been lost."""


class DivergenceError(UnderstudyError):
    """A number left the range in which the method means something: NaN, infinity, or an explosion."""


class TargetError(UnderstudyError):
    """A target that failed, or answered what cannot be used; what it answered before is on file."""


class BudgetExhausted(UnderstudyError):
    """The budget of queries is used up: an outcome with a partial result, and no crash.

    Args:
        what: the fault in one sentence.
        answered: rows of the request that were still answered; they are on file.
        where: the ledger.
        fix: what to do about it.
    """

    def __init__(self, what: str, *, answered: int, where: object = None, fix: str = "") -> None:
        super().__init__(what, where=where, fix=fix)
        self.answered = answered


class DependencyError(UnderstudyError):
    """An optional package is needed and not installed."""


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return a sentence with the choices nearest to a mistyped name, or all of them if none is near."""
    known = sorted(choices)
    close = get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(repr(match) for match in close) + "?"
    return "known: " + ", ".join(known)
