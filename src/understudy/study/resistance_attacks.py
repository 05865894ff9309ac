"""Which attackers are set on a teacher, as text: `kd:temperature=1|4|20,hard_label`, or a suite by name.

An attack is a method of the catalogue with options. A value may be several, joined by `|`: each combination is a
variant, and the attacker takes the one that does best on validation images. A name that stands there twice has the
variants of both, so that `standard,kd:temperature=8` widens a suite.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

from pydantic import BaseModel

from understudy import catalogue
from understudy.errors import ConfigError, nearest
from understudy.methods.method import Method
from understudy.study.job import defaults, merged
from understudy.study.resistance_found import ALONE, PLAIN

SUITES: dict[str, tuple[str, ...]] = {
    "quick": (
        "no_teacher:smoothing=0|0.1",
        "kd:temperature=1|4|20",
        "hard_label:smoothing=0|0.1",
        "composition",
    ),
    "standard": (
        "no_teacher:smoothing=0|0.1",
        "kd:temperature=1",
        "kd:temperature=4|20,squared_factor=true|false",
        "hard_label:smoothing=0|0.1",
        "uniform_tail",
        "centred:temperature=4|20",
        "composition",
        "skeptical:temperature=4|20",
        "averaging:temperature=1|4",
        "recovery",
        "cake",
    ),
    "full": (
        "no_teacher:smoothing=0|0.1",
        "kd:temperature=1,alpha=0.1|0.5|0.9|1",
        "kd:temperature=2|4|8|20,alpha=0.1|0.5|0.9|1,squared_factor=true|false",
        "hard_label:smoothing=0|0.1|0.2",
        "uniform_tail:temperature=1|4",
        "centred:temperature=4|20,per_class=false|true",
        "disagreement:mode=swap|label",
        "composition:beta=0.3|0.5|0.7",
        "skeptical:temperature=4|20,squared_factor=true|false",
        "contrastive_sequence",
        "averaging:temperature=1|4|20",
        "recovery:mode=regress|bayes,temperature=1|4",
        "regression",
        "cake",
    ),
}
"""Attackers by the name of the suite; `standard` has all that a worst case is worth its name for."""
DATA_FREE = "cake"
"""The attacker that needs no images."""
_TELLING = ("smoothing", "temperature", "squared_factor")
NEED_LABELS = (ALONE, "disagreement")
"""Attackers that are nothing without labels."""
_LABELS = {"no_teacher": "No teacher", "kd": "KD, tuned", "cake": "CAKE"}
_MORE = re.compile(r"\s*\w+\s*=")
_RESERVED = ("labels_frac", "held_out_frac", "defence")
_EXPECTED = "NAME or NAME:key=value|value,key=value, separated by commas; or a suite: " + ", ".join(SUITES)


@dataclass(frozen=True)
class Variant:
    """One way of making an attack."""

    key: str
    """Its options in short, unique within the attack."""
    options: Mapping[str, Any]
    """What tells it from the attack's other variants and from the preset, by name."""
    method: Method


@dataclass(frozen=True)
class Attack:
    """An attacker with all its variants."""

    name: str
    """In the catalogue."""
    variants: tuple[Variant, ...]

    def regimes(self, listed: Sequence[str]) -> tuple[str, ...]:
        """Return those of the regimes in which it can be made."""
        if self.name == DATA_FREE:
            return tuple(name for name in listed if name == "data_free")
        without = ("data_free", "unlabelled") if self.name in NEED_LABELS else ("data_free",)
        return tuple(name for name in listed if name not in without)

    def to_json(self, regimes: Sequence[str]) -> dict[str, Any]:
        """Return what `resistance.json` says of it."""
        entry = _attackers()[self.name]
        return {
            "name": self.name,
            "label": _LABELS.get(self.name, self.name.replace("_", " ").capitalize()),
            "summary": entry.summary,
            "paper": entry.paper,
            "fidelity": entry.fidelity,
            "regimes": list(self.regimes(regimes)),
            "variants": [{"key": one.key, "options": {**_telling(one.method), **one.options}} for one in self.variants],
        }


def _telling(method: Method) -> dict[str, Any]:
    """Return the values by which attacks are told apart later, wherever they were set."""
    return {name: getattr(method, name) for name in _TELLING if name in type(method).model_fields}


def names_of(specs: Iterable[str]) -> list[str]:
    """Return the names of the attackers that specs and suites stand for."""
    listed = [one for spec in specs for one in SUITES.get(spec.strip(), (spec,))]
    return [spec.partition(":")[0].strip() for spec in listed]


def split_attacks(text: str) -> list[str]:
    """Return the specs of a comma list; a comma before `key=` belongs to the spec that it stands in.

    Raises:
        ConfigError: there is nothing between two commas, or nothing at all.

    Example:
        >>> split_attacks("kd:temperature=1|4,alpha=0.5,hard_label")
        ['kd:temperature=1|4,alpha=0.5', 'hard_label']
    """
    specs: list[str] = []
    for piece in text.split(","):
        if specs and _MORE.match(piece):
            specs[-1] += f",{piece.strip()}"
        elif piece.strip():
            specs.append(piece.strip())
        else:
            raise ConfigError(f"an empty attack in {text!r}", where="--attacks", expected=_EXPECTED)
    return specs


