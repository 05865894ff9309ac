"""The run folder: what a run was asked to do, how far it is, and what came of it."""

import os
import time
import tomllib
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import tomli_w
import torch

from understudy.errors import ConfigError, IntegrityError
from understudy.runs.events import EventLog
from understudy.runs.files import read_json, storage_errors, write_json, write_text
from understudy.runs.interrupts import Interrupted, asked_to_stop
from understudy.runs.locks import lock_folder, remove_leftovers
from understudy.runs.options import RunOptions
from understudy.runs.progress import ProgressSink, Silent, Track, tracking
from understudy.runs.provenance import environment
from understudy.runs.seeds import stream

# Options that change neither a weight nor a metric, so that they may differ when a run resumes.
FREE_OPTIONS = ("checkpoint_seconds", "previews")


_WORDS = {
    "train_sha256": "training set",
    "test_sha256": "test set",
    "bank_sha256": "bank",
    "teacher_sha256": "teacher",
    "last_sha256": "model",
    "best_sha256": "best checkpoint",
    "against_sha256": "model to compare with",
    "device_type": "kind of device",
}


class Run:
    """One run in its folder; under `torchrun`, one object a process, of which rank 0 writes.

    Args:
        folder: where the run lives; made if it is not there.
        config: the resolved configuration, as plain TOML-able values.
        options: seed, device, precision and the like.
        progress: where progress is shown; nowhere by default.
        facts: what the run is begun with, such as hashes of data; kept in `environment.json`, compared on resuming.

    Raises:
        ConfigError: the folder holds a run of another configuration, or something that is no run.
        StorageError: the folder cannot be written.
    """

    def __init__(
        self,
        folder: Path | str,
        config: Mapping[str, Any],
        options: RunOptions,
        *,
        progress: ProgressSink | None = None,
        facts: Mapping[str, object] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.options = options
        self.seed = options.seed
        self.rank = int(os.environ.get("RANK", "0"))
        self.world = int(os.environ.get("WORLD_SIZE", "1"))
        self.device = options.torch_device()
        self.config = resolved_config(config, options)
        self.progress = progress if progress is not None and self.rank == 0 else Silent()
        self._claim(facts or {})
        self.wait()  # or another process could put files into a folder that rank 0 has yet to find free
        self.events = EventLog(self.folder / "events.jsonl", writes=self.rank == 0)

    @property
    def result(self) -> dict[str, Any] | None:
        """The finished run's `result.json`, or None while the run is not finished."""
        path = self.folder / "result.json"
        return read_json(path) if path.exists() else None

    def stream(self, name: str, step: int = 0) -> torch.Generator:
        """Return the random stream of (seed, name, step) on the run's device."""
        return stream(self.seed, name, step=step, device=self.device)

    def check_interrupt(self) -> None:
        """Raise `Interrupted` if the user asked to stop; call it where the state is on file."""
        if asked_to_stop():
            raise Interrupted

    def wait(self) -> None:
        """Wait until every process of the run has come here."""
        if self.world > 1:
            from accelerate import PartialState

            PartialState(cpu=self.device.type == "cpu").wait_for_everyone()

    @contextmanager
    def phase(self, name: str, *, total: int, done: int = 0, unit: str) -> Iterator[Track]:
        """Show a named phase and add its wall time to `timing.json`."""
        start = time.monotonic()
        try:
            with tracking(self.progress, name, total=total, done=done, unit=unit) as track:
                yield track
        finally:
            if self.rank == 0 and done < total:
                spent = self.timing()
                spent[name] = round(spent.get(name, 0.0) + time.monotonic() - start, 3)
                write_json(self.folder / "timing.json", spent)

    def timing(self) -> dict[str, float]:
        """Return the seconds spent in each phase so far, over all the starts of this run."""
        path = self.folder / "timing.json"
        return read_json(path) if path.exists() else {}

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write `result.json`; from then on the run is finished."""
        if self.rank == 0:
            write_json(self.folder / "result.json", result)

    def _claim(self, facts: Mapping[str, object]) -> None:
        state = folder_state(self.folder, self.config) if self.rank == 0 else "begun"
        if self.rank == 0:
            weakref.finalize(self, os.close, lock_folder(self.folder))
            remove_leftovers(self.folder)
        if state == "new":
            found = environment(seed=self.seed, device=str(self.device), device_type=self.device.type, **facts)
            write_json(self.folder / "environment.json", found)
            write_text(self.folder / "config.toml", tomli_w.dumps(self.config))
        elif self.rank == 0:
            _check_begun_with(self.folder / "environment.json", {"device_type": self.device.type, **facts})


def resolved_config(config: Mapping[str, Any], options: RunOptions) -> dict[str, Any]:
    """Return what `config.toml` holds: the configuration with the run's options as its table [run]."""
    return without_none({**config, "run": options.model_dump()})  # type: ignore[no-any-return]


def folder_state(folder: Path, config: Mapping[str, Any]) -> Literal["new", "begun", "finished"]:
    """Return how far a run of this resolved configuration is in a folder.

    Raises:
        ConfigError: the folder holds a run of another configuration, or something that is no run.
        IntegrityError: the run's configuration cannot be read.
        StorageError: the folder cannot be looked into.
    """
    path = folder / "config.toml"
    with storage_errors(folder):
        names = sorted(entry.name for entry in folder.iterdir()) if folder.exists() else []
    if path.name in names:
        _check_same(path, config)
        return "finished" if "result.json" in names else "begun"
    # Hidden files are no concern of ours; environment.json is from a start that was cut short.
    if strangers := [name for name in names if not name.startswith(".") and name != "environment.json"]:
        raise ConfigError(
            "the folder holds other files and no run",
            where=f"{folder} ({', '.join(strangers[:3])})",
            fix="choose a new folder with --run",
        )
    return "new"


def _check_same(path: Path, config: Mapping[str, Any]) -> None:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise IntegrityError(f"not readable as TOML: {error}", where=path, fix="choose a new folder") from None
    changed = [
        f"{key} (there {ours!r}, now {now!r})"
        for key, ours, now in _differences(found, config)
        if key.removeprefix("run.") not in FREE_OPTIONS
    ]
    if changed:
        raise ConfigError(
            "the folder belongs to a run of another configuration: " + "; ".join(changed[:5]),
            where=path.parent,
            fix="run the same command to resume it, choose another folder with --run, or start over with --fresh",
        )


def _check_begun_with(path: Path, facts: Mapping[str, object]) -> None:
    """Refuse to go on with other data, another bank or another kind of device than the run was begun with."""
    begun = read_json(path)
    for name, now in facts.items():
        if begun.get(name, now) != now:
            what = _WORDS.get(name, name.removesuffix("_sha256").replace("_", " "))
            raise ConfigError(
                f"the run was begun with another {what} (there {begun[name]!r}, now {now!r})",
                where=path.parent,
                fix="go on with what it was begun with, or start over with --fresh",
            )


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        tables = [value for value in (before, after) if isinstance(value, dict) and value]
        if tables and all(value is None or isinstance(value, dict) for value in (before, after)):
            yield from _differences(before or {}, after or {}, f"{prefix}{key}.")  # one may lack the table
        elif before != after:
            yield f"{prefix}{key}", before, after


def without_none(value: Any) -> Any:
    """Drop what is None, for TOML has no such value, and turn tuples into lists as TOML gives them back."""
    if isinstance(value, Mapping):
        return {key: without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [without_none(item) for item in value]
    return value
