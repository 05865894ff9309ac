"""`understudy resist`."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console

from understudy.cli.config_file import read_toml
from understudy.cli.flags import whole_numbers
from understudy.cli.printing import how_to_go_on, plain_table, print_json, print_plan
from understudy.errors import ConfigError, UnderstudyError

_WHOLE = re.compile(r"[+-]?\d+")
_EXAMPLE = 'data = "digits", and ordinary = "runs/teacher" under [teachers]'
Whole = Annotated[int | None, Parameter(converter=whole_numbers)]
Several = Annotated[tuple[str, ...] | None, Parameter(negative=(), consume_multiple=True)]
Switch = Annotated[bool, Parameter(negative=(), show_default=False)]


def resist(
    *,
    data: str | None = None,
    teachers: Several = None,
    ordinary: str | None = None,
    students: str | None = None,
    attacks: str | None = None,
    regimes: str | None = None,
    seeds: str | None = None,
    queries: str | None = None,
    preset: str | None = None,
    epochs: Whole = None,
    batch_size: Whole = None,
    learning_rate: float | None = None,
    held_out: float | None = None,
    margin: float | None = None,
    device: Literal["auto", "cpu", "cuda", "mps"] | None = None,
    config: Path | None = None,
    run: Path | None = None,
    fresh: Switch = False,
    dry_run: Switch = False,
    json: Switch = False,
) -> None:
    """Set attackers on protected teachers, and report whether the protection holds and what it costs.

    Every attacker trains every student from every teacher, in every regime and at every seed, and chooses among its
    variants on images held out of its own. Teachers are asked once; all students share their answers. Lists are
    separated by commas. The same command again goes on, and repeats nothing that is finished.

    Args:
        data: Images that the attackers have: digits, a name, a folder or a Parquet file.
        teachers: NAME=RUN each, with +DEFENCE for what stands before it: stingy=runs/t+top_k:2. {seed} in RUN gives
            each seed its own teacher. One run of `protect` brings its ordinary teacher along.
        ordinary: Name of the teacher that is not defended (default: the one called ordinary, else the first).
        students: Networks to train, such as mlp:widths=12-12,cnn.
        attacks: Suites (quick, standard, full) or attackers, such as standard,kd:temperature=8|16; | joins variants
            among which the attacker chooses (default: standard).
        regimes: What attackers have: labelled, partial:0.1, unlabelled (default: labelled).
        seeds: How many seeds, or which: 3 is 0,1,2 (default: 3).
        queries: Images to ask about where no label is known (default: those of --data, labels unread).
        preset: Named values of the options of every attacker, such as digits.
        epochs: Passes over the images in every training.
        batch_size: Images of a training step.
        learning_rate: Largest learning rate of every training.
        held_out: Share of the attackers' images on which they choose (default: 0.1).
        margin: Gain over a student without a teacher that still counts as none, as a share (default: 0.01).
        device: Where to run; auto takes a GPU if there is one (default: auto).
        config: TOML file with any of these settings and more; flags override it. A study's config.toml is one.
        run: Folder of the study (default: runs/ and a name made from the settings).
        fresh: Start over in a new folder instead of resuming.
        dry_run: Check everything, print the plan, and stop.
        json: Print one JSON object and nothing else.
    """
    # Imported here, as in every verb: the help must not wait for torch.
    from understudy.runs.interrupts import Interrupted, graceful_interrupts
    from understudy.runs.progress import for_stream
    from understudy.study.job import fresh_folder, merged
    from understudy.study.resistance import make_resistance, plan_resistance, run_resistance
    from understudy.study.resistance_attacks import split_attacks
    from understudy.study.resistance_job import check_shapes

    recipe = _given(epochs=epochs, batch_size=batch_size, learning_rate=learning_rate)
    given = {
        "data": data,
        "ordinary": ordinary,
        "queries": queries,
        "preset": preset,
        "held_out": held_out,
        "margin": margin,
        "students": _specs(students, "--students"),
        "attacks": None if attacks is None else split_attacks(attacks),
        "regimes": _words(regimes, "--regimes"),
        "seeds": _seeds(seeds),
        "options": _given(fit=recipe or None),
        "run": _given(device=device),
    }
    file = read_toml(config, example=_EXAMPLE) if config else {}
    check_shapes(file, where=config)
    if teachers:  # in the place of the file's, not beside them
        file = {name: value for name, value in file.items() if name not in ("teachers", "ordinary")}
        given["teachers"] = _teachers(teachers)
    asked = make_resistance(merged(file, {name: value for name, value in given.items() if value is not None}))
    folder = run or asked.default_folder()
    folder = fresh_folder(folder) if fresh else folder
    if dry_run:
        planned = plan_resistance(asked, folder)
        print_json(planned) if json else print_plan(planned)
        return
    errors = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    errors.quiet = json
    try:
        with graceful_interrupts():
            found = run_resistance(asked, folder, progress=for_stream(quiet=json), announce=errors.print)
    except Interrupted:
        raise KeyboardInterrupt(how_to_go_on(folder, fresh=fresh)) from None
    print_json(found) if json else _print(found)
    _check_whole(found, folder)


def _print(found: Mapping[str, Any]) -> None:
    """Print the table, the verdicts, and where the page lies."""
    from understudy.report import resistance_table

    headings, rows, caption = resistance_table(found)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    table = plain_table(*headings, numbers=4)
    for row in rows:
        table.add_row(*row)
    table.caption = caption
    console.print(table)
    for name, one in found["summary"].items():
        console.print(f"{name}: {one['verdict']['words']}")
    console.print(f"report: {found['folder']}/resistance.html")
    console.print(f"run:    {found['folder']}")


def _check_whole(found: Mapping[str, Any], folder: Path) -> None:
    """Raise where trainings are missing, after everything that there is has been shown."""
    failed = found["failures"]
    if failed:
        first = str(failed[0]["error"]).partition("\n")[0]
        raise UnderstudyError(
            f"{len(failed)} of the study's trainings could not be finished; the first: {first}",
            where=folder / failed[0]["folder"],
            fix="mend what is wrong and run the same command again: it tries these once more",
        )


def _teachers(words: Sequence[str]) -> dict[str, str]:
    """Return the teachers of NAME=RUN by name."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, spec = (part.strip() for part in word.partition("="))
        if not (name and equals and spec):
            raise ConfigError(
                f"cannot read {word!r} as a teacher", where="--teachers", expected="NAME=RUN or NAME=RUN+DEFENCE"
            )
        if name in found:
            raise ConfigError(f"two teachers are named {name!r}", where="--teachers", fix="give each a name of its own")
        found[name] = spec
    return found


def _specs(text: str | None, flag: str) -> list[str] | None:
    """Return the specs of a comma list; a comma before `key=` belongs to the spec that it stands in."""
    from understudy.study.resistance_attacks import split_attacks

    _words(text, flag)  # which names the flag where there is nothing between two commas
    return None if text is None else split_attacks(text)


def _seeds(text: str | None) -> list[int] | None:
    """Return the seeds: a single number says how many."""
    words = _words(text, "--seeds")
    for word in words or []:
        if not _WHOLE.fullmatch(word):
            raise ConfigError(
                f"{word!r} is no whole number", where="--seeds", expected="how many, such as 3, or which, such as 0,1,2"
            )
    if words is None or len(words) > 1:
        return None if words is None else [int(word) for word in words]
    if int(words[0]) < 1:
        raise ConfigError(
            f"{words[0]} seeds", where="--seeds", expected="1 or more; three or more give useful intervals"
        )
    return list(range(int(words[0])))


def _words(text: str | None, flag: str) -> list[str] | None:
    if text is None:
        return None
    words = [word.strip() for word in text.split(",")]
    if not all(words):
        raise ConfigError(f"an empty word in {text!r}", where=flag, expected="words separated by single commas")
    return words


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
