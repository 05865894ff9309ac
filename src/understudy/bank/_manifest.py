"""The manifest of a bank: which shards make it up, and what it says of itself."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError

from understudy.errors import DataError, IntegrityError
from understudy.runs.files import read_json

FORMAT = 1
MANIFEST = "manifest.json"
SAMPLES = "samples"


class _Entry(BaseModel):
    """One shard; its file lies in the bank's own folder."""

    model_config = ConfigDict(extra="allow", strict=True)

    file: Annotated[str, Field(pattern=r"^shard-\d{5,}\.safetensors$")]
    rows: PositiveInt
    bytes: NonNegativeInt
    sha256: str
    record: dict[str, Any]


class _Manifest(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)

    kind: str = SAMPLES
    shards: list[_Entry]


def read_manifest(folder: Path, *, kind: str = SAMPLES, name: str = MANIFEST) -> dict[str, Any]:
    """Return the manifest of a finished bank.

    Args:
        folder: the bank's folder.
        kind: what the bank must hold; a manifest that does not say is one of samples.
        name: the manifest's file.

    Raises:
        IntegrityError: there is none, it is not as it was written, or it is that of a bank of another kind.
        DataError: it lists no shard.
    """
    path = folder / name
    if not path.exists():
        raise IntegrityError(
            "no finished bank here",
            where=folder,
            expected=f"a folder with {name}",
            fix="run the command that makes the bank to its end",
        )
    manifest: dict[str, Any] = read_json(path)
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if found != FORMAT:
        raise IntegrityError(f"bank format {found!r} is not known", where=path, expected=str(FORMAT))
    try:
        checked = _Manifest.model_validate(manifest)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"])
        raise IntegrityError(
            f"the manifest is not as it was written: {place}: {fault['msg']}", where=path, fix="make the bank again"
        ) from None
    if checked.kind != kind:
        raise IntegrityError(f"this is a bank of {checked.kind}", where=folder, expected=f"a bank of {kind}")
    if not checked.shards:
        raise DataError("the bank is empty", where=folder)
    return manifest
