"""The files of a bank of answers: a base taken over whole, segments as answers come, shards when it is finished."""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from understudy.bank._manifest import FORMAT, MANIFEST, read_manifest
from understudy.bank._shards import open_shard
from understudy.errors import ConfigError, IntegrityError
from understudy.runs.files import sha256_file, storage_errors, write_atomic, write_json
from understudy.runs.tensors import load_tensors, save_tensors

Entries = list[dict[str, Any]]
"""Lines of a manifest, one a shard."""

KIND = "answers"
_BASE = "base.json"
_WORDS = {
    "teacher": "another teacher",
    "data": "other training images",
    "rows": "another number of images",
    "views": "other crops (crop_padding differs)",
    "classes": "another number of classes",
    "precision": "a teacher in another precision",
}


class AnswerFiles:
    """What lies in the folder of a bank of answers.

    - `base.json`: the shards taken over from an earlier bank, once all of them are here.
    - `segment-STEP.safetensors`: what was asked since the segment before, put on file at a checkpoint.
    - `shard-NUMBER.safetensors`: those of the base, then those that the segments become at the end.
    - `manifest.json`: all shards; there when the bank is finished.

    Args:
        folder: the bank's folder.
        about: what the answers are of; goes into the manifest, and a base must say the same.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        self.folder = folder
        self._about = dict(about)

    def take_over(self, base: Path | None) -> Entries:
        """Link the shards of a finished bank into this folder; return their lines of the manifest.

        What is here from an earlier start counts; the base is not looked at again.

        Raises:
            IntegrityError: the base is missing, unfinished, altered or cut short.
            ConfigError: its answers are of another teacher, other images or other views.
        """
        if (self.folder / _BASE).exists():
            return self._shards_of(self.folder, _BASE)
        if base is None:
            return []
        source = answers_folder(base).resolve()
        if source == self.folder.resolve():
            raise ConfigError("a bank cannot be its own base", where=source, fix="leave the bank out")
        entries = self._shards_of(source)
        for number, entry in enumerate(entries):
            _link((source / entry["file"]).resolve(), self._shard(number))
        return [{**entry, "file": self._shard(number).name} for number, entry in enumerate(entries)]

    def present(self) -> Entries | None:
        """Return the lines of this folder's own manifest; None while the bank has never been finished.

        Raises:
            IntegrityError: the manifest is not as it was written.
            ConfigError: the answers are of another teacher, other images or other views.
        """
        return self._shards_of(self.folder) if (self.folder / MANIFEST).exists() else None

    def settle(self, taken: Entries) -> None:
        """Note down that the shards taken over are here and whole, so that the base is not needed any more."""
        if taken and not (self.folder / _BASE).exists():
            self._write_manifest(_BASE, taken)

    def _shards_of(self, source: Path, manifest_name: str = MANIFEST) -> Entries:
        """Return the shards of a bank whose answers are those that this one is to hold."""
        manifest = read_manifest(source, kind=KIND, name=manifest_name)
        for name, ours in self._about.items():
            if manifest.get(name) != ours:
                raise ConfigError(
                    f"the bank holds answers of {_WORDS.get(name, name)}",
                    where=source,
                    expected=f"{name} {ours!r}, and the bank says {manifest.get(name)!r}",
                    fix="leave the bank out, or name one that was made with the same teacher, data and crops",
                )
        shards: Entries = manifest["shards"]
        return shards

    def open(self, entry: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return a shard's tensors, its bytes compared with the manifest's SHA-256."""
        return open_shard(self.folder, entry, verify=True)

    def write_segment(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Put on file what was asked up to a step, whole or not at all."""
        save_tensors(self.folder / f"segment-{step:08d}.safetensors", tensors, {})

    def segments(self) -> Iterator[tuple[Path, dict[str, Tensor]]]:
        """Yield the segments, in the order in which they were written.

        Raises:
            IntegrityError: one is not what was written.
        """
        for _, path in sorted(self._segment_paths()):
            yield path, load_tensors(path)[0]

    def drop_segments(self, *, after: int) -> None:
        """Delete the segments that were written after a step."""
        _remove(path for step, path in self._segment_paths() if step > after)

    def own_shards(self, taken: Entries, *, answers: int) -> list[tuple[Path, dict[str, Tensor]]]:
        """Return the shards that the segments became, if the bank is finished and they hold so many answers."""
        if not answers or not (self.folder / MANIFEST).exists():
            return []
        own = self._shards_of(self.folder)[len(taken) :]
        if sum(entry["rows"] for entry in own) != answers:
            return []
        return [(self.folder / entry["file"], self.open(entry)) for entry in own]

    def reopen(self, taken: Entries) -> None:
        """Make the bank unfinished again, and delete the shards that are its own."""
        own = (path for path in self.folder.glob("shard-*.safetensors") if _number(path) >= len(taken))
        _remove([self.folder / MANIFEST, *own])

    def seal(self, taken: Entries, own: Iterable[Mapping[str, Tensor]], **facts: object) -> None:
        """Write the bank's own shards, then the manifest; the segments are not needed any more."""
        entries = list(taken)
        for tensors in own:
            path = self._shard(len(entries))
            save_tensors(path, tensors, {})
            size, hashed = path.stat().st_size, sha256_file(path)
            rows = len(tensors["keys"])
            entries.append({"file": path.name, "rows": rows, "bytes": size, "sha256": hashed, "record": {}})
        self._write_manifest(MANIFEST, entries, **facts)
        _remove(path for _, path in self._segment_paths())

    def _write_manifest(self, name: str, shards: Entries, **facts: object) -> None:
        about = {"format": FORMAT, "kind": KIND, **self._about, **facts}
        write_json(self.folder / name, {**about, "shards": shards})

    def _segment_paths(self) -> list[tuple[int, Path]]:
        return [(_number(path), path) for path in self.folder.glob("segment-*.safetensors")]

    def _shard(self, number: int) -> Path:
        return self.folder / f"shard-{number:05d}.safetensors"


def answers_folder(path: Path) -> Path:
    """Return the folder of the answers that a path means: itself, or `bank` in it if it is that of a run.

    Raises:
        IntegrityError: there is no finished bank of answers.
    """
    for folder in (path, path / "bank"):
        if (folder / MANIFEST).exists():
            return folder
    raise IntegrityError(
        "no finished bank of answers here",
        where=path,
        expected="the folder of a finished run that filed its teacher's answers, or its folder bank",
        fix="run the command that makes it to its end, or leave the bank out",
    )


def _number(path: Path) -> int:
    return int(path.stem.partition("-")[2])


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with storage_errors(path):
            path.unlink(missing_ok=True)


def _link(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system has no such thing; its bytes never change."""
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)  # from a start that was cut short
        try:
            os.link(source, target)
            return
        except FileNotFoundError:
            return  # opening it says what is missing, in the words for a damaged bank
        except OSError:
            pass
    write_atomic(target, lambda aside: shutil.copyfile(source, aside))
