"""The record of a text model's folder, `understudy.json`: what it is, and over which backbone."""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError, model_validator

from understudy.errors import IntegrityError
from understudy.models.text.gate import Gate
from understudy.runs.files import read_json, write_json

FORMAT = 1
RECORD = "understudy.json"
KINDS = ("adapter", "mixture", "full")
_RESTORE = "restore the folder from a copy, or make the model again"


class BackboneRecord(BaseModel):
    """The language model that a text model stands on; of a whole model, the one that it was trained from."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    spec: str
    sha256: str
    architecture: str


class MixtureRecord(BaseModel):
    """What a mixture is beside its slots; the entries of the lists belong to one slot each."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    gate: Gate
    head_policy: Literal["mixed", "clean", "shared"]
    lora_mix: Literal["factor", "product"]
    names: tuple[str, ...]
    folders: tuple[str, ...]
    sha256: tuple[str, ...]
    profiles: tuple[tuple[float, float], ...]

    @model_validator(mode="after")
    def _fits(self) -> "MixtureRecord":
        count = len(self.names)
        if not count or {len(self.folders), len(self.sha256), len(self.profiles)} != {count}:
            raise ValueError("names, folders, digests and profiles are not equally many")
        if any(Path(name).name != name or name in (".", "..") for name in self.folders):
            raise ValueError("a slot lies outside the folder")
        return self


class TextRecord(BaseModel):
    """The content of `understudy.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1]
    kind: Literal["adapter", "mixture", "full"]
    backbone: BackboneRecord
    labels: tuple[str, ...]
    max_length: PositiveInt
    adapter: dict[str, Any] | None = None
    """Kind `adapter`: what `load_adapter` compares with the files."""
    mixture: MixtureRecord | None = None
    weights_sha256: str | None = None
    """Kind `full`: of the file of its weights."""
    about: dict[str, Any]

    @model_validator(mode="after")
    def _whole(self) -> "TextRecord":
        own = {"adapter": self.adapter, "mixture": self.mixture, "full": self.weights_sha256}[self.kind]
        if own is None or len(self.labels) < 2:
            raise ValueError(f"the facts of kind {self.kind} are missing")
        return self


def write_record(folder: Path, record: TextRecord) -> None:
    """Write `understudy.json`, with a digest of what it says."""
    content = record.model_dump(mode="json", exclude_none=True)
    write_json(folder / RECORD, {**content, "record_sha256": _digest(content)})


def read_record(folder: Path) -> TextRecord:
    """Return the record of a text model's folder.

    Raises:
        IntegrityError: it is missing, altered, of a newer format, or no such record.
    """
    path = folder / RECORD
    content = read_json(path)
    if not isinstance(content, dict) or content.get("kind") not in KINDS:
        raise IntegrityError("this is no record of a text model", where=path, fix=_RESTORE)
    number = content.get("format")
    if isinstance(number, int) and number > FORMAT:
        raise IntegrityError(
            f"the record has format {number}, which this understudy does not know yet",
            where=path,
            fix="update understudy: pip install --upgrade understudy",
        )
    found = content.pop("record_sha256", None)
    if found != _digest(content):
        raise IntegrityError(
            "the record is not the one that was saved with this model: altered", where=path, fix=_RESTORE
        )
    try:
        return TextRecord.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise IntegrityError(
            f"field {field!r} of the record is wrong: {first['msg']}", where=path, fix=_RESTORE
        ) from error


def is_text_model(spec: str | Path) -> bool:
    """Return whether a spec is the folder of a text model, or a run with one; reads one small file at most."""
    return find_text_model(spec) is not None


def find_text_model(spec: str | Path) -> Path | None:
    """Return the folder with the record: this one, or `model` in a run folder; None if neither is a text model's."""
    for place in (Path(spec).expanduser(), Path(spec).expanduser() / "model"):
        try:
            content = json.loads((place / RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(content, dict) and content.get("kind") in KINDS and "max_length" in content:
            return place
    return None


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
