"""Real processes that can be killed, a tiny teacher, and what makes two runs the same."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Started:
    """A command line in a process of its own."""

    pid: int
    log: Path
    _server: subprocess.Popen[str]
    _code: int | None = None

    def kill(self, signal: int) -> None:
        """Send a signal; the process is there until it has been waited for."""
        os.kill(self.pid, signal)

    def wait(self) -> int:
        """Return the exit code, negative for a signal."""
        if self._code is None:
            assert self._server.stdout is not None
            self._code = int(self._server.stdout.readline())
        return self._code

    @property
    def ended(self) -> bool:
        """Whether the process has ended, without waiting for it."""
        state = Path(f"/proc/{self.pid}/stat")
        return not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


Start = Callable[..., Started]


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for all runs of these tests; modules in it can be imported."""
    return tmp_path_factory.mktemp("study")


@pytest.fixture(scope="session")
def environment(place: Path) -> dict[str, str]:
    """What processes of these tests find in their environment."""
    path = os.pathsep.join(filter(None, [str(place), os.environ.get("PYTHONPATH", "")]))
    fixed = {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1", "COLUMNS": "80", "PYTHONPATH": path}
    return {**os.environ, **fixed}


@pytest.fixture(scope="session")
def servers(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Iterator[Start]]:
    """Yield a function that starts command lines, and end its server afterwards; arguments are modules to import."""

    def serve(*modules: str) -> Iterator[Start]:
        server = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("fork_server.py")), *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        log = tmp_path_factory.mktemp("processes") / "log.txt"

        def begin(*tokens: object, cwd: Path) -> Started:
            job = {"argv": [str(token) for token in tokens], "cwd": str(cwd), "log": str(log)}
            server.stdin.write(json.dumps(job) + "\n")  # type: ignore[union-attr]
            server.stdin.flush()  # type: ignore[union-attr]
            return Started(int(server.stdout.readline()), log, server)  # type: ignore[union-attr]

        with server:
            yield begin
        assert server.returncode == 0

    return serve


@pytest.fixture(scope="session")
def start(servers: Callable[..., Iterator[Start]]) -> Iterator[Start]:
    """Start a command line in a process of its own; one at a time."""
    yield from servers()


@pytest.fixture(scope="session")
def teacher(start: Start, place: Path) -> Path:
    """A finished run of `train`, with BatchNorm."""
    process = start(
        "train", "--data", "digits", "--model", "cnn:widths=4-8", "--epochs", 2, "--run", "teacher", cwd=place
    )
    assert process.wait() == 0, process.log.read_text()
    return place / "teacher"


def _without(value: Any, names: set[str]) -> Any:
    if isinstance(value, dict):
        return {key: _without(item, names) for key, item in value.items() if key not in names}
    return value


@pytest.fixture(scope="session")
def outcome() -> Callable[[Path], dict[str, bytes | str]]:
    """Return all that a run leaves behind and that must not depend on how it came about."""

    def collect(folder: Path) -> dict[str, bytes | str]:
        found: dict[str, bytes | str] = {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.parent.name in ("bank", "model")
        }
        result = json.loads((folder / "result.json").read_text())
        found["result.json"] = json.dumps(_without(result, {"timing_s", "images_per_s"}))
        events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
        found["events.jsonl"] = "\n".join(json.dumps(_without(event, {"wall_s"})) for event in events)
        return found

    return collect
