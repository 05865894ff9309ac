"""Where progress is shown: bars on a terminal, plain lines elsewhere, nothing beside JSON."""

import fcntl
import os
import pty
import re
import struct
import termios
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from understudy.cli.app import run


@pytest.fixture
def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], tuple[int, str]]:
    """Run a command line with standard error on a pseudo-terminal of 80 columns; return its code and what it shows."""

    def call(line: list[str]) -> tuple[int, str]:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        shown: list[bytes] = []

        def read() -> None:
            try:
                while chunk := os.read(ours, 4096):
                    shown.append(chunk)
            except OSError:  # how a pseudo-terminal ends
                pass

        reader = threading.Thread(target=read)
        reader.start()
        with os.fdopen(theirs, "w") as terminal, monkeypatch.context() as patch:
            patch.setattr("sys.stderr", terminal)
            patch.setenv("TERM", "xterm-256color")
            code = run(line)
        reader.join(timeout=10)
        os.close(ours)
        return code, b"".join(shown).decode()

    return call


def test_a_terminal_shows_bars_with_rate_and_time_left(on_a_terminal, cake_line: list[str]) -> None:
    code, shown = on_a_terminal(cake_line)
    assert code == 0
    frames = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", frame).strip() for frame in re.split(r"[\r\n]", shown)]
    for phase, total in (("synthesise", 3), ("fit", 3), ("draw noise control", 3), ("fit noise control", 3)):
        bars = [frame for frame in frames if re.match(rf"{phase} +━", frame)]
        assert bars, phase
        assert re.search(rf"{total}/{total} +\d+\.\d (shards|steps)/s +\d+ s left", bars[-1]), bars[-1]
    assert max(map(len, frames)) <= 80
    assert not any("…" in frame for frame in frames)  # nothing is cut off


def test_a_pipe_gets_plain_lines(cli, cake_line: list[str]) -> None:
    said = cli(*cake_line)
    lines = said.err.splitlines()
    assert len(lines) == 4  # one a phase, for each took less than ten seconds
    for line, phase in zip(lines, ("synthesise", "fit", "draw noise control", "fit noise control"), strict=True):
        assert re.match(rf"{phase}: 3/3 (shards|steps), \d+\.\d (shards|steps)/s, \d+ s left", line), line
    assert "\x1b" not in said.err + said.out


def test_json_shows_nothing_on_a_terminal_either(on_a_terminal, train_line: list[str], scratch: Path) -> None:
    code, shown = on_a_terminal([*train_line, "--json"])
    assert code == 0
    assert shown == ""
    assert (scratch / "run" / "result.json").exists()
