"""Progress with rate and time left: a bar on a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

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


class _Pace:
    """Rate and time left of one phase, counted from where this process found it."""

    def __init__(self, total: int, done: int, unit: str) -> None:
        self._total, self._first, self._unit = total, done, unit
        self._start = time.monotonic()

    def at(self, done: int) -> tuple[str, str]:
        """Return the rate and the time left, as text; both empty while nothing is known."""
        rate = (done - self._first) / max(time.monotonic() - self._start, 1e-9)
        if rate <= 0:
            return "", ""
        return f"{rate:.1f} {self._unit}/s", f"{_duration((self._total - done) / rate)} left"


def _duration(seconds: float) -> str:
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


class _Bar:
    def __init__(self, phase: str, total: int, done: int, unit: str) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<17}"),
            BarColumn(bar_width=None),  # whatever the text leaves of the line
            TextColumn("{task.completed}/{task.total}"),
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True, highlight=False),
            expand=True,
        )
        self._pace, self._unit = _Pace(total, done, unit), unit
        self._task = self._progress.add_task(
            phase.replace("_", " "), total=total, completed=done, rate=unit, left="", note=""
        )
        self._progress.start()

    def update(self, done: int, note: str = "") -> None:
        rate, left = self._pace.at(done)
        self._progress.update(self._task, completed=done, note=note, rate=rate or self._unit, left=left)

    def close(self) -> None:
        self._progress.stop()


class _Lines:
    def __init__(self, write: Callable[[str], object], phase: str, total: int, done: int, unit: str) -> None:
        self._write, self._phase, self._total, self._unit = write, phase.replace("_", " "), total, unit
        self._pace = _Pace(total, done, unit)
        self._shown = time.monotonic()
        self._line = ""

    def update(self, done: int, note: str = "") -> None:
        parts = [f"{self._phase}: {done}/{self._total} {self._unit}", *self._pace.at(done), note]
        self._line = ", ".join(part for part in parts if part)
        now = time.monotonic()
        if now - self._shown >= _PLAIN_SECONDS:
            self._shown, self._line = now, self._emit()

    def _emit(self) -> str:
        self._write(self._line)
        return ""

    def close(self) -> None:
        if self._line:
            self._emit()
