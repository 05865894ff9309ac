"""Four processes on one ledger and one budget, killed at random moments and started again."""

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from understudy.targets import Endpoint, Ledger, Target

WORKERS, KILLS, WIDTH, IMAGES = 4, 14, 4, 120
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork and no SIGKILL")


class Nursery:
    """The process that starts the processes, and what they report."""

    def __init__(self, folder: Path, budget: int) -> None:
        self.events, writer = os.pipe()
        script = Path(__file__).with_name("asking.py")
        # Its file descriptor 3 is the pipe that all of them write to.
        command = f'exec "$0" "$1" "$2" "$3" 3>&{writer}'
        self.process = subprocess.Popen(
            ["bash", "-c", command, sys.executable, script, folder, str(budget)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(writer,),
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            text=True,
        )
        os.close(writer)
        self.alive: list[int] = []
        self.done = 0

    def say(self, word: str, number: int) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{word} {number}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def start(self, seed: int) -> None:
        self.alive.append(self.say("start", seed))

    def watch(self, events: int) -> None:
        """Wait until so many things have happened, or no process is left that could do anything."""
        for _ in range(events):
            if self.done == len(self.alive):
                return
            self.done += os.read(self.events, 1) == b"."

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        self.alive.remove(pid)
        status = self.say("wait", pid)
        assert status in (0, -signal.SIGKILL)
        self.done -= status == 0  # it had come to its end by itself; its dot is or will be read

    def close(self) -> None:
        for pid in self.alive:
            os.kill(pid, signal.SIGKILL)
        self.process.communicate()
        os.close(self.events)
