"""Processes that ask one target through one ledger, started without each of them importing torch anew.

Reads commands from standard input and answers each with a line: `start SEED` forks a process that asks, and gives its
number; `wait NUMBER` gives the exit status of one that has ended; `part NUMBER` gives the rows that are on file after
two processes that share a ledger by a fork part, of that number each. The processes write eight bytes to the pipe for
everything they do, a letter and their number; they log what the target evaluated and what they were answered.
"""

import os
import random
import signal
import sys
import traceback
from pathlib import Path

import torch
from torch import Tensor

from understudy.errors import BudgetExhausted
from understudy.targets import Access, Endpoint, Ledger, Target

IMAGES, ROWS, WIDTH = 120, 5, 4
HANGS = 1000
"""From this seed on, a process stops for ever between having evaluated its second piece and answering it."""


def images(numbers: list[int]) -> Tensor:
    """An image tells its number: two pixels."""
    return torch.tensor([[number / 256, 1.0] for number in numbers]).reshape(-1, 2)


def truth(numbers: list[int]) -> Tensor:
    """What the target answers."""
    return torch.tensor([[number + 1.0, 2.0, -number, 0.5] for number in numbers]).reshape(-1, WIDTH)


def tell(event: bytes) -> None:
    os.write(int(os.environ["EVENTS"]), event + b"%07d" % os.getpid())


class Logged(Target):
    """Writes down every row before it answers it."""

    name, access, input_shape, width, identity = "logged", Access.EMBEDDINGS, (2,), WIDTH, "logged"

    def __init__(self, log: int, *, hangs: bool) -> None:
        self.log, self.hangs, self.calls = log, hangs, 0

    def answer(self, rows: Tensor) -> Tensor:
        numbers = (rows[:, 0] * 256).round().long().tolist()
        self.calls += 1
        tell(b"a")
        os.write(self.log, b"".join(b"%03d\n" % number for number in numbers))
        tell(b"b")
        if self.hangs and self.calls == 2:
            tell(b"h")
            signal.pause()
        return truth(numbers)


def open_ledger(folder: Path, budget: int) -> Ledger:
    return Ledger(folder / "ledger.sqlite", target="logged", width=WIDTH, budgets={"extraction": budget})


def ask(folder: Path, seed: int, ledger: Ledger) -> None:
    """Ask about all images in an order of its own, a few at a time, until that is done or the budget is used up."""
    evaluated, answered = (
        os.open(folder / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT) for name in ("evaluated", "answered")
    )
    endpoint = Endpoint(Logged(evaluated, hangs=seed >= HANGS), ledger, normalise=False, batch_rows=ROWS)
    order = random.Random(seed).sample(range(IMAGES), IMAGES)
    for start in range(0, IMAGES, ROWS):
        numbers = order[start : start + ROWS]
        try:
            rows = endpoint.ask(images(numbers))
        except BudgetExhausted as error:
            numbers = numbers[: error.answered]
            rows = endpoint.ask(images(numbers))
        assert torch.equal(rows, truth(numbers))
        os.write(answered, b"".join(b"%03d\n" % number for number in numbers))
        tell(b"c")


def child(folder: Path, seed: int, budget: int, inherited: Ledger) -> None:
    code = 1
    try:
        # Half of them use the object that their parent opened before the fork.
        ask(folder, seed, inherited if seed % 2 else open_ledger(folder, budget))
        code = 0
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        tell(b".")
        os._exit(code)


def part(folder: Path, rows: int) -> int:
    """Ask in a parent, fork, ask in the child before and after the parent closes; return what is on file then."""
    ledger = Ledger(folder / "parted.sqlite", target="logged", width=WIDTH)

    def answer(first: int) -> None:
        keys = [bytes([number]) * 16 for number in range(first, first + rows)]
        ledger.commit(ledger.reserve(ledger.register("extraction", ""), keys, keys), keys)

    answer(0)
    (reads, asked), (waits, closed) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        answer(rows)
        os.write(asked, b".")
        os.read(waits, 1)
        answer(2 * rows)
        os._exit(0)
    os.read(reads, 1)
    ledger.close()
    os.write(closed, b".")
    os.waitpid(pid, 0)
    return ledger.counts("extraction").answered


def serve(folder: Path, budget: int) -> None:
    torch.set_num_threads(1)
    ledger = open_ledger(folder, budget)
    for line in sys.stdin:
        word, number = line.split()
        if word == "wait":
            _, status = os.waitpid(int(number), 0)
            print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201
            continue
        if word == "part":
            print(part(folder, int(number)), flush=True)  # noqa: T201
            continue
        ledger.counts("extraction")  # so that a connection is open when the process forks
        pid = os.fork()
        if pid == 0:
            child(folder, int(number), budget, ledger)
        print(pid, flush=True)  # noqa: T201


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
