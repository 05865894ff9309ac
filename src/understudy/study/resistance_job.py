"""What a resistance study is asked to do: teachers, students, attackers, regimes and seeds, and on what data."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt

from understudy.errors import ConfigError, nearest
from understudy.methods.distiller import Distiller
from understudy.methods.method import validated
from understudy.runs.options import RunOptions
from understudy.runs.run import FREE_OPTIONS
from understudy.study.job import RUNS, require
from understudy.study.resistance_attacks import DATA_FREE, Attack, make_attacks, names_of
from understudy.study.resistance_teachers import OWN_ORDINARY, check_teacher_spec, split_teacher

_TABLES = ("teachers", "options", "options_of", "run")
_LISTS = ("students", "attacks", "regimes", "seeds")
_REGIMES = "labelled, partial:F with a share F between 0 and 1, unlabelled"
_NAME = re.compile(r"[A-Za-z][\w.-]*")
_FIXED = ("labels_frac", "held_out_frac", "defence")


class Resistance(BaseModel):
    """A study, resolved: what `config.toml` holds, and `--config` reads."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    data: str
    """Images that the attackers have, and the test images of the same name."""
    queries: str | None = None
    """Images to ask about where no label is known; None takes those of `data`, without their labels."""
    teachers: dict[str, str]
    """Run folder of each teacher by name, with +DEFENCE for what stands before it; {seed} is the study's seed."""
    ordinary: str
    """The teacher that is not defended, with which the others are compared."""
    students: Annotated[tuple[str, ...], Field(min_length=1)]
    """Specs of the networks that attackers train."""
    attacks: Annotated[tuple[str, ...], Field(min_length=1)] = ("standard",)
    """Suites and attackers, each with its options: kd:temperature=1|4."""
    regimes: Annotated[tuple[str, ...], Field(min_length=1)] = ("labelled",)
    """What attackers have: labelled, partial:F, unlabelled."""
    seeds: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] = (0, 1, 2)
    """Seeds of the students; two or more give intervals."""
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the labelled images, or of all where none has a label, on which attackers choose their variant."""
    margin: Annotated[float, Field(ge=0, le=0.2)] = 0.01
    """Gain of a student over one without a teacher that still counts as none, as a share of the test images."""
    preset: str | None = None
    """Named values of every attacker's options."""
    options: dict[str, Any] = {}
    """Options of every attacker that learns from images."""
    options_of: dict[str, dict[str, Any]] = {}
    """Options of single attackers, by name; they override the common ones."""
    run: RunOptions = RunOptions()
    """How students are trained; their seeds are `seeds`."""

    def config(self) -> dict[str, Any]:
        """Return the configuration as `config.toml` stores it, apart from the table [run]."""
        return self.model_dump(mode="json", exclude={"run"})

    def default_folder(self) -> Path:
        """Return `runs/resistance-HASH`, with a hash of all that matters."""
        everything = json.dumps([self.config(), self.run.model_dump(exclude=set(FREE_OPTIONS))], sort_keys=True)
        return RUNS / f"resistance-{hashlib.sha256(everything.encode()).hexdigest()[:6]}"

    def resolved(self) -> tuple[Attack, ...]:
        """Return the attackers with all their variants."""
        return make_attacks(self.attacks, preset=self.preset, options=self.options, options_of=self.options_of)

    @property
    def all_regimes(self) -> tuple[str, ...]:
        """The regimes with the one that follows from an attacker without data."""
        return (*self.regimes, "data_free") if DATA_FREE in names_of(self.attacks) else self.regimes


def make_resistance(values: Mapping[str, Any]) -> Resistance:
    """Resolve a study: every value within its bounds, every attacker and option known.

    Args:
        values: fields of `Resistance`; "ordinary" is taken from the names of the teachers where it is not given.

    Raises:
        ConfigError: something is missing, unknown or out of range.
    """
    given = {name: value for name, value in values.items() if value is not None}
    check_shapes(given)
    require(given.get("data"), "--data", "images that the attackers have, for instance digits")
    require(given.get("teachers") or None, "--teachers", "NAME=RUN each, for instance ordinary=runs/t nasty=runs/n")
    require(given.get("students") or None, "--students", "networks to train, for instance mlp:widths=12-12")
    given["teachers"] = _with_own_ordinary(dict(given["teachers"]), given.get("seeds") or (0,))
    given["ordinary"] = _ordinary(given["teachers"], given.get("ordinary"))
    job = validated(Resistance, given, where="resistance")
    for name, spec in job.teachers.items():
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"{name!r} is no name of a teacher", where="--teachers", expected="letters, digits, - . _"
            )
        check_teacher_spec(name, spec)
    job = job.model_copy(
        update={
            "regimes": tuple(dict.fromkeys(map(_regime, job.regimes))),
            "students": tuple(dict.fromkeys(job.students)),
            "seeds": tuple(dict.fromkeys(job.seeds)),
        }
    )
    _check_options(job)
    _check_attacks(job)
    return job


