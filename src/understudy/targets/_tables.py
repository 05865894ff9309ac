"""The statements of the ledger; each function runs within a transaction of its caller."""

import sqlite3
import zlib
from collections.abc import Iterator, Mapping, Sequence

from understudy.errors import IntegrityError
from understudy.targets._records import Account, Counts, Grant
from understudy.targets._schema import State

_CHUNK = 500  # keys in one statement; SQLite's oldest limit is 999
_DAMAGED = "restore the ledger from a copy; without one, start over in another run folder"


def claim(connection: sqlite3.Connection, facts: Mapping[str, str]) -> tuple[bool, dict[str, str]]:
    """Write down whose ledger this is, if nobody has; return whether that was so, and what stands there."""
    found = dict(connection.execute("SELECT name, value FROM meta"))
    if not found:
        connection.executemany("INSERT INTO meta VALUES (?, ?)", facts.items())
    return not found, found or dict(facts)


def fault(connection: sqlite3.Connection) -> str:
    """Return what does not add up in the tables; nothing if all does."""
    for account, charged, rows in connection.execute(
        "SELECT account, charged, (SELECT COUNT(*) FROM rows JOIN clients USING (client) "
        "WHERE clients.account = accounts.account) FROM accounts"
    ):
        if charged != rows:
            return f"{rows} rows are on file, {charged} are charged to {account}"
    missing, answered, answers = connection.execute(
        "SELECT (SELECT COUNT(*) FROM rows WHERE state = ? AND id NOT IN (SELECT row FROM answers)), "
        "(SELECT COUNT(*) FROM rows WHERE state = ?), (SELECT COUNT(*) FROM answers)",
        (State.ANSWERED, State.ANSWERED),
    ).fetchone()
    strange = answers - (answered - missing)
    return f"{missing} answers are missing, {strange} belong to no answered row" if missing or strange else ""


def budget(connection: sqlite3.Connection, account: Account) -> tuple[int | None, int]:
    """Return the budget of an account and what is charged to it."""
    found: tuple[int | None, int] = connection.execute(
        "SELECT budget, charged FROM accounts WHERE account = ?", (account,)
    ).fetchone()
    return found


def set_budget(connection: sqlite3.Connection, account: Account, value: int | None) -> None:
    """Set the budget of an account, which is not below what is charged."""
    connection.execute("UPDATE accounts SET budget = ? WHERE account = ?", (value, account))


def terms(connection: sqlite3.Connection, account: Account) -> dict[str, int]:
    """Return the terms on which an account has been asked, with the numbers of those who ask on them."""
    return dict(connection.execute("SELECT terms, client FROM clients WHERE account = ?", (account,)))


def register(connection: sqlite3.Connection, account: Account, text: str) -> int:
    """Enter a new client; return its number."""
    cursor = connection.execute("INSERT INTO clients (account, terms) VALUES (?, ?)", (account, text))
    return int(cursor.lastrowid or 0)


def left(connection: sqlite3.Connection, client: int) -> int | None:
    """Return the rows that a client's account may still be charged; None where there is no limit."""
    (value,) = connection.execute(
        "SELECT budget - charged FROM accounts JOIN clients USING (account) WHERE client = ?", (client,)
    ).fetchone()
    return None if value is None else int(value)


def known(connection: sqlite3.Connection, client: int, keys: Sequence[bytes]) -> set[bytes]:
    """Return those of the keys that cost nothing: answered, or charged and owed an answer."""
    statement = "SELECT key FROM rows WHERE client = ? AND key IN ({marks}) AND state IN (?, ?)"
    return {key for (key,) in _each(connection, statement, client, keys, State.ANSWERED, State.OWED)}


def answers(connection: sqlite3.Connection, client: int, keys: Sequence[bytes]) -> dict[bytes, bytes]:
    """Return the answers on file, by key.

    Raises:
        IntegrityError: one is not what was written.
    """
    statement = (
        "SELECT key, id, answer, crc FROM rows LEFT JOIN answers ON answers.row = rows.id "
        "WHERE client = ? AND key IN ({marks}) AND state = ?"
    )
    found = {}
    for key, row, answer, crc in _each(connection, statement, client, keys, State.ANSWERED):
        if answer is None or zlib.crc32(answer) != crc:
            (_, _, path) = connection.execute("PRAGMA database_list").fetchone()
            what = f"the answer of row {row} is not what was written (CRC mismatch)"
            raise IntegrityError(what, where=path, fix=_DAMAGED)
        found[key] = answer
    return found


def owed(connection: sqlite3.Connection, client: int, keys: Sequence[bytes]) -> dict[bytes, int]:
    """Return the numbers of charged rows for which nothing was received, by key."""
    statement = "SELECT key, id FROM rows WHERE client = ? AND key IN ({marks}) AND state = ?"
    return dict(_each(connection, statement, client, keys, State.OWED))


def charge(
    connection: sqlite3.Connection, client: int, new: Mapping[bytes, bytes], *, request: int, state: State
) -> dict[bytes, int]:
    """Charge queries, given as key and hash of the input; return the numbers of their rows by key."""
    (last,) = connection.execute("SELECT COALESCE(MAX(id), 0) FROM rows").fetchone()
    numbers = {key: last + place for place, key in enumerate(new, start=1)}
    connection.executemany(
        "INSERT INTO rows (id, client, key, input, request, state) VALUES (?, ?, ?, ?, ?, ?)",
        ((numbers[key], client, key, row, request, state) for key, row in new.items()),
    )
    _add(connection, client, "charged", len(new))
    return numbers


def count_replays(connection: sqlite3.Connection, client: int, rows: int) -> None:
    """Count rows that were answered from file."""
    _add(connection, client, "replayed", rows)


