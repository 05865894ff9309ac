"""What an evaluation under attack is asked to do: a network, images, a threat, attacks, and what to compare with."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from understudy.attacks import AUTOATTACK, Norm, Radius, check_radius, named, parse_attacks
from understudy.errors import ConfigError, nearest
from understudy.evaluation._flag_words import FLAGS
from understudy.evaluation.masking import REFERENCE
from understudy.methods.method import validated
from understudy.runs.options import RunOptions
from understudy.runs.run import FREE_OPTIONS
from understudy.study.job import RUNS, require

LINF_EPSILON = 8 / 255
"""The radius where none is given: that of the papers on small images."""
_SHARES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Radii of the curve where none are given, as shares of epsilon."""


class Robustness(BaseModel):
    """An evaluation under attack, resolved: what its `config.toml` holds."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    model: str
    """Run or model folder, hf:NAME, timm:NAME or python:module:factory."""
    data: str
    """Labelled images."""
    split: Literal["test", "train"] = "test"
    """Part of the data set."""
    attacks: Annotated[tuple[str, ...], Field(min_length=1)]
    """Attacks by name; the one that checks compare with is always among them."""
    epsilon: Radius = LINF_EPSILON
    """Largest perturbation, in pixel units of [0, 1]."""
    norm: Norm = "linf"
    """How the size of a perturbation is measured."""
    rows: PositiveInt | None = None
    """Images to try, the same ones whoever is evaluated; None takes all."""
    sweep: tuple[Radius, ...] = ()
    """Radii of the curve, in ascending order."""
    against: str | None = None
    """Another network, attacked likewise and compared image by image."""
    teacher: str | None = None
    """The network's teacher: source of transferred attacks, and what the network is compared with class by class."""
    batch_size: PositiveInt = 250
    """Images of one attack."""
    run: RunOptions = RunOptions()
    """How it is carried out."""

    def config(self) -> dict[str, Any]:
        """Return the configuration as `config.toml` stores it, apart from the table [run]."""
        return {"evaluate": self.model_dump(mode="json", exclude={"run"})}

    def default_folder(self) -> Path:
        """Return `runs/NAME`, with the network and a hash of all that matters in the name."""
        everything = json.dumps([self.config(), self.run.model_dump(exclude=set(FREE_OPTIONS))], sort_keys=True)
        short = hashlib.sha256(everything.encode()).hexdigest()[:6]
        return RUNS / f"robustness-{short_name(self.model)}-{short}"

    @property
    def own_attacks(self) -> tuple[str, ...]:
        """The attacks without AutoAttack."""
        return tuple(name for name in self.attacks if name != AUTOATTACK)


def make_robustness(values: Mapping[str, Any]) -> Robustness:
    """Resolve an evaluation: every value within its bounds, every attack known, a radius that means something.

    Args:
        values: fields of `Robustness`; `attacks` and `sweep` may be texts with commas.

    Raises:
        ConfigError: something is missing, unknown or out of range.
    """
    given = {name: value for name, value in values.items() if value is not None}
    require(given.get("model"), "MODEL", "the network to evaluate, for instance runs/student")
    require(given.get("data"), "--data", "labelled images, for instance digits")
    norm = given.get("norm", "linf")
    if norm != "linf" and "epsilon" not in given:
        raise ConfigError(
            "--epsilon is missing", expected=f"the radius of the norm {norm}, such as 0.5", fix="give it as a flag"
        )
    names = given.get("attacks", "")
    attacks = parse_attacks(names if isinstance(names, str) else ",".join(names))
    if REFERENCE not in attacks:
        attacks = [REFERENCE, *attacks]
    given["attacks"] = tuple(attacks)
    if isinstance(given.get("sweep"), str):
        given["sweep"] = tuple(part.strip() for part in given["sweep"].split(",") if part.strip())
    job = validated(Robustness, given, where="understudy evaluate")
    if job.epsilon == 0:
        raise ConfigError("epsilon 0 is no attack", where="--epsilon", expected="a radius above 0, such as 8/255")
    for name, radius in (("--epsilon", job.epsilon), *(("--sweep", one) for one in job.sweep)):
        check_radius(radius, job.norm, where=name)
    for name in job.own_attacks:
        named(name, epsilon=job.epsilon, norm=job.norm)
    return job.model_copy(update={"sweep": tuple(sorted({*(job.sweep or _radii(job)), job.epsilon}))})


def check_acknowledged(names: str | None) -> tuple[str, ...]:
    """Return the red flags that a user has acknowledged, from names with commas between them.

    Raises:
        ConfigError: there is no such flag.
    """
    found = tuple(dict.fromkeys(part.strip() for part in (names or "").split(",") if part.strip()))
    for name in found:
        if name not in FLAGS:
            raise ConfigError(f"there is no red flag {name!r}", where="--acknowledge", fix=nearest(name, FLAGS))
    return found


def short_name(spec: str) -> str:
    """Return the last part of a spec, for the names of folders."""
    name = Path(spec).resolve().name if Path(spec).exists() else spec.rpartition(":")[2].rpartition("/")[2]
    return "".join(letter if letter.isalnum() or letter in "._+=-" else "-" for letter in name) or "model"


def _radii(job: Robustness) -> tuple[float, ...]:
    radii = [share * job.epsilon for share in _SHARES]
    return (0.0, *(radius for radius in radii if job.norm != "linf" or radius < 1))
