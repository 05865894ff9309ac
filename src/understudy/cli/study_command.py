"""What the verbs that run a whole study share: lists in flags, the folder, the plan, Ctrl-C, and what is missing."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Protocol, runtime_checkable

from cyclopts import Parameter
from rich.console import Console

from understudy.cli.flags import whole_numbers
from understudy.cli.printing import how_to_go_on, plain_table, print_json, print_plan, print_table
from understudy.errors import ConfigError, UnderstudyError

Whole = Annotated[int | None, Parameter(converter=whole_numbers)]
Several = Annotated[tuple[str, ...] | None, Parameter(negative=(), consume_multiple=True)]
Switch = Annotated[bool, Parameter(negative=(), show_default=False)]
_WHOLE = re.compile(r"[+-]?\d+")


@runtime_checkable
class Study(Protocol):
    """A study as its settings describe it."""

    def default_folder(self) -> Path:
        """Return where it lives unless the user says so."""
        ...


def carry_out(
    study: Study,
    *,
    plan: Callable[..., dict[str, Any]],
    execute: Callable[..., dict[str, Any]],
    show: Callable[[Mapping[str, Any]], None],
    run: Path | None,
    fresh: bool,
    dry_run: bool,
    json: bool,
    pieces: str,
) -> None:
    """Run a study in its folder, or print its plan; then show what came of it.

    Args:
        study: what was asked for.
        plan: returns the plan of (study, folder).
        execute: carries out (study, folder), and takes `progress` and `announce`.
        show: prints the finished record.
        run: folder of the study, if the user named one.
        fresh: whether a new folder is taken.
        dry_run: whether only the plan is wanted.
        json: whether one JSON object is all that is printed.
        pieces: what the study is made of, in words: "the audit's runs".

    Raises:
        UnderstudyError: something is to be mended; pieces that failed are named after the rest has been shown.
        KeyboardInterrupt: the user asked to stop; it says how to go on.
    """
    # Imported here, as in every verb: the help must not wait for torch.
    from understudy.runs.interrupts import Interrupted, graceful_interrupts
    from understudy.runs.progress import for_stream
    from understudy.study.job import fresh_folder

    folder = run or study.default_folder()
    folder = fresh_folder(folder) if fresh else folder
    if dry_run:
        planned = plan(study, folder)
        print_json(planned) if json else print_plan(planned)
        return
    errors = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    errors.quiet = json
    try:
        with graceful_interrupts():
            found = execute(study, folder, progress=for_stream(quiet=json), announce=errors.print)
    except Interrupted:
        raise KeyboardInterrupt(how_to_go_on(folder, fresh=fresh)) from None
    print_json(found) if json else show(found)
    _check_whole(found, folder, pieces)


def show_study(
    found: Mapping[str, Any],
    table: tuple[Sequence[str], Sequence[Sequence[str]], str],
    *,
    numbers: int,
    lines: Sequence[str],
    page: str,
) -> None:
    """Print a study's table, what it says in words, and where its page lies.

    Args:
        found: the record with its "folder".
        table: headings, rows and caption.
        numbers: how many of the last columns are numbers.
        lines: sentences under the table.
        page: file name of the page in the folder.
    """
    headings, rows, caption = table
    console = Console(highlight=False, soft_wrap=True, markup=False)
    shown = plain_table(*headings, numbers=numbers)
    for row in rows:
        shown.add_row(*row)
    shown.caption = caption
    print_table(console, shown)
    for line in lines:
        console.print(line)
    console.print(f"report: {found['folder']}/{page}")
    console.print(f"run:    {found['folder']}")


def words(text: str | None, flag: str) -> list[str] | None:
    """Return the words of a comma list, None where there is none.

    Raises:
        ConfigError: there is nothing between two commas.
    """
    if text is None:
        return None
    found = [word.strip() for word in text.split(",")]
    if not all(found):
        raise ConfigError(f"an empty word in {text!r}", where=flag, expected="words separated by single commas")
    return found


def numbers(text: str | None, flag: str, *, expected: str = "numbers separated by commas") -> list[int] | None:
    """Return the whole numbers of a comma list.

    Raises:
        ConfigError: a word is no whole number.
    """
    found = words(text, flag)
    for word in found or []:
        if not _WHOLE.fullmatch(word):
            raise ConfigError(f"{word!r} is no whole number", where=flag, expected=expected)
    return None if found is None else [int(word) for word in found]


def seeds(text: str | None) -> list[int] | None:
    """Return the seeds of a flag: a single number says how many, several say which.

    Raises:
        ConfigError: a word is no whole number, or fewer than one seed is asked for.
    """
    found = numbers(text, "--seeds", expected="how many, such as 3, or which, such as 0,1,2")
    if found is None or len(found) > 1:
        return found
    if found[0] < 1:
        raise ConfigError(
            f"{found[0]} seeds", where="--seeds", expected="1 or more; three or more give useful intervals"
        )
    return list(range(found[0]))


def given(**values: Any) -> dict[str, Any]:
    """Return the values that were given."""
    return {name: value for name, value in values.items() if value is not None}


def _check_whole(found: Mapping[str, Any], folder: Path, pieces: str) -> None:
    """Raise where pieces are missing, after everything that there is has been shown."""
    failed = found["failures"]
    if failed:
        first = str(failed[0]["error"]).partition("\n")[0]
        raise UnderstudyError(
            f"{len(failed)} of {pieces} could not be finished; the first: {first}",
            where=folder / failed[0]["folder"],
            fix="mend what is wrong and run the same command again: it tries these once more",
        )
