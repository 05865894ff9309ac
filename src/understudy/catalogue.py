"""Every method by name: where it lives, what it does, whose it is. Plain data, read without importing torch."""

import warnings
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Literal

from understudy.errors import ConfigError, nearest

if TYPE_CHECKING:
    from understudy.methods.method import Method


@dataclass(frozen=True)
class Entry:
    """One row of the catalogue."""

    target: str
    """Where the class is: "module:Class"."""
    verb: Literal["train", "distil"]
    """The command that runs it."""
    family: str
    """Its family, as the design names them."""
    access: Literal["weights", "logits", "top-k", "labels", "none"]
    """What it needs of a teacher."""
    data: bool
    """Whether it needs training data."""
    fidelity: Literal["paper", "official", "instantiation"]
    """Whether it follows a paper, the authors' code, or is our own instantiation of an idea."""
    summary: str
    """One line on what it does."""
    paper: str
    """Where it comes from."""


METHODS: dict[str, Entry] = {
    "supervised": Entry(
        target="understudy.methods.baseline.supervised:Supervised",
        verb="train",
        family="baseline",
        access="none",
        data=True,
        fidelity="paper",
        summary="Train a classifier on labelled images: how teachers are made.",
        paper="cross-entropy with label smoothing: Szegedy et al. 2016, arXiv 1512.00567",
    ),
    "kd": Entry(
        target="understudy.methods.baseline.kd:KD",
        verb="distil",
        family="baseline",
        access="logits",
        data=True,
        fidelity="paper",
        summary="Distil a teacher on real images with softened logits: the control with data.",
        paper="Hinton, Vinyals, Dean 2015, arXiv 1503.02531",
    ),
    "cake": Entry(
        target="understudy.methods.data_free.cake:CAKE",
        verb="distil",
        family="data_free",
        access="weights",
        data=False,
        fidelity="official",
        summary="Distil a teacher without data, from samples drawn towards its decision boundary.",
        paper="Braun, Mundt, Kersting 2024, AISTATS, arXiv 2306.02090",
    ),
}


def entries() -> dict[str, Entry]:
    """Return the catalogue together with what other packages add under the entry point `understudy.methods`.

    Raises:
        ConfigError: two methods have one name.
    """
    found = dict(METHODS)
    for point in entry_points(group="understudy.methods"):
        if point.name in found:
            raise ConfigError(f"two methods are named {point.name!r}", where=point.value)
        try:
            found[point.name] = point.load()
        except (ImportError, AttributeError) as error:  # somebody else's package must not take ours down
            warnings.warn(f"the method {point.name!r} of {point.value} cannot be loaded: {error}", stacklevel=2)
    return found


def entry(name: str, *, verb: str | None = None) -> Entry:
    """Return one row.

    Raises:
        ConfigError: no method has that name, or it belongs to another verb.
    """
    rows = entries()
    fitting = {key: row for key, row in rows.items() if verb in (None, row.verb)}
    if name in rows and name not in fitting:
        raise ConfigError(
            f"{name} is no method of `understudy {verb}`", fix=f"use `understudy {rows[name].verb} {name}`"
        )
    if name not in rows:
        expected = "a name that `understudy methods` lists"
        raise ConfigError(f"there is no method {name!r}", expected=expected, fix=nearest(name, rows))
    return rows[name]


def load(name: str, *, verb: str | None = None) -> "type[Method]":
    """Import a method's class."""
    module, _, attribute = entry(name, verb=verb).target.partition(":")
    method: type[Method] = getattr(import_module(module), attribute)
    return method
