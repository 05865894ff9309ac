"""Attacked sentences on file: parts of JSON lines that are whole or not there, and a manifest that vouches for them."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError

from understudy.errors import ConfigError, IntegrityError
from understudy.runs.files import read_json, write_json, write_text
from understudy.runs.run import Run

KIND = "attacked"
_FORMAT = 1
_MANIFEST = "manifest.json"

Chunks = Callable[[int], Iterator[Sequence[Mapping[str, Any]]]]
"""Yields the records from a row on, chunk by chunk; each chunk becomes a part."""


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)

    file: Annotated[str, Field(pattern=r"^part-\d{5}\.jsonl$")]
    rows: PositiveInt
    sha256: str


class _Manifest(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)

    format: int
    kind: str
    facts: dict[str, Any]
    total: NonNegativeInt
    parts: list[_Part]

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)


class AttackedBank:
    """A bank of attacked sentences: plain JSON records, made once for a victim and an attack, read many times.

    Args:
        folder: where it lives; it need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def begun(self) -> bool:
        """Whether anything is on file."""
        return (self.folder / _MANIFEST).exists()

    @property
    def finished(self) -> bool:
        """Whether all records are on file."""
        return self.begun and (manifest := self._manifest()).rows == manifest.total

    @property
    def facts(self) -> dict[str, Any]:
        """What the bank was made from, such as the victim's SHA-256, the attack's spec and the seed.

        Raises:
            IntegrityError: there is no bank here, or its manifest is damaged.
        """
        return self._manifest().facts

    @property
    def sha256(self) -> str:
        """Hash of the records, over the hashes of the parts.

        Raises:
            IntegrityError: there is no finished bank here.
        """
        return hashlib.sha256("".join(part.sha256 for part in self._whole().parts).encode()).hexdigest()

    def check(self, facts: Mapping[str, Any]) -> None:
        """Refuse a bank that was made from anything else.

        Raises:
            ConfigError: a fact differs; the message names the first ones.
            IntegrityError: there is no bank here, or its manifest is damaged.
        """
        found, now = self.facts, _plain(facts)
        different = [name for name in sorted(found.keys() | now.keys()) if found.get(name) != now.get(name)]
        if different:
            told = "; ".join(f"{name} (there {found.get(name)!r}, now {now.get(name)!r})" for name in different[:3])
            raise ConfigError(
                f"the attacked sentences were made from something else: {told}",
                where=self.folder,
                fix="use what they were made from, or choose another folder",
            )

    def fill(self, facts: Mapping[str, Any], *, total: int, chunks: Chunks, run: Run, phase: str) -> "AttackedBank":
        """Write the records that are not on file yet, and return the finished bank.

        Every chunk is on file, whole, before the next one is made; a run that was cut short goes on after the last
        whole part, and the bank's bytes are those of a run without interruption if the chunks are a function of their
        first row. Facts must hold whatever decides a record.

        Args:
            facts: what the bank is made from; plain JSON values.
            total: how many records there are in all.
            chunks: called with the number of records on file.
            run: shows progress, times the phase and is asked for interruptions; its process of rank 0 alone writes.
            phase: the phase's name.

        Raises:
            ConfigError: the folder holds a bank of other facts or of another size.
            IntegrityError: a part on file is damaged, or the chunks end too early.
            Interrupted: the user asked to stop; the parts written so far are kept.
        """
        if run.rank == 0:
            self._fill(facts, total, chunks, run, phase)
        run.wait()
        return self

    def records(self) -> list[dict[str, Any]]:
        """Return all records in their order.

        Raises:
            IntegrityError: the bank is not finished, or a part is missing, altered or cut short.
        """
        return [json.loads(line) for part in self._whole().parts for line in self._read(part).splitlines()]

    def _fill(self, facts: Mapping[str, Any], total: int, chunks: Chunks, run: Run, phase: str) -> None:
        if self.begun:
            self.check(facts)
            manifest = self._manifest()
            if manifest.total != total:
                raise ConfigError(f"the bank is one of {manifest.total} records, not of {total}", where=self.folder)
            for part in manifest.parts:
                self._read(part)
        else:
            manifest = _Manifest(format=_FORMAT, kind=KIND, facts=_plain(facts), total=total, parts=[])
            self._write(manifest)
        done = manifest.rows
        with run.phase(phase, total=total, done=done, unit="sentences") as track:
            for chunk in chunks(done) if done < total else ():
                manifest = self._append(manifest, chunk)
                track.update(manifest.rows)
                run.check_interrupt()
        if manifest.rows != total:
            raise IntegrityError(f"{manifest.rows} records were made in the place of {total}", where=self.folder)

    def _append(self, manifest: _Manifest, records: Sequence[Mapping[str, Any]]) -> _Manifest:
        """Write a part and then the manifest that knows it: a part that no manifest knows is written again."""
        name = f"part-{len(manifest.parts):05d}.jsonl"
        text = "".join(json.dumps(record, ensure_ascii=True, allow_nan=False) + "\n" for record in records)
        write_text(self.folder / name, text)
        part = _Part(file=name, rows=len(records), sha256=hashlib.sha256(text.encode()).hexdigest())
        longer = manifest.model_copy(update={"parts": [*manifest.parts, part]})
        self._write(longer)
        return longer

    def _write(self, manifest: _Manifest) -> None:
        write_json(self.folder / _MANIFEST, manifest.model_dump())

    def _manifest(self) -> _Manifest:
        path = self.folder / _MANIFEST
        if not path.exists():
            raise IntegrityError(
                "no bank of attacked sentences here", where=self.folder, expected=f"a folder with {_MANIFEST}"
            )
        try:
            manifest = _Manifest.model_validate(read_json(path))
        except ValidationError as error:
            fault = error.errors()[0]
            place = ".".join(str(part) for part in fault["loc"])
            raise IntegrityError(
                f"the manifest is not as it was written: {place}: {fault['msg']}", where=path, fix="make the bank again"
            ) from None
        if (manifest.format, manifest.kind) != (_FORMAT, KIND):
            found = f"format {manifest.format} of kind {manifest.kind!r}"
            raise IntegrityError(f"this is {found}", where=path, expected=f"format {_FORMAT} of kind {KIND!r}")
        return manifest

    def _whole(self) -> _Manifest:
        manifest = self._manifest()
        if manifest.rows != manifest.total:
            raise IntegrityError(
                f"the bank is not finished: {manifest.rows} of {manifest.total} records are on file",
                where=self.folder,
                fix="run the command that makes it to its end",
            )
        return manifest

    def _read(self, part: _Part) -> str:
        """Return the text of a part, which is what was written."""
        path = self.folder / part.file
        data = path.read_bytes() if path.is_file() else None
        if data is None or hashlib.sha256(data).hexdigest() != part.sha256:
            what = "a part is missing" if data is None else "a part is not what was written (SHA-256 mismatch)"
            raise IntegrityError(what, where=path, fix="remove the folder and make the bank again")
        return data.decode()


def _plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts as JSON gives them back."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(facts), allow_nan=False))
    return plain
