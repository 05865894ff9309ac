"""Four processes on one ledger and one budget, killed at random moments and started again."""

import os
import random
import select
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from understudy.errors import BudgetExhausted
from understudy.targets import Access, Endpoint, Ledger, Target

WORKERS, KILLS, HANGS, PATIENCE_S = 4, 12, 1000, 120
IMAGES, ROWS, BUDGET, WIDTH = 120, 5, 100, 4
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork and no SIGKILL")


class Nursery:
    """The process that starts the processes, and what these report."""

    def __init__(self, folder: Path) -> None:
        self.events, writer = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("asking.py"), folder, str(BUDGET)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(writer,),
            env={**os.environ, "EVENTS": str(writer), "OMP_NUM_THREADS": "1"},
            text=True,
        )
        os.close(writer)
        self.alive: list[int] = []
        self.done: set[int] = set()

    def say(self, word: str, number: int) -> int:
        """Give a command, and return what it is answered."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{word} {number}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def start(self, seed: int) -> None:
        self.alive.append(self.say("start", seed))

    def event(self) -> bytes:
        """Wait for the next thing that happens."""
        assert select.select([self.events], [], [], PATIENCE_S)[0], "nothing happens any more"
        event = os.read(self.events, 8)
        if event[:1] == b".":
            self.done.add(int(event[1:]))
        return event[:1]

    def watch(self, events: int) -> None:
        """Wait until so many things have happened, or all processes are done."""
        for _ in range(events):
            if self.done.issuperset(self.alive):
                return
            self.event()

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        self.alive.remove(pid)
        assert self.say("wait", pid) in (0, -signal.SIGKILL)

    def close(self) -> None:
        for pid in self.alive:
            os.kill(pid, signal.SIGKILL)
        self.process.kill()
        self.process.communicate()
        os.close(self.events)


class Silent(Target):
    """The same target, after it was switched off."""

    name, access, input_shape, width, identity = "logged", Access.EMBEDDINGS, (2,), WIDTH, "logged"

    def answer(self, images: Tensor) -> Tensor:  # noqa: ARG002
        pytest.fail("what is on file is not asked for, and beyond the budget nothing is")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def nursery(folder: Path) -> Iterator[Nursery]:
    nursery = Nursery(folder)
    yield nursery
    nursery.close()


def _ask(endpoint: Endpoint, number: int) -> list[float] | None:
    """The answer that is on file for an image; None if there is none and the budget is used up."""
    try:
        return endpoint.ask(torch.tensor([[number / 256, 1.0]]))[0].tolist()
    except BudgetExhausted:
        return None


def test_kills_neither_exceed_the_budget_nor_lose_an_answer(nursery: Nursery, folder: Path) -> None:
    chance = random.Random(0)
    nursery.start(HANGS)  # it will die where it hurts most: what it evaluated is not on file
    while nursery.event() != b"h":
        pass
    nursery.kill(nursery.alive[0])
    for seed in range(WORKERS):
        nursery.start(seed)
    for seed in range(WORKERS, WORKERS + KILLS):
        nursery.watch(chance.randint(1, 12))
        nursery.kill(chance.choice(nursery.alive))
        nursery.start(seed)
    nursery.watch(sys.maxsize)
    assert [nursery.say("wait", pid) for pid in nursery.alive] == [0] * WORKERS
    nursery.alive.clear()

    evaluated = Counter((folder / "evaluated").read_text().split())
    received = {int(line) for line in (folder / "answered").read_text().split()}
    with Ledger(folder / "ledger.sqlite", target="logged", width=WIDTH) as ledger:
        counts = ledger.counts("extraction")
        endpoint = Endpoint(Silent(), ledger, normalise=False)
        found = {number: _ask(endpoint, number) for number in range(IMAGES)}
        assert ledger.counts("extraction").rows == counts.rows
    assert evaluated.total() <= counts.rows == BUDGET
    assert evaluated.total() <= counts.sent
    assert ROWS <= counts.unanswered <= ROWS * (KILLS + 1)
    assert counts.answered + counts.unanswered == BUDGET
    assert counts.failed == 0
    filed = {number for number, answer in found.items() if answer is not None}
    assert received <= filed
    assert len(filed) <= counts.answered
    for number in filed:
        assert evaluated[f"{number:03d}"] >= 1
        assert found[number] == [number + 1.0, 2.0, -number, 0.5]


def test_a_ledger_survives_a_fork(nursery: Nursery) -> None:
    """The child's log would be deleted under it if it had inherited a connection: SQLite's locks are not inherited."""
    assert nursery.say("part", 7) == 3 * 7