def make_attacks(
    specs: Iterable[str],
    *,
    preset: str | None,
    options: Mapping[str, Any],
    options_of: Mapping[str, Mapping[str, Any]],
) -> tuple[Attack, ...]:
    """Resolve attacks: suites become what they hold, and each variant a method with its values.

    Args:
        specs: suites and attacks, as `split_attacks` returns them.
        preset: named values of every method, where it has them.
        options: of every attacker that learns from images.
        options_of: of single attackers, by name.

    Raises:
        ConfigError: an attack, an option or a value is unknown or out of range.
    """
    listed = [one for spec in specs for one in SUITES.get(spec.strip(), (spec,))]
    found: dict[str, list[Variant]] = {}
    for spec in listed:
        name, colon, rest = spec.partition(":")
        name = name.strip()
        where = f"--attacks, {spec!r}"
        if not name or (colon and not rest.strip()):
            raise ConfigError(f"cannot read {spec!r} as an attack", where="--attacks", expected=_EXPECTED)
        base = _base(name, preset, options, options_of)
        for chosen in _combinations(rest, where) if colon else [{}]:
            variant = _variant(name, base, chosen, where)
            if all(variant.method != other.method for other in found.get(name, [])):
                found.setdefault(name, []).append(variant)
    for name, variants in found.items():
        keys = [one.key for one in variants]
        if len(set(keys)) < len(keys):  # the same options on another base cannot be: options differ from the base
            raise ConfigError(f"two variants of {name} go by the name {keys}", where="--attacks")
    return tuple(Attack(name, tuple(variants)) for name, variants in found.items())


def variant_key(options: Mapping[str, Any]) -> str:
    """Return the options of a variant in short.

    Example:
        >>> variant_key({"temperature": 4.0, "squared_factor": False})
        'temperature=4,squared_factor=false'
    """
    return ",".join(f"{name}={_short(value)}" for name, value in options.items()) or "as-is"


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _combinations(text: str, where: str) -> list[dict[str, str]]:
    """Return each combination of the values in `key=value|value,key=value`."""
    values: dict[str, list[str]] = {}
    for item in text.split(","):
        key, equals, rest = (part.strip() for part in item.partition("="))
        listed = [value.strip() for value in rest.split("|")]
        if not (key and equals and all(listed)):
            raise ConfigError(f"cannot read {item.strip()!r} as an option", where=where, expected=_EXPECTED)
        if key in values:
            raise ConfigError(f"option {key!r} is given twice", where=where, fix="join its values by |")
        values[key] = listed
    return [dict(zip(values, chosen, strict=True)) for chosen in product(*values.values())]


def _base(
    name: str,
    preset: str | None,
    options: Mapping[str, Any],
    options_of: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Return the values of a method before those of its variants."""
    if name not in _attackers():
        known = [*_attackers(), *SUITES]
        raise ConfigError(f"there is no attack {name!r}", where="--attacks", expected=nearest(name, known))
    cls = _class(name)
    named = {} if preset is None else cls.presets()
    # CAKE's presets of larger data sets are the authors'.
    maker = next((named[key] for key in (preset, f"official_{preset}") if key in named), None)
    if preset is not None and maker is None:
        raise ConfigError(f"{name} has no preset {preset!r}", where="--preset", fix=nearest(preset, named))
    base = maker().model_dump() if maker else defaults(cls)
    shared = options if name != DATA_FREE else {}
    return merged(merged(base, shared), options_of.get(name, {}))


@cache  # looking through the entry points of all packages takes a while
def _attackers() -> dict[str, catalogue.Entry]:
    """Return the methods that are attackers by name."""
    return {
        name: entry
        for name, entry in catalogue.entries().items()
        if entry.verb == "distil" and (entry.family == "attackers" or name in (PLAIN, DATA_FREE))
    }


@cache
def _class(name: str) -> type[Method]:
    return catalogue.load(name, verb="distil")


def _variant(name: str, base: Mapping[str, Any], chosen: Mapping[str, str], where: str) -> Variant:
    cls = _class(name)
    given: dict[str, Any] = {}
    paths = {key: _path(cls, key, where) for key in chosen}
    for key, value in chosen.items():
        path = paths[key]
        given = merged(given, {path[0]: value} if len(path) == 1 else {path[0]: {path[1]: value}})
    method = cls.checked(merged(base, given), where=where)
    options = {key: _at(method, path) for key, path in paths.items()}
    return Variant(variant_key(options), options, method)


def _path(cls: type[Method], key: str, where: str) -> tuple[str, ...]:
    """Return where an option stands: a field, or a field of a nested table such as `fit`."""
    known: dict[str, tuple[str, ...]] = {}
    for name, info in cls.model_fields.items():
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            known |= {leaf: (name, leaf) for leaf in inner.model_fields}
        elif name not in _RESERVED:
            known[name] = (name,)
    if key in _RESERVED:
        raise ConfigError(
            f"{key} is no option of an attack: it follows from the study",
            where=where,
            fix="use --regimes, --held-out, or +DEFENCE behind a teacher",
        )
    if key not in known:
        raise ConfigError(f"{key!r} is no option of this attack", where=where, expected=nearest(key, known))
    return known[key]


def _at(method: Method, path: Sequence[str]) -> Any:
    value: Any = method
    for name in path:
        value = getattr(value, name)
    return value
