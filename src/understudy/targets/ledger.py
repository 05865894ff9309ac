"""The ledger: the durable account of queries. Reserve, send, commit; and never a row over the budget.

Every row on file is charged. It is charged before it is sent, in the one transaction that looks at the budget, so
that neither a crash nor a race can send more rows than the budget has. What was answered is on file, is answered from
there when it is asked again, and is never paid for twice. A row is

* answered: the answer is on file;
* unanswered: it may have been sent. Of a process that died it stays charged for ever, and the same query is charged
  anew, for whoever counts at the other end may have counted both;
* failed: nothing was received. Whoever asks the same again takes the charge over instead of paying anew.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from sqlite3 import Connection
from types import TracebackType

from torch import Tensor

from understudy.errors import BudgetExhausted, ConfigError, IntegrityError
from understudy.targets import _tables
from understudy.targets._database import Database
from understudy.targets._memory import decode_memory, encode_memory, merged
from understudy.targets._records import Account, Counts, Grant
from understudy.targets._schema import APPLICATION, FORMAT, SCHEMA, State


class Ledger:
    """The account of queries to one target, in one file, for any number of threads and processes of one machine.

    Args:
        path: `ledger.sqlite` of a run folder, on a local disk; made if it is not there.
        target: what identifies the target, such as its SHA-256.
        width: numbers of an answer as the target gives it.
        budgets: most rows that may be charged to an account, 1 or more; None for no limit. An account that is not
            named keeps the limit that it has, and has none at first. A limit may be raised when a ledger is opened
            again; `notes` says so.

    Raises:
        ConfigError: the file is the ledger of another target, a budget is below 1, or below what is charged already.
        IntegrityError: the file is no ledger, altered, cut short or of a newer format.
        StorageError: the disk refuses.
    """

    def __init__(
        self, path: Path | str, *, target: str, width: int, budgets: Mapping[Account, int | None] | None = None
    ) -> None:
        self.path = Path(path)
        self.target = target
        self.width = width
        self.notes: tuple[str, ...] = ()
        """What differs from when the ledger was opened before, a sentence each."""
        for account, budget in (budgets or {}).items():
            _check_budget(account, budget)
        self._database = Database(self.path, schema=SCHEMA, application=APPLICATION, version=FORMAT)
        try:
            self._open(budgets or {})
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        self._database.close()

    def register(self, account: Account, terms: str) -> int:
        """Return the number of whoever asks on these terms; answers on other terms are kept apart.

        Args:
            account: what its queries are charged to.
            terms: all that decides its answers beside the target: normalisation, defences, the client's seed.

        Raises:
            ConfigError: extraction is under way on other terms; one bank must not mix them.
        """
        with self._database.transaction() as connection:
            found = _tables.terms(connection, account)
            if terms in found:
                return found[terms]
            if account == "extraction" and found:
                raise ConfigError(
                    f"the queries of this ledger were asked with {min(found)!r}, and now with {terms!r}",
                    where=self.path,
                    fix="ask with what it was begun with, or use another run folder",
                )
            return _tables.register(connection, account, terms)

    def hold(self, client: int, keys: Sequence[bytes], inputs: Sequence[bytes]) -> None:
        """Charge a whole request before any of it is sent, or nothing of it; `reserve` then takes the charges over.

        Args:
            client: who asks.
            keys: of its queries; equal keys are one query.
            inputs: the hashes of their inputs.

        Raises:
            BudgetExhausted: the budget has no room for all of it.
        """
        with self._database.transaction() as connection:
            known = _tables.known(connection, client, keys)
            new = {key: row for key, row in zip(keys, inputs, strict=True) if key not in known}
            left = _tables.left(connection, client)
            if left is not None and len(new) > left:
                raise BudgetExhausted(
                    f"the request needs {len(new)} queries, and the budget has {left} left; none was sent",
                    answered=0,
                    where=self.path,
                    fix="raise the budget, ask for fewer rows, or let requests be cut to what is left",
                )
            _tables.charge(connection, client, new, request=0, state=State.OWED)

    def reserve(self, client: int, keys: Sequence[bytes], inputs: Sequence[bytes]) -> Grant:
        """Charge a request, or as much of its beginning as the budget has room for; then that may be sent.

        Args:
            client: who asks.
            keys: of its queries; equal keys are one query.
            inputs: the hashes of their inputs.

        Returns:
            What to send and what is on file. Whoever gets it calls `commit` or `fail`, or leaves it unanswered.
        """
        with self._database.reading() as connection:
            filed = _tables.answers(connection, client, keys)
        if all(key in filed for key in keys):  # the common case of a run that goes on; the disk need not sync
            with self._database.transaction(durable=False) as connection:
                _tables.count_replays(connection, client, len(keys))
            answers = {position: filed[key] for position, key in enumerate(keys)}
            return Grant(client, 0, len(keys), (), (), (), answers, {})
        self._database.check_room(8 * self.width * len(keys))
        with self._database.transaction() as connection:
            return _tables.reserve(connection, client, keys, inputs)

    def commit(
        self, grant: Grant, answers: Sequence[bytes], memory: dict[str, Tensor] | None = None
    ) -> dict[int, bytes]:
        """Put the answers to a grant on file.

        Args:
            grant: of this ledger, neither committed nor failed yet.
            answers: to `grant.send`, in that order.
            memory: what the defences have learnt of the client; becomes the maximum of it and what is on file.

        Returns:
            By position, the answers that another process had put on file before for the same query; they stand.
        """
        with self._database.transaction() as connection:
            earlier = _tables.file_answers(connection, grant, answers)
            if memory:
                before = _tables.read_memory(connection, grant.client)
                memory.update(merged(memory, decode_memory(before)))
                if (after := encode_memory(memory)) != before:
                    _tables.write_memory(connection, grant.client, after)
        return earlier

    def fail(self, grant: Grant) -> None:
        """Write down that nothing was received for a grant; its charges pay for the same queries later on."""
        with self._database.transaction() as connection:
            _tables.settle(connection, grant, [State.OWED] * len(grant.rows))

    def free(self, client: int, keys: Sequence[bytes]) -> list[bool]:
        """Return for each query whether asking would charge nothing: it is on file, or is paid for already."""
        with self._database.reading() as connection:
            known = _tables.known(connection, client, keys)
        return [key in known for key in keys]

    def memory(self, client: int) -> dict[str, Tensor]:
        """Return what the defences have learnt of a client."""
        with self._database.reading() as connection:
            return decode_memory(_tables.read_memory(connection, client))

    def budget(self, account: Account) -> int | None:
        """Return the most rows that may be charged to an account; None where there is no limit."""
        with self._database.reading() as connection:
            return _tables.budget(connection, account)[0]

    def remaining(self, account: Account) -> int | None:
        """Return the rows that may still be charged to an account; None where there is no limit."""
        with self._database.reading() as connection:
            budget, charged = _tables.budget(connection, account)
        return None if budget is None else budget - charged

    def counts(self, account: Account) -> Counts:
        """Return the state of an account."""
        with self._database.reading() as connection:
            return _tables.counts(connection, account)

    def _open(self, budgets: Mapping[Account, int | None]) -> None:
        with self._database.transaction() as connection:
            mine = {"target": self.target, "width": str(self.width)}
            new, found = _tables.claim(connection, mine)
            for name, value in mine.items():
                if found.get(name) != value:
                    raise ConfigError(
                        f"this is the ledger of a target with {name} {found.get(name)}, not {value}",
                        where=self.path,
                        fix="use the target it was begun with, or another run folder",
                    )
            if fault := _tables.fault(connection):
                raise IntegrityError(f"the ledger is not what was written: {fault}", where=self.path)
            notes = [self._set_budget(connection, account, budget) for account, budget in budgets.items()]
        self.notes = () if new else tuple(filter(None, notes))

    def _set_budget(self, connection: Connection, account: Account, budget: int | None) -> str:
        """Set a budget; return a sentence if it was another before."""
        before, charged = _tables.budget(connection, account)
        if budget is not None and budget < charged:
            raise ConfigError(
                f"{charged} queries are charged to {account} already, and the budget is {budget}",
                where=self.path,
                expected=f"a budget of {charged} or more",
                fix="raise the budget, or use another run folder",
            )
        _tables.set_budget(connection, account, budget)
        words = ["no limit" if value is None else f"{value} queries" for value in (before, budget)]
        return "" if before == budget else f"the budget of {account} was {words[0]} and is now {words[1]}"


def _check_budget(account: Account, budget: int | None) -> None:
    if budget is not None and budget < 1:
        raise ConfigError(
            f"a budget of {budget} queries for {account}", where="--budget", expected="1 or more, or no limit"
        )