def labels_frac(regime: str) -> float:
    """Return the share of images whose labels attackers know in a regime."""
    if regime in ("unlabelled", "data_free"):
        return 0.0
    return float(regime.partition(":")[2]) if regime.startswith("partial:") else 1.0


def check_shapes(values: Mapping[str, Any], *, where: object = None) -> None:
    """Refuse values that are no table or no list where one belongs; what is in them is checked by `make_resistance`.

    Raises:
        ConfigError: there is one.
    """
    for name, value in values.items():
        if name in _TABLES and not isinstance(value, Mapping):
            raise ConfigError(f"{name} is {value!r}", where=where, expected=f"a section [{name}]")
        if name in _LISTS and not isinstance(value, list | tuple):
            raise ConfigError(f"{name} is {value!r}", where=where, expected=f"a list: {name} = [{value!r}]")
        if name in ("students", "attacks", "regimes") and not all(isinstance(item, str) for item in value):
            raise ConfigError(f"{name} is {value!r}", where=where, expected="a list of texts in quotes")
        if name == "teachers" and not all(isinstance(item, str) for item in value.values()):
            raise ConfigError(f"teachers is {value!r}", where=where, expected='lines NAME = "RUN" under [teachers]')


def _with_own_ordinary(teachers: dict[str, str], seeds: Sequence[int]) -> dict[str, str]:
    """Return the teachers with the ordinary one that a single teacher's run has left beside it.

    Raises:
        ConfigError: the single teacher's run is not there.
    """
    if len(teachers) != 1 or "ordinary" in teachers:
        return teachers
    named = split_teacher(next(iter(teachers.values())))[0]
    missing = [seed for seed in seeds if ":" not in named and not Path(named.replace("{seed}", str(seed))).exists()]
    if missing:
        raise ConfigError("no such folder", where=named.replace("{seed}", str(missing[0])), fix="check the path")
    path = f"{named}/{OWN_ORDINARY}"
    there = all(Path(path.replace("{seed}", str(seed))).is_dir() for seed in seeds)
    return {"ordinary": path, **teachers} if there else teachers


def _ordinary(teachers: dict[str, str], named: object) -> str:
    """Return the teacher that is not defended: the one named, or called ordinary, or the first.

    Raises:
        ConfigError: there is none of that name, or no other teacher.
    """
    if len(teachers) < 2:
        name = next(iter(teachers))
        raise ConfigError(
            f"there is one teacher, {name!r}, and nothing to compare it with",
            where="--teachers",
            expected="an ordinary teacher and one or more that are defended",
            fix=f"add one: ordinary=RUN; `understudy protect` leaves the one it started from in RUN/{OWN_ORDINARY}",
        )
    if named is not None and named not in teachers:
        raise ConfigError(f"there is no teacher {named!r}", where="--ordinary", fix=nearest(str(named), teachers))
    return str(named) if named is not None else "ordinary" if "ordinary" in teachers else next(iter(teachers))


def _regime(text: str) -> str:
    name, colon, rest = text.strip().partition(":")
    if name in ("labelled", "unlabelled") and not colon:
        return name
    if name == "data_free":
        raise ConfigError(
            "data_free is no regime to choose", where="--regimes", fix=f"it follows from {DATA_FREE} among --attacks"
        )
    try:
        share = float(rest)
    except ValueError:
        share = -1.0
    if name != "partial" or not 0 < share < 1:
        what = f"there is no regime {text!r}" if name != "partial" else f"no share of the labels in {text!r}"
        raise ConfigError(
            what, where="--regimes", expected=_REGIMES, fix=nearest(name, ("labelled", "unlabelled", "partial:0.1"))
        )
    return f"partial:{share:g}"


def _check_options(job: Resistance) -> None:
    """Refuse common options that not every attacker on images has."""
    allowed = [name for name in Distiller.model_fields if name not in _FIXED]
    for name in job.options:
        if name not in allowed:
            raise ConfigError(
                f"{name!r} is no option of every attacker",
                where="[options]",
                expected=nearest(name, allowed),
                fix=f"put it under [options_of.ATTACK], or write --attacks ATTACK:{name}=VALUE",
            )


def _check_attacks(job: Resistance) -> None:
    """Refuse unknown attackers, and those that no regime allows."""
    attacks = job.resolved()
    names = [attack.name for attack in attacks]
    for name, table in job.options_of.items():
        if name not in names:
            what = f"options for {name}, which is not among the attacks"
            raise ConfigError(what, where=f"[options_of.{name}]", fix=nearest(name, names))
        if fixed := [key for key in _FIXED if key in table]:
            raise ConfigError(f"{fixed[0]} follows from the study", where=f"[options_of.{name}]", fix="leave it out")
    for attack in attacks:
        if not attack.regimes(job.all_regimes):
            raise ConfigError(
                f"{attack.name} needs labels, and in no regime there are any",
                where="--regimes",
                fix="add labelled or partial:F, or leave the attack out",
            )