def reserve(connection: sqlite3.Connection, client: int, keys: Sequence[bytes], inputs: Sequence[bytes]) -> Grant:
    """Reserve what is not on file, from the first row on, for as long as the budget has room."""
    filed, free, room = answers(connection, client, keys), owed(connection, client, keys), left(connection, client)
    new: dict[bytes, bytes] = {}
    send: dict[bytes, int] = {}
    repeats: dict[int, int] = {}
    granted = len(keys)
    for position, key in enumerate(keys):
        if key in send:
            repeats[position] = send[key]
        elif key not in filed:
            if key not in free:
                if room is not None and len(new) == room:
                    granted = position
                    break
                new[key] = inputs[position]
            send[key] = position
    request = 0
    if send:
        cursor = connection.execute("INSERT INTO requests (client, sent) VALUES (?, ?)", (client, len(send)))
        request = int(cursor.lastrowid or 0)
    numbers = charge(connection, client, new, request=request, state=State.RESERVED)
    taken = {key: free[key] for key in send if key in free}
    connection.executemany(
        "UPDATE rows SET state = ?, request = ? WHERE id = ?",
        ((State.RESERVED, request, row) for row in taken.values()),
    )
    numbers.update(taken)
    old = {position: filed[key] for position, key in enumerate(keys[:granted]) if key in filed}
    count_replays(connection, client, len(old) + len(repeats))
    rows = tuple(numbers[key] for key in send)
    return Grant(client, request, granted, tuple(send.values()), tuple(send), rows, old, repeats)


def settle(connection: sqlite3.Connection, grant: Grant, states: Sequence[State]) -> None:
    """Give the rows of a grant, which are reserved, their next states.

    Raises:
        ValueError: they are not reserved by this request: it was settled before.
    """
    cursor = connection.executemany(
        "UPDATE rows SET state = ? WHERE id = ? AND request = ? AND state = ?",
        ((state, row, grant.request, State.RESERVED) for state, row in zip(states, grant.rows, strict=True)),
    )
    if cursor.rowcount not in (len(grant.rows), -1):
        raise ValueError(f"request {grant.request} was settled before")


def file_answers(connection: sqlite3.Connection, grant: Grant, blobs: Sequence[bytes]) -> dict[int, bytes]:
    """Put answers on file; return by position those that another process had on file before for the same query."""
    earlier = answers(connection, grant.client, grant.keys)
    settle(connection, grant, [State.DOUBLE if key in earlier else State.ANSWERED for key in grant.keys])
    connection.executemany(
        "INSERT INTO answers (row, answer, crc) VALUES (?, ?, ?)",
        (
            (row, blob, zlib.crc32(blob))
            for key, row, blob in zip(grant.keys, grant.rows, blobs, strict=True)
            if key not in earlier
        ),
    )
    return {position: earlier[key] for position, key in zip(grant.send, grant.keys, strict=True) if key in earlier}


def counts(connection: sqlite3.Connection, account: Account) -> Counts:
    """Return the state of an account, in one statement and so as of one moment."""
    charged, replayed, limit, requests, sent, answered, reserved, free, distinct = connection.execute(
        "WITH mine AS (SELECT client FROM clients WHERE account = ?), "
        "charges AS (SELECT state, COUNT(*) AS n FROM rows WHERE client IN mine GROUP BY state) "
        "SELECT charged, replayed, budget, (SELECT COUNT(*) FROM requests WHERE client IN mine), "
        "(SELECT COALESCE(SUM(sent), 0) FROM requests WHERE client IN mine), "
        "(SELECT COALESCE(SUM(n), 0) FROM charges WHERE state IN (?, ?)), "
        "(SELECT COALESCE(SUM(n), 0) FROM charges WHERE state = ?), "
        "(SELECT COALESCE(SUM(n), 0) FROM charges WHERE state = ?), "
        "(SELECT COUNT(DISTINCT input) FROM rows WHERE client IN mine) FROM accounts WHERE account = ?",
        (account, State.ANSWERED, State.DOUBLE, State.RESERVED, State.OWED, account),
    ).fetchone()
    return Counts(
        rows=charged,
        requests=requests,
        sent=sent,
        answered=answered,
        unanswered=reserved,
        failed=free,
        distinct=distinct,
        repeated=charged - distinct,
        replayed=replayed,
        budget=limit,
    )


def read_memory(connection: sqlite3.Connection, client: int) -> bytes | None:
    """Return what was last written down of a client."""
    (memory,) = connection.execute("SELECT memory FROM clients WHERE client = ?", (client,)).fetchone()
    return None if memory is None else bytes(memory)


def write_memory(connection: sqlite3.Connection, client: int, memory: bytes) -> None:
    """Write down what is known of a client."""
    connection.execute("UPDATE clients SET memory = ? WHERE client = ?", (memory, client))


def _each(
    connection: sqlite3.Connection, statement: str, client: int, keys: Sequence[bytes], *states: State
) -> Iterator[tuple]:  # type: ignore[type-arg]
    """Yield the rows that a statement finds, asked about a few keys at a time."""
    different = list(dict.fromkeys(keys))
    for start in range(0, len(different), _CHUNK):
        some = different[start : start + _CHUNK]
        yield from connection.execute(statement.format(marks=",".join("?" * len(some))), (client, *some, *states))


def _add(connection: sqlite3.Connection, client: int, column: str, rows: int) -> None:
    if rows == 0:
        return  # a transaction that writes nothing need not wait for the disk
    connection.execute(
        f"UPDATE accounts SET {column} = {column} + ? WHERE account = (SELECT account FROM clients WHERE client = ?)",
        (rows, client),
    )
