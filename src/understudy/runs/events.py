"""The event log: one JSON object a line, with phase, step, wall time and metrics."""

import json
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from understudy.runs.files import storage_errors, write_text


class EventLog:
    """Metrics of a run in `events.jsonl`, appended as they come and rewound when a run resumes."""

    def __init__(self, path: Path, *, writes: bool) -> None:
        self.path = path
        self._writes = writes
        self._start = time.monotonic()

    def append(self, phase: str, step: int, metrics: Mapping[str, float]) -> None:
        """Add one entry; a value that is not finite is stored as null, for JSON has no such numbers."""
        if not self._writes:
            return
        clean = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        entry = {
            "phase": phase,
            "step": step,
            "wall_s": round(time.monotonic() - self._start, 3),
            "metrics": clean,
        }
        with storage_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def rewind(self, phase: str, step: int) -> None:
        """Drop the entries of a phase from `step` on, and a last line that a crash cut short."""
        if self._writes and self.path.exists():
            kept = [entry for entry in self if entry["phase"] != phase or entry["step"] < step]
            write_text(self.path, "".join(json.dumps(entry) + "\n" for entry in kept))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if not self.path.exists():
            return
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                yield json.loads(line)
            except json.JSONDecodeError:  # cut short by a crash: the step is repeated, and logged again
                continue
