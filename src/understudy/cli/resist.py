"""`understudy resist`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from understudy.cli.config_file import read_toml
from understudy.cli.study_command import Several, Switch, Whole, carry_out, given, show_study, words
from understudy.cli.study_command import seeds as which_seeds
from understudy.errors import ConfigError

_EXAMPLE = 'data = "digits", and ordinary = "runs/teacher" under [teachers]'


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
    from understudy.study.job import merged
    from understudy.study.resistance import make_resistance, plan_resistance, run_resistance
    from understudy.study.resistance_attacks import split_attacks
    from understudy.study.resistance_job import check_shapes

    recipe = given(epochs=epochs, batch_size=batch_size, learning_rate=learning_rate)
    flags = given(
        data=data,
        ordinary=ordinary,
        queries=queries,
        preset=preset,
        held_out=held_out,
        margin=margin,
        students=_specs(students, "--students"),
        attacks=None if attacks is None else split_attacks(attacks),
        regimes=words(regimes, "--regimes"),
        seeds=which_seeds(seeds),
        options=given(fit=recipe or None),
        run=given(device=device),
    )
    file = read_toml(config, example=_EXAMPLE) if config else {}
    check_shapes(file, where=config)
    if teachers:  # in the place of the file's, not beside them
        file = {name: value for name, value in file.items() if name not in ("teachers", "ordinary")}
        flags["teachers"] = _teachers(teachers)
    carry_out(
        make_resistance(merged(file, flags)),
        plan=plan_resistance,
        execute=run_resistance,
        show=_print,
        run=run,
        fresh=fresh,
        dry_run=dry_run,
        json=json,
        pieces="the study's trainings",
    )


def _print(found: Mapping[str, Any]) -> None:
    """Print the table, the verdicts, and where the page lies."""
    from understudy.report import resistance_table

    verdicts = [f"{name}: {one['verdict']['words']}" for name, one in found["summary"].items()]
    show_study(found, resistance_table(found), numbers=4, lines=verdicts, page="resistance.html")


def _teachers(named: Sequence[str]) -> dict[str, str]:
    """Return the teachers of NAME=RUN by name."""
    found: dict[str, str] = {}
    for word in named:
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

    words(text, flag)  # which names the flag where there is nothing between two commas
    return None if text is None else split_attacks(text)
