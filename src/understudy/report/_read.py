"""Reading a run folder: its files, checked and typed, or an error that says which of them is wrong."""

import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from understudy.errors import ConfigError, IntegrityError
from understudy.runs.events import EventLog
from understudy.runs.files import read_json

FORMAT = 1
"""Newest format of `result.json` that these pages understand."""

LENIENT = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())
"""Keys that a file has beside those known are left alone: a later version may have added some."""

Read = TypeVar("Read", bound=BaseModel)

_RUN_FILES = ("config.toml", "environment.json", "events.jsonl")


class _Part(BaseModel):
    model_config = LENIENT


class Interval(_Part):
    """A share with its 95 % interval, all in [0, 1], and the number of rows it was counted on."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None


class Threat(_Part):
    """What an attacker may do: how large a change, measured how; in units of pixel values in [0, 1]."""

    norm: str
    epsilon: float


class RobustLook(Threat):
    """A first look at a network under attack: what a few attacks leave, and what is left by all of them together."""

    rows: int | None = None
    attacks: dict[str, Interval] = {}
    worst: Interval | None = None


class Answers(_Part):
    """Answers that a method needed of its teacher: those asked of the network, and those served from file."""

    asked: int = 0
    served: int = 0


class HeldOut(_Part):
    """Images kept back from training, the epoch of the best weights on them (from 1), and robust accuracies there."""

    rows: int | None = None
    best_epoch: int | None = None
    best: float | None = None
    last: float | None = None


class Guarded(_Part):
    """Whether single-step training collapsed, and in which epoch (from 1)."""

    collapsed_in_epoch: int | None = None


class Score(_Part):
    """How one model did on the evaluation data; `confusion` has rows for true classes."""

    accuracy: Interval | None = None
    agreement: Interval | None = None
    kl_from_teacher: float | None = None
    nll: float | None = None
    ece: float | None = None
    per_class: list[float | None] | None = None
    confusion: list[list[int]] | None = None
    robust: RobustLook | None = None
    entropy: dict[str, float | None] = {}
    """Mean entropy of the softened answers in nats, by temperature."""


class ModelFacts(_Part):
    """What one model is and costs."""

    spec: str | None = None
    parameters: int | None = None
    macs: int | None = None
    sha256: str | None = None
    images_per_s: float | None = None


class DataFacts(_Part):
    """The data on which the scores were counted."""

    source: str
    split: str = "test"
    rows: int
    classes: list[str] = []


class Synthetic(_Part):
    """Scores on held-out synthetic samples."""

    agreement: Interval | None = None


class Result(_Part):
    """`result.json`."""

    method: str
    family: str | None = None
    fidelity: str | None = None
    preset: str | None = None
    seed: int | None = None
    samples: int | None = None
    teacher_evaluations: int | None = None
    answers: Answers | None = None
    held_out: HeldOut | None = None
    guard: Guarded | None = None
    serving: str | None = None
    """Spec of the defence that is to stand before a protected teacher; `none` where its weights are the protection."""
    resistance: dict[str, Any] | None = None
    """What is on file of the protection of a teacher."""
    bank_bytes: int | None = None
    models: dict[str, ModelFacts] = {}
    data: DataFacts | None = None
    measured_by: str | None = None
    """What gave the accuracy of a network without classes; None for a classifier's own answers."""
    scores: dict[str, Score] = {}
    synthetic: Synthetic | None = None
    timing_s: dict[str, float | None] = {}

    @property
    def subject(self) -> str:
        """Key of the model that this run made: `student`, or `model` where there is no teacher."""
        named = [*self.scores, *self.models]
        return "model" if "model" in named and "student" not in named else "student"

    @property
    def score(self) -> Score:
        """Scores of the model that this run made; empty where none were taken."""
        return self.scores.get(self.subject, Score())

    @property
    def controls(self) -> list[str]:
        """Keys of the controls, in the order of the file."""
        return [key for key in self.scores if key not in ("teacher", self.subject)]


class Event(_Part):
    """One line of `events.jsonl`."""

    phase: str
    step: int
    wall_s: float | None = None
    metrics: dict[str, float | None] = Field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """Everything that a page shows of one run, save the bank."""

    folder: Path
    result: Result
    config: dict[str, Any]
    config_text: str
    environment: dict[str, Any]
    events: list[Event]
    started: datetime
    """When it was begun (UTC); when it ended, where that is not on file."""

    @property
    def name(self) -> str:
        """Name of the run folder."""
        return self.folder.name


