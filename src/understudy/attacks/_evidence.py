"""What AutoAttack has found, on file: one unit for each attack and batch, so that hours of work survive a crash."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float, Int64
from torch import Tensor

from understudy.errors import IntegrityError
from understudy.runs.files import read_json, write_json
from understudy.runs.tensors import load_tensors, save_tensors

_STATE = "state.json"
_WORDS = {"model": "another model", "data": "other images or labels", "library": "another version of pyautoattack"}


@dataclass(frozen=True)
class Unit:
    """What one attack did to one batch.

    Args:
        rows: the samples that it was given.
        fooled: those for which it returned an image that the network gets wrong.
        images: these images, as they were returned.
        passes: forward passes that it made.
        seconds: that it took.
        zero_gradients: points at which APGD found no input gradient to begin with.
    """

    rows: Int64[Tensor, " b"]
    fooled: Int64[Tensor, " f"]
    images: Float[Tensor, "f ..."]
    passes: int
    seconds: float
    zero_gradients: int


class Evidence:
    """A folder of units that belong to one evaluation.

    Args:
        folder: empty, or with the units of the same evaluation.
        fingerprint: everything on which a unit depends, as JSON values.

    Raises:
        IntegrityError: the folder holds something else.
        StorageError: it cannot be written.
    """

    def __init__(self, folder: Path, fingerprint: Mapping[str, Any]) -> None:
        self.folder = folder
        self._key = hashlib.sha256(json.dumps(fingerprint, sort_keys=True).encode()).hexdigest()
        path = folder / _STATE
        if not any(file.name != _STATE and not file.name.startswith(".") for file in folder.iterdir()):
            write_json(path, dict(fingerprint))  # nothing has been found yet, so nothing can be mixed up
        elif path.exists():
            _check_same(path, fingerprint)
        else:
            raise IntegrityError(
                "this folder is not empty, and holds no state of AutoAttack",
                where=folder,
                fix="choose another folder, or delete this one",
            )

    def answers(self) -> dict[str, Tensor] | None:
        """Return what was noted of the network's answers to the clean images, or None at a fresh start."""
        path = self.folder / "clean.safetensors"
        return self._load(path)[0] if path.exists() else None

    def note_answers(self, tensors: Mapping[str, Tensor]) -> None:
        """Put the network's answers to the clean images on file."""
        save_tensors(self.folder / "clean.safetensors", tensors, {"state": self._key, "unit": "clean"})

    def read(self, attack: str, batch: int) -> Unit | None:
        """Return a unit, or None if it is not on file.

        Raises:
            IntegrityError: the file is damaged, or belongs to another evaluation or another batch.
        """
        path = self._path(attack, batch)
        if not path.exists():
            return None
        tensors, meta = self._load(path)
        return Unit(
            rows=tensors["rows"],
            fooled=tensors["fooled"],
            images=tensors["images"],
            passes=meta["passes"],
            seconds=meta["seconds"],
            zero_gradients=meta["zero_gradients"],
        )

    def write(self, attack: str, batch: int, unit: Unit) -> None:
        """Put a unit on file, whole or not at all."""
        path = self._path(attack, batch)
        tensors = {"rows": unit.rows, "fooled": unit.fooled, "images": unit.images}
        meta = {"passes": unit.passes, "seconds": unit.seconds, "zero_gradients": unit.zero_gradients}
        save_tensors(path, tensors, {"state": self._key, "unit": path.stem, **meta})

    def damaged(self, attack: str, batch: int, what: str) -> IntegrityError:
        """Return the error for a unit that does not belong where it lies."""
        return _damaged(self._path(attack, batch), what)

    def _path(self, attack: str, batch: int) -> Path:
        return self.folder / f"{attack}-{batch:05d}.safetensors"

    def _load(self, path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
        try:
            tensors, meta = load_tensors(path)
        except IntegrityError as error:
            raise _damaged(path, "this file is damaged, or was not written by understudy") from error
        if meta.get("state") != self._key or meta.get("unit") != path.stem:
            raise _damaged(path, "this file belongs to another evaluation, or to another of its batches")
        return tensors, meta


def _damaged(path: Path, what: str) -> IntegrityError:
    return IntegrityError(what, where=path, fix="delete this file: its images alone are attacked again")


def _check_same(path: Path, fingerprint: Mapping[str, Any]) -> None:
    stored = read_json(path)
    if not isinstance(stored, dict):
        raise IntegrityError("not a state of AutoAttack", where=path, fix="choose another folder, or delete this one")
    for name, value in json.loads(json.dumps(fingerprint)).items():
        if stored.get(name) == value:
            continue
        plain = _WORDS.get(name) or f"another {name.replace('_', ' ')} ({stored.get(name)}, now {value})"
        raise IntegrityError(
            f"this folder holds AutoAttack's state for {plain}",
            where=path,
            fix="choose another folder, or delete this one",
        )
