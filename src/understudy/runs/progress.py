"""Progress with rate and time left: a bar on a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_PLAIN_SECONDS = 10.0


@runtime_checkable
class ProgressSink(Protocol):
    """Shows how far a phase is; a run is given one, and library code never prints."""

    def track(self, phase: str, total: int, done: int, unit: str) -> "Track":
        """Begin to show a phase that stands at `done` of `total` units."""
        ...


@runtime_checkable
class Track(Protocol):
    """One phase on show."""

    def update(self, done: int, note: str = "") -> None:
        """Show that `done` units are complete, with a short remark."""
        ...

    def close(self) -> None:
        """Take the phase off show."""
        ...


class Silent:
    """Shows nothing: the default of library calls."""

    def track(self, phase: str, total: int, done: int, unit: str) -> "Silent":  # noqa: ARG002
        """Return itself."""
        return self

    def update(self, done: int, note: str = "") -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Terminal:
    """A bar for each phase, on standard error."""

    def track(self, phase: str, total: int, done: int, unit: str) -> Track:
        """Start a bar."""
        return _Bar(phase, total, done, unit)


class Plain:
    """A line for each phase every ten seconds, on standard error: for log files and pipes."""

    def __init__(self, write: Callable[[str], object] | None = None) -> None:
        self._write = write or (lambda line: print(line, file=sys.stderr, flush=True))  # noqa: T201

    def track(self, phase: str, total: int, done: int, unit: str) -> Track:
        """Start a series of lines."""
        return _Lines(self._write, phase, total, done, unit)


def for_stream(*, quiet: bool = False) -> ProgressSink:
    """Return the sink that fits standard error: bars on a terminal, lines otherwise, nothing when quiet."""
    if quiet:
        return Silent()
    return Terminal() if sys.stderr.isatty() else Plain()


@contextmanager
def tracking(sink: ProgressSink, phase: str, *, total: int, done: int, unit: str) -> Iterator[Track]:
    """Show a phase for the length of the block."""
    track = sink.track(phase, total, done, unit)
    try:
        yield track
    finally:
        track.close()


class _Bar:
    def __init__(self, phase: str, total: int, done: int, unit: str) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<16}"),
            BarColumn(bar_width=32),
            TextColumn(f"{{task.completed}}/{{task.total}} {unit}"),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
        )
        self._unit, self._first, self._start = unit, done, time.monotonic()
        self._task = self._progress.add_task(phase.replace("_", " "), total=total, completed=done, note="", rate="")
        self._progress.start()

    def update(self, done: int, note: str = "") -> None:
        rate = (done - self._first) / max(time.monotonic() - self._start, 1e-9)
        self._progress.update(self._task, completed=done, note=note, rate=f"{rate:.1f} {self._unit}/s")

    def close(self) -> None:
        self._progress.stop()


class _Lines:
    def __init__(self, write: Callable[[str], object], phase: str, total: int, done: int, unit: str) -> None:
        self._write, self._phase, self._total, self._unit = write, phase.replace("_", " "), total, unit
        self._first = done
        self._start = time.monotonic()
        self._shown = self._start
        self._line = ""

    def update(self, done: int, note: str = "") -> None:
        now = time.monotonic()
        rate = (done - self._first) / max(now - self._start, 1e-9)
        left = (self._total - done) / rate if rate > 0 else 0.0
        self._line = f"{self._phase}: {done}/{self._total} {self._unit}, {rate:.1f} {self._unit}/s, {left:.0f} s left"
        if note:
            self._line += f", {note}"
        if now - self._shown >= _PLAIN_SECONDS:
            self._shown, self._line = now, self._emit()

    def _emit(self) -> str:
        self._write(self._line)
        return ""

    def close(self) -> None:
        if self._line:
            self._emit()
