"""Trained adapters on file, each beside what determines it: made once, taken over wherever the same is asked for."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.errors import ConfigError
from understudy.models.text.adapter import Adapter
from understudy.models.text.backbone import Backbone
from understudy.models.text.peft_files import load_adapter, save_adapter
from understudy.runs.files import folder_aside, read_json, storage_errors, write_json
from understudy.runs.locks import lock_folder

_ORIGIN = "origin.json"
_SECONDS = "seconds.json"
_WITHOUT = "leave out --bank, and it is made anew"
_HASH = re.compile(r"[0-9a-f]{64}")
_FLAGS = {"rows": "--n-adv", "width": "--attack-width", "attack": "--known", "labels": "--data", "victim": "--bank"}
"""What decides a fact on the command line, where it has another name there."""
_UNSAFE = re.compile(r"[^A-Za-z0-9._=-]+")

_Differing = tuple[tuple[str, ...], Any, Any]


@dataclass(frozen=True)
class Shelf:
    """Where the ingredients of a text model lie: adapters, and folders of attacked sentences.

    Args:
        home: the run's own folder of ingredients, one of each name.
        bank: the same folder of another run, from which everything that fits is copied; None for none.
        store: a folder shared by several runs, where ingredients are told apart by what determines them; it takes
            the place of `home`. None for none.
    """

    home: Path
    bank: Path | None = None
    store: Path | None = None

    def place(self, name: str, facts: Mapping[str, Any]) -> Path:
        """Return the folder of an ingredient: in the shared store by name and facts, in a run by name."""
        short = safe_name(name)
        return self.home / short if self.store is None else self.store / f"{short}-{fingerprint(facts)}"

    @contextmanager
    def held(self, place: Path) -> Iterator[None]:
        """Within the block no other process works on a place of the shared store; wait for one that does."""
        if self.store is None:
            yield
            return
        descriptor = lock_folder(self.store / "locks" / place.name, wait=True)
        try:
            yield
        finally:
            os.close(descriptor)

    def adapter(
        self,
        name: str,
        facts: Mapping[str, Any],
        make: Callable[[], tuple[Adapter, float]],
        backbone: Backbone,
        *,
        must_fit: bool = True,
    ) -> tuple[Adapter, float]:
        """Return an adapter and the seconds that its training took: from file, or made now and put there.

        Args:
            name: of the adapter.
            facts: what determines it, as plain JSON values.
            make: trains it, and returns it with the seconds spent.
            backbone: what it belongs to.
            must_fit: refuse a bank whose adapter of that name was made otherwise, instead of making one anew.

        Raises:
            ConfigError: the run, or the bank, has an adapter of that name that was made otherwise.
            IntegrityError: a file is damaged.
        """
        place = self.place(name, facts)
        with self.held(place):
            self.take_over(name, facts, _ORIGIN, must_fit=must_fit)
            if not self.there(place, facts, _ORIGIN):
                adapter, seconds = make()
                save_adapter(adapter, place)
                write_json(place / _SECONDS, round(seconds, 3))
                write_json(place / _ORIGIN, {"facts": facts, "sha256": adapter.sha256})  # last: all of it is there
            # Read back in any case, so that a run that goes on starts from the same bytes as one that never stopped.
            return load_adapter(place, backbone=backbone), float(read_json(place / _SECONDS))

    def there(self, place: Path, facts: Mapping[str, Any], record: str) -> bool:
        """Return whether an ingredient is at a place.

        Raises:
            ConfigError: one is, and it was made otherwise.
        """
        path = place / record
        if not path.exists():
            return False
        theirs = self.bank is not None and place.is_relative_to(self.bank)
        check_facts(read_json(path).get("facts", {}), facts, where=place, anew=_WITHOUT if theirs else "")
        return True

    def take_over(self, name: str, facts: Mapping[str, Any], record: str, *, must_fit: bool = True) -> None:
        """Copy an ingredient of the other run, unless there is one here already or the other run has none.

        Raises:
            ConfigError: the other run's was made otherwise, and must fit.
        """
        place = self.place(name, facts)
        if self.bank is None or place.exists():
            return
        theirs = self.bank / safe_name(name)
        try:
            there = self.there(theirs, facts, record)
        except ConfigError:
            if must_fit:
                raise
            return
        if there:
            with folder_aside(place) as aside, storage_errors(place):
                shutil.copytree(theirs, aside, dirs_exist_ok=True)


def bank_of(folder: Path) -> Path:
    """Return the folder of ingredients of another run.

    Raises:
        ConfigError: it has none.
    """
    for found in (folder / "bank", folder):
        if (found / "clean" / _ORIGIN).is_file():
            return found
    raise ConfigError(
        "no clean adapter and no attacked sentences in this folder",
        where=folder,
        expected="the folder of an earlier `understudy adapt`",
        fix="leave out --bank, and they are made anew",
    )


def check_bank(bank: Path, name: str, facts: Mapping[str, Any], record: str = _ORIGIN) -> None:
    """Refuse an ingredient of another run that was made otherwise; one that is not there is made anew.

    Raises:
        ConfigError: with what differs.
    """
    Shelf(bank, bank).there(bank / safe_name(name), facts, record)


def check_facts(there: Mapping[str, Any], asked: Mapping[str, Any], *, where: Path, anew: str = "") -> None:
    """Refuse an ingredient that was made otherwise than it is asked for.

    Args:
        there: facts of what lies there.
        asked: facts of what is asked for.
        where: it lies.
        anew: how to have it made anew.

    Raises:
        ConfigError: with what differs.
    """
    asked = json.loads(json.dumps(asked))
    told = [
        f"{_flag(path, asked)} (there {_shown(ours)}, now {_shown(now)})" for path, ours, now in _apart(there, asked)
    ]
    if told:
        raise ConfigError(
            f"what lies there was made otherwise: {'; '.join(told[:4])}",
            where=where,
            fix=f"ask for what it was made with, or {anew or 'choose another folder'}",
        )


def _apart(there: Mapping[str, Any], asked: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[_Differing]:
    """Yield where two sets of facts differ, down to single values, with what both say there."""
    for key in sorted(there.keys() | asked.keys()):
        ours, now = there.get(key), asked.get(key)
        if isinstance(ours, dict) and isinstance(now, dict):
            yield from _apart(ours, now, (*path, key))
        elif ours != now:
            yield (*path, key), ours, now


def _flag(path: tuple[str, ...], facts: Mapping[str, Any]) -> str:
    """Return the flag that decides a fact."""
    first = "clean_" if path[0] == "fit" and facts.get("kind") == "clean" else ""
    return _FLAGS.get(path[-1]) or f"--{first}{path[-1]}".replace("_", "-")


def _shown(value: object) -> str:
    hashed = isinstance(value, str) and _HASH.fullmatch(value)
    return f"SHA-256 {str(value)[:12]}..." if hashed else repr(value)


def fingerprint(facts: Mapping[str, Any]) -> str:
    """Return 12 hexadecimal digits that name facts."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def safe_name(name: str) -> str:
    """Return a name, such as the spec of an attack, as the name of a folder or a phase."""
    return _UNSAFE.sub("-", name)