def read_run(folder: Path) -> RunRecord:
    """Read a finished run folder.

    Raises:
        ConfigError: the folder does not exist, is no run folder, or its run is not finished.
        IntegrityError: a file in it is damaged, or of a newer format than this version reads.
    """
    folder = folder.resolve()
    environment = _environment(folder / "environment.json")
    if not (folder / "result.json").is_file():
        raise _no_result(folder, environment)
    config, config_text = _config(folder / "config.toml")
    return RunRecord(
        folder=folder,
        result=_result(folder / "result.json"),
        config=config,
        config_text=config_text,
        environment=environment,
        events=_events(folder / "events.jsonl"),
        started=_started(folder, environment),
    )


def _no_result(folder: Path, environment: dict[str, Any]) -> ConfigError:
    if not any((folder / name).is_file() for name in _RUN_FILES):
        return ConfigError(
            "this is no run folder" if folder.is_dir() else "this folder does not exist",
            where=folder,
            expected="the folder of a finished run, with result.json in it",
            fix="give the path that the run printed as its last line, such as runs/NAME",
        )
    command = environment.get("command")
    again = f"run its command again, it goes on where it stopped: {command}" if command else ""
    return ConfigError(
        "this run is not finished: there is no result.json yet",
        where=folder,
        expected="the folder of a finished run",
        fix=again or "run the command that began it again; it goes on where it stopped",
    )


def _result(path: Path) -> Result:
    return parse(Result, read_json(path), where=path, newest=FORMAT)


def parse(kind: type[Read], raw: object, *, where: object, newest: int) -> Read:
    """Check the content of a file of ours that states its format.

    Args:
        kind: what it holds.
        raw: what was read.
        where: the file, or a name for it.
        newest: the newest format that these pages understand.

    Raises:
        IntegrityError: it is damaged, or of a newer format than this version reads.
    """
    version, name = raw.get("format") if isinstance(raw, dict) else None, Path(str(where)).name
    if isinstance(version, int) and version > newest:
        raise IntegrityError(
            f"{name} has format {version}, which is newer than this version of understudy reads",
            where=where,
            expected=f"format {newest} or older",
            fix="upgrade understudy, or write the page with the version that made the file",
        )
    if version != newest:
        raise IntegrityError(
            f"{name} states no format that was ever written",
            where=where,
            expected=f'a JSON object with "format": {newest}',
            fix="restore the file, or run the command again with --fresh",
        )
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        raise damaged(where, error) from error


def _environment(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    raw = read_json(path)
    if not isinstance(raw, dict):
        raise IntegrityError("environment.json is no JSON object", where=path, fix="restore the file")
    return raw


def _config(path: Path) -> tuple[dict[str, Any], str]:
    if not path.is_file():
        return {}, ""
    try:
        text = path.read_text(encoding="utf-8")
        return tomllib.loads(text), text
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise IntegrityError(f"not readable as TOML: {error}", where=path, fix="restore the file") from error


def _events(path: Path) -> list[Event]:
    """Read the log; where a resumed run logged a step twice, the later line counts."""
    kept: dict[tuple[str, int], Event] = {}
    try:
        for entry in EventLog(path, writes=False):
            event = Event.model_validate(entry)
            kept[event.phase, event.step] = event
    except (OSError, UnicodeDecodeError) as error:
        raise IntegrityError(f"not readable as text: {error}", where=path, fix="restore the file") from error
    except ValidationError as error:
        raise damaged(path, error) from error
    return list(kept.values())


def _started(folder: Path, environment: dict[str, Any]) -> datetime:
    try:
        return datetime.fromisoformat(str(environment.get("started"))).astimezone(UTC)
    except ValueError:
        return datetime.fromtimestamp((folder / "result.json").stat().st_mtime, tz=UTC)


def damaged(where: object, error: ValidationError) -> IntegrityError:
    """Return the error for a file of ours whose content does not fit its format."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"]) or "the whole"
    return IntegrityError(
        f"damaged, at {field}: {first['msg']}",
        where=where,
        expected="the file as understudy wrote it",
        fix="restore the file, or run the command again with --fresh",
    )
