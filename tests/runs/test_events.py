"""The event log: appended, rewound, and whole again after a line was cut short."""

import errno
import json
import os
from pathlib import Path

import pytest

from understudy.errors import StorageError
from understudy.runs.events import EventLog


def steps(log: EventLog, phase: str) -> list[int]:
    return [entry["step"] for entry in log if entry["phase"] == phase]


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    log = EventLog(tmp_path / "events.jsonl", writes=True)
    for step in (10, 20, 30):
        log.append("fit", step, {"loss": 1 / step})
        log.append("draw", step, {"loss": float(step)})
    return log


def test_entries_hold_phase_step_time_and_metrics(log: EventLog) -> None:
    entries = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert entries == list(log)
    assert entries[0].keys() == {"phase", "step", "wall_s", "metrics"}
    assert entries[0]["metrics"] == {"loss": 0.1}
    times = [entry["wall_s"] for entry in entries]
    assert times == sorted(times)
    assert times[0] >= 0


def test_rewinding_drops_one_phase_from_a_step_on(log: EventLog) -> None:
    log.rewind("fit", 20)
    assert steps(log, "fit") == [10]
    assert steps(log, "draw") == [10, 20, 30]
    log.rewind("draw", 0)
    assert [entry["phase"] for entry in log] == ["fit"]


@pytest.mark.parametrize("cut", [1, 12, 40])
def test_a_torn_last_line_is_dropped_and_the_log_goes_on(log: EventLog, cut: int) -> None:
    text = log.path.read_text()
    log.path.write_text(text[:-cut])
    survivors = [10, 20, 30] if cut == 1 else [10, 20]  # without its newline alone the entry is whole
    assert steps(log, "draw") == survivors
    log.rewind("draw", 30)
    log.append("draw", 30, {"loss": 30.0})
    assert steps(log, "draw") == [10, 20, 30]
    assert [json.loads(line)["step"] for line in log.path.read_text().splitlines()]


def test_values_that_json_cannot_hold_become_null(log: EventLog) -> None:
    log.append("fit", 40, {"a": float("nan"), "b": float("-inf"), "c": 1.5})
    assert json.loads(log.path.read_text().splitlines()[-1])["metrics"] == {"a": None, "b": None, "c": 1.5}


def test_other_processes_write_nothing(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl", writes=False)
    log.append("fit", 1, {})
    log.rewind("fit", 0)
    assert list(log) == []
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_a_storage_error(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(StorageError, match="free some disk space"):
        log.append("fit", 40, {})
