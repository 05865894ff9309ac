"""The tables of a ledger."""

from enum import IntEnum

FORMAT = 1
APPLICATION = 0x554E4453  # "UNDS"


class State(IntEnum):
    """How far a charged row is."""

    RESERVED = 0
    """It may have been sent, and no answer is on file: charged for ever, asked anew."""
    ANSWERED = 1
    """Its answer is on file, and is what everyone gets who asks again."""
    OWED = 2
    """Nothing was received for it: whoever asks again takes the charge over."""
    DOUBLE = 3
    """It was answered, but another process that asked at the same moment had its answer on file before."""


SCHEMA = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    # The last line of defence: SQLite itself refuses to charge more rows than the budget has.
    "CREATE TABLE accounts (account TEXT PRIMARY KEY, budget INTEGER, charged INTEGER NOT NULL DEFAULT 0, "
    "replayed INTEGER NOT NULL DEFAULT 0, CHECK (budget IS NULL OR charged <= budget))",
    "CREATE TABLE clients (client INTEGER PRIMARY KEY, account TEXT NOT NULL, terms TEXT NOT NULL, memory BLOB, "
    "UNIQUE (account, terms))",
    "CREATE TABLE requests (request INTEGER PRIMARY KEY, client INTEGER NOT NULL, sent INTEGER NOT NULL)",
    "CREATE TABLE rows (id INTEGER PRIMARY KEY, client INTEGER NOT NULL, key BLOB NOT NULL, input BLOB NOT NULL, "
    "request INTEGER NOT NULL, state INTEGER NOT NULL)",
    "CREATE INDEX rows_by_key ON rows (client, key)",
    # Apart from the rows, so that an answer is appended and moves nothing.
    "CREATE TABLE answers (row INTEGER PRIMARY KEY, answer BLOB NOT NULL, crc INTEGER NOT NULL)",
    "INSERT INTO accounts (account) VALUES ('extraction'), ('evaluation')",
)
