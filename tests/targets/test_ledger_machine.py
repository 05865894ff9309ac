"""The ledger against a model of it, under any order of requests, threads, crashes and rises of the budget.

Several `Ledger` objects stand for as many processes on one file. A crash drops one of them between reserving and
committing. The model is a plain list of charges, and knows nothing of SQLite.
"""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier
from typing import Literal

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from understudy.errors import BudgetExhausted, ConfigError
from understudy.targets import Grant, Ledger

PROCESSES = 3
MEMORY = next(
    (place for place in ("/dev/shm",) if Path(place).is_dir()), None
)  # the disk's own speed is no matter here
NUMBERS = st.lists(st.integers(0, 9), min_size=1, max_size=6)
WHO = st.integers(0, PROCESSES - 1)


@dataclass
class Charge:
    """One charged row, as the model has it."""

    number: int
    state: Literal["reserved", "answered", "double", "failed"]
    answer: bytes = b""


@dataclass(frozen=True)
class Pending:
    """A grant that some process holds."""

    who: int
    life: int
    grant: Grant


def keys(numbers: list[int]) -> list[bytes]:
    return [bytes([number]) * 16 for number in numbers]


def inputs(numbers: list[int]) -> list[bytes]:
    """Two queries share an input: asked on two occasions."""
    return [bytes([number // 2]) * 16 for number in numbers]


class LedgerMachine(RuleBasedStateMachine):
    pending = Bundle("pending")

    @initialize(budget=st.one_of(st.none(), st.integers(1, 25)))
    def begin(self, budget: int | None) -> None:
        self.folder = tempfile.TemporaryDirectory(dir=MEMORY)
        self.path = Path(self.folder.name) / "ledger.sqlite"
        self.budget = budget
        self.charges: dict[int, Charge] = {}
        self.answers: dict[int, bytes] = {}
        self.requests = self.sent = self.replayed = self.serial = 0
        self.lives = [0] * PROCESSES
        self.ledgers = [self._open() for _ in range(PROCESSES)]
        self.client = self.ledgers[0].register("extraction", "plain")

    def _open(self) -> Ledger:
        return Ledger(self.path, target="t", width=1, budgets={"extraction": self.budget})

    def _free(self, number: int) -> list[int]:
        return [row for row, charge in self.charges.items() if charge.number == number and charge.state == "failed"]

    def _expected(self, numbers: list[int]) -> tuple[int, list[int], list[int]]:
        """Positions granted, positions to send, and numbers to be charged anew."""
        room = None if self.budget is None else self.budget - len(self.charges)
        send: list[int] = []
        new: list[int] = []
        for position, number in enumerate(numbers):
            if number in self.answers or number in [numbers[place] for place in send]:
                continue
            if not self._free(number):
                if room is not None and len(new) >= room:
                    return position, send, new
                new.append(number)
            send.append(position)
        return len(numbers), send, new

    def _adopt(self, numbers: list[int], grant: Grant) -> None:
        """Let the model reserve what was granted; no row may be granted that is held, answered or lost."""
        for position, row in zip(grant.send, grant.rows, strict=True):
            if row in self.charges:
                assert self.charges[row] == Charge(numbers[position], "failed")
            self.charges[row] = Charge(numbers[position], "reserved")
        self.requests += bool(grant.send)
        self.sent += len(grant.send)
        self.replayed += len(grant.filed) + len(grant.repeats)

    @rule(target=pending, who=WHO, numbers=NUMBERS)
    def reserve(self, who: int, numbers: list[int]) -> Pending:
        granted, send, new = self._expected(numbers)
        before = set(self.charges)
        grant = self.ledgers[who].reserve(self.client, keys(numbers), inputs(numbers))
        assert grant.granted == granted
        assert list(grant.send) == send
        assert grant.keys == tuple(keys([numbers[place] for place in send]))
        known = {place: self.answers[n] for place, n in enumerate(numbers[:granted]) if n in self.answers}
        assert grant.filed == known
        assert len(known) + len(send) + len(grant.repeats) == granted
        assert all(numbers[place] == numbers[first] for place, first in grant.repeats.items())
        self._adopt(numbers, grant)
        assert sorted(self.charges[row].number for row in set(self.charges) - before) == sorted(new)
        return Pending(who, self.lives[who], grant)

    @rule(who=WHO, numbers=NUMBERS)
    def hold(self, who: int, numbers: list[int]) -> None:
        new = [n for n in dict.fromkeys(numbers) if n not in self.answers and not self._free(n)]
        if self.budget is not None and len(new) > self.budget - len(self.charges):
            with pytest.raises(BudgetExhausted, match="none was sent"):
                self.ledgers[who].hold(self.client, keys(numbers), inputs(numbers))
            return
        self.ledgers[who].hold(self.client, keys(numbers), inputs(numbers))
        for number in new:
            self.charges[max(self.charges, default=0) + 1] = Charge(number, "failed")

    @rule(asked=consumes(pending))
    def commit(self, asked: Pending) -> None:
        if asked.life != self.lives[asked.who] or not asked.grant.send:
            return
        given = [f"{key[0]}-{self.serial}".encode() for key in asked.grant.keys]
        self.serial += 1
        earlier = self.ledgers[asked.who].commit(asked.grant, given)
        rows = zip(asked.grant.send, asked.grant.rows, given, strict=True)
        for position, row, answer in rows:
            charge = self.charges[row]
            if charge.number in self.answers:
                assert earlier.pop(position) == self.answers[charge.number]
                charge.state = "double"
            else:
                self.answers[charge.number] = charge.answer = answer
                charge.state = "answered"
        assert earlier == {}

    @rule(asked=consumes(pending))
    def fail(self, asked: Pending) -> None:
        if asked.life == self.lives[asked.who] and asked.grant.send:
            self.ledgers[asked.who].fail(asked.grant)
            for row in asked.grant.rows:
                self.charges[row].state = "failed"

    @rule(who=WHO)
    def crash(self, who: int) -> None:
        """What the process had reserved is never settled; the file is opened and checked again."""
        self.lives[who] += 1
        self.ledgers[who] = self._open()

    @rule(who=WHO, more=st.integers(1, 10))
    def raise_the_budget(self, who: int, more: int) -> None:
        if self.budget is not None:
            self.budget += more
            self.ledgers[who].close()
            self.ledgers[who] = self._open()
            assert len(self.ledgers[who].notes) == 1

    @rule(who=WHO)
    def lower_it_too_far(self, who: int) -> None:
        if len(self.charges) > 1:
            with pytest.raises(ConfigError, match="charged to extraction already"):
                Ledger(self.path, target="t", width=1, budgets={"extraction": len(self.charges) - 1})
        assert self.ledgers[who].remaining("extraction") == (
            None if self.budget is None else self.budget - len(self.charges)
        )

    @rule(requests=st.lists(NUMBERS, min_size=2, max_size=4), settle=st.booleans())
    def ask_in_threads(self, requests: list[list[int]], settle: bool) -> None:
        """Who comes first is open; that nothing is granted twice, and nothing over the budget, is not."""
        start = Barrier(len(requests))

        def ask(place: int) -> tuple[Grant, bool]:
            ledger = self.ledgers[place % PROCESSES]
            start.wait()
            grant = ledger.reserve(self.client, keys(requests[place]), inputs(requests[place]))
            if settle and grant.send:
                ledger.fail(grant)
            return grant, settle and bool(grant.send)

        with ThreadPoolExecutor(len(requests)) as pool:
            results = list(pool.map(ask, range(len(requests))))
        for place, (grant, failed) in sorted(enumerate(results), key=lambda item: item[1][0].request):
            self._adopt(requests[place], grant)
            for row in grant.rows if failed else ():
                self.charges[row].state = "failed"
            for position, answer in grant.filed.items():
                assert answer == self.answers[requests[place][position]]
            if grant.granted < len(requests[place]):
                assert self.budget is not None

    @invariant()
    def the_budget_holds_and_the_counts_agree(self) -> None:
        counts = self.ledgers[0].counts("extraction")
        states = [charge.state for charge in self.charges.values()]
        assert counts.rows == len(self.charges)
        assert self.budget is None or counts.rows <= self.budget
        assert counts.answered == states.count("answered") + states.count("double")
        assert counts.unanswered == states.count("reserved")
        assert counts.failed == states.count("failed")
        assert states.count("answered") == len(self.answers)
        different = len({charge.number // 2 for charge in self.charges.values()})
        assert (counts.distinct, counts.repeated) == (different, len(states) - different)
        assert (counts.requests, counts.sent, counts.replayed) == (self.requests, self.sent, self.replayed)
        assert counts.budget == self.budget

    def teardown(self) -> None:
        """A process that comes later finds every answer, pays for none of them, and is answered in full."""
        if not hasattr(self, "ledgers"):
            return
        for ledger in self.ledgers:
            ledger.close()
        with self._open() as later:
            numbers = sorted(self.answers)
            if numbers:
                grant = later.reserve(self.client, keys(numbers), inputs(numbers))
                assert grant.filed == {place: self.answers[number] for place, number in enumerate(numbers)}
            assert later.counts("extraction").rows == len(self.charges)
        self.folder.cleanup()


LedgerMachine.TestCase.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestLedger = LedgerMachine.TestCase
