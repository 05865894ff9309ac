"""The ledger's file: who may open it, what damage is found, and what its counts say."""

import gc
import shutil
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from understudy.errors import BudgetExhausted, ConfigError, IntegrityError, StorageError
from understudy.targets import Counts, Ledger

Open = Callable[..., Ledger]


def keys(*numbers: int) -> list[bytes]:
    return [number.to_bytes(16, "big") for number in numbers]


def answer(ledger: Ledger, client: int, *numbers: int) -> None:
    """Ask about these, and answer each with its own number."""
    grant = ledger.reserve(client, keys(*numbers), keys(*numbers))
    ledger.commit(grant, list(grant.keys))


def filled(open_ledger: Open, rows: int = 200) -> Path:
    ledger = open_ledger(budget=10_000)
    answer(ledger, ledger.register("extraction", "plain"), *range(rows))
    ledger.close()
    return ledger.path


def edit(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(statement)
    connection.close()


def test_every_count_means_what_it_says(open_ledger: Open) -> None:
    ledger = open_ledger(budget=20)
    client = ledger.register("extraction", "plain")
    answer(ledger, client, 1, 2, 3)
    grant = ledger.reserve(client, keys(3, 4, 5, 4), keys(3, 4, 5, 4))
    assert (grant.send, grant.filed, grant.repeats) == ((1, 2), {0: keys(3)[0]}, {3: 1})
    ledger.fail(grant)
    lost = ledger.reserve(client, keys(4, 6), keys(4, 6))
    assert lost.rows[0] == grant.rows[0]  # the charge of 4 is taken over
    answer(ledger, client, 6)
    assert ledger.counts("extraction") == Counts(
        rows=7, requests=4, sent=8, answered=4, unanswered=2, failed=1, distinct=6, repeated=1, replayed=2, budget=20
    )
    assert ledger.counts("extraction").to_json()["rows"] == 7
    assert ledger.counts("evaluation") == Counts(0, 0, 0, 0, 0, 0, 0, 0, 0, None)
    assert (ledger.remaining("extraction"), ledger.remaining("evaluation")) == (13, None)


def test_what_two_ask_at_once_is_charged_to_both_and_answered_once(open_ledger: Open) -> None:
    one, two = open_ledger(), open_ledger()
    client = one.register("extraction", "plain")
    assert two.register("extraction", "plain") == client
    first, second = (ledger.reserve(client, keys(1, 2), keys(1, 2)) for ledger in (one, two))
    assert one.commit(first, [b"a", b"b"]) == {}
    assert two.commit(second, [b"c", b"d"]) == {0: b"a", 1: b"b"}
    assert one.reserve(client, keys(2), keys(2)).filed == {0: b"b"}
    counts = one.counts("extraction")
    assert (counts.rows, counts.answered, counts.unanswered, counts.failed) == (4, 4, 0, 0)


def test_a_grant_is_settled_once(open_ledger: Open) -> None:
    ledger = open_ledger()
    client = ledger.register("extraction", "plain")
    grant = ledger.reserve(client, keys(1), keys(1))
    ledger.commit(grant, [b"a"])
    for again in (lambda: ledger.commit(grant, [b"b"]), lambda: ledger.fail(grant)):
        with pytest.raises(ValueError, match="settled before"):
            again()
    assert ledger.reserve(client, keys(1), keys(1)).filed == {0: b"a"}


def test_held_charges_are_taken_over_and_all_or_none_are_made(open_ledger: Open) -> None:
    ledger = open_ledger(budget=5)
    client = ledger.register("extraction", "plain")
    ledger.hold(client, keys(1, 2, 3, 2), keys(1, 2, 3, 2))
    assert (ledger.counts("extraction").rows, ledger.counts("extraction").failed) == (3, 3)
    ledger.hold(client, keys(1, 2), keys(1, 2))
    with pytest.raises(BudgetExhausted, match="needs 3 queries, and the budget has 2 left"):
        ledger.hold(client, keys(3, 4, 5, 6), keys(3, 4, 5, 6))
    answer(ledger, client, 1, 2, 3)
    counts = ledger.counts("extraction")
    assert (counts.rows, counts.answered, counts.requests, counts.sent) == (3, 3, 1, 3)


def test_many_keys_at_once(open_ledger: Open) -> None:
    """More than one statement can hold."""
    ledger = open_ledger(budget=2500)
    client = ledger.register("extraction", "plain")
    ledger.hold(client, keys(*range(2500)), keys(*range(2500)))
    answer(ledger, client, *range(2000))
    again = ledger.reserve(client, keys(*range(2600)), keys(*range(2600)))
    assert (len(again.filed), len(again.send), again.granted) == (2000, 500, 2500)
    assert again.filed == dict(enumerate(keys(*range(2000))))


@pytest.mark.parametrize("budget", [0, -1, -100])
def test_a_budget_below_one_is_refused_and_no_file_is_made(open_ledger: Open, tmp_path: Path, budget: int) -> None:
    with pytest.raises(ConfigError, match=f"a budget of {budget} queries for extraction"):
        open_ledger(budget=budget)
    assert list(tmp_path.iterdir()) == []


def test_budgets_can_be_raised_and_not_lowered_below_what_is_charged(open_ledger: Open) -> None:
    ledger = open_ledger(budget=10)
    assert ledger.notes == ()
    answer(ledger, ledger.register("extraction", "plain"), 1, 2, 3)
    with pytest.raises(ConfigError, match="3 queries are charged to extraction already, and the budget is 2"):
        open_ledger(budget=2)
    assert open_ledger(budget=10).notes == ()
    assert open_ledger(budget=3).notes == ("the budget of extraction was 10 queries and is now 3 queries",)
    assert ledger.remaining("extraction") == 0
    assert open_ledger(budget=None).notes == ("the budget of extraction was 3 queries and is now no limit",)
    assert ledger.remaining("extraction") is None


def test_an_account_that_is_not_named_keeps_its_budget(open_ledger: Open) -> None:
    path = open_ledger(budget=10).path
    assert Ledger(path, target="known-3", width=3).remaining("extraction") == 10


def test_the_ledger_of_another_target_is_refused_and_both_are_named(open_ledger: Open) -> None:
    open_ledger()
    with pytest.raises(ConfigError, match="target known-3, not other"):
        open_ledger(target="other")
    with pytest.raises(ConfigError, match="width 3, not 4"):
        open_ledger(width=4)
    open_ledger()


def test_sqlite_itself_refuses_to_charge_beyond_the_budget(open_ledger: Open) -> None:
    path = open_ledger(budget=3).path
    with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
        edit(path, "UPDATE accounts SET charged = 4 WHERE account = 'extraction'")


DAMAGE: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not a database, but long enough to have a header" * 10),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "cut off within a page": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "a page overwritten": lambda path: path.write_bytes(
        path.read_bytes()[: 8192 * 5] + b"\xff" * 8192 + path.read_bytes()[8192 * 6 :]
    ),
    "the header overwritten": lambda path: path.write_bytes(b"\x00" * 100 + path.read_bytes()[100:]),
    "another application": lambda path: edit(path, "PRAGMA application_id = 1"),
    "a table gone": lambda path: edit(path, "DROP TABLE answers"),
    "a column more": lambda path: edit(path, "ALTER TABLE rows ADD COLUMN extra"),
    "an index gone": lambda path: edit(path, "DROP INDEX rows_by_key"),
    "an answer gone": lambda path: edit(path, "DELETE FROM answers WHERE row = 7"),
    "an answer to no row": lambda path: edit(path, "INSERT INTO answers VALUES (9999, x'00', 0)"),
    "answers of the wrong rows": lambda path: edit(path, "UPDATE answers SET row = row + 1000 WHERE row < 3"),
    "a row gone": lambda path: edit(path, "DELETE FROM rows WHERE id = 7"),
    "a charge gone": lambda path: edit(path, "UPDATE accounts SET charged = charged - 1 WHERE charged > 0"),
    "no ledger": lambda path: (path.unlink(), edit(path, "CREATE TABLE notes (text)")),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_found_when_the_file_is_opened(open_ledger: Open, kind: str) -> None:
    path = filled(open_ledger)
    DAMAGE[kind](path)
    before = path.read_bytes()
    with pytest.raises(IntegrityError) as error:
        open_ledger()
    assert str(path) in str(error.value)
    assert path.read_bytes() == before


def test_a_newer_format_is_refused(open_ledger: Open) -> None:
    path = filled(open_ledger)
    edit(path, "PRAGMA user_version = 2")
    with pytest.raises(IntegrityError, match=r"has format 2(.|\n)*pip install --upgrade understudy"):
        open_ledger()


def test_an_altered_answer_is_found_when_it_is_asked_for(open_ledger: Open) -> None:
    path = filled(open_ledger)
    edit(path, "UPDATE answers SET answer = zeroblob(16) WHERE row = 7")
    ledger = open_ledger(budget=10_000)
    client = ledger.register("extraction", "plain")
    assert ledger.reserve(client, keys(5), keys(5)).filed
    with pytest.raises(IntegrityError, match="the answer of row 7 is not what was written") as error:
        ledger.reserve(client, keys(6), keys(6))
    assert "ledger.sqlite" in str(error.value)


def test_a_ledger_that_is_gone_is_not_begun_anew_over_its_log(open_ledger: Open, tmp_path: Path) -> None:
    ledger = open_ledger()
    answer(ledger, ledger.register("extraction", "plain"), 1)
    log = ledger.path.with_name("ledger.sqlite-wal")
    copy = tmp_path / "copy"
    shutil.copy(log, copy)
    ledger.close()
    ledger.path.unlink()
    shutil.copy(copy, log)
    with pytest.raises(IntegrityError, match="the file is gone, and its log is left"):
        open_ledger()


def test_a_place_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        Ledger(tmp_path / "file" / "ledger.sqlite", target="t", width=1)
    (tmp_path / "folder.sqlite").mkdir()
    with pytest.raises(StorageError, match="cannot write"):
        Ledger(tmp_path / "folder.sqlite", target="t", width=1)


def test_a_path_may_hold_any_character(tmp_path: Path) -> None:
    path = tmp_path / "50% of #1?" / "le dger.sqlite"
    with Ledger(path, target="t", width=1) as ledger:
        answer(ledger, ledger.register("extraction", "plain"), 1)
    assert Ledger(path, target="t", width=1).counts("extraction").answered == 1


def test_nothing_is_left_beside_a_ledger_that_was_closed(open_ledger: Open, tmp_path: Path) -> None:
    with open_ledger(budget=3) as ledger:
        answer(ledger, ledger.register("extraction", "plain"), 1)
    assert [file.name for file in tmp_path.iterdir()] == ["ledger.sqlite"]
    assert ledger.counts("extraction").answered == 1  # it opens itself again
    del ledger
    gc.collect()


def test_a_log_that_a_killed_process_left_is_part_of_the_ledger(open_ledger: Open, tmp_path: Path) -> None:
    ledger = open_ledger(budget=9)
    answer(ledger, ledger.register("extraction", "plain"), 1, 2)
    (tmp_path / "later").mkdir()
    for name in ("ledger.sqlite", "ledger.sqlite-wal"):  # as a kill leaves them
        shutil.copy(tmp_path / name, tmp_path / "later" / name)
    with Ledger(tmp_path / "later" / "ledger.sqlite", target="known-3", width=3) as other:
        assert other.counts("extraction") == ledger.counts("extraction")
        assert other.reserve(1, keys(1, 2), keys(1, 2)).filed == dict(enumerate(keys(1, 2)))


def test_memories_grow_together(open_ledger: Open) -> None:
    """Two that know different things of one client end up knowing both."""
    one, two = open_ledger(), open_ledger()
    client = one.register("extraction", "plain")
    assert one.memory(client) == {}
    first, second = (ledger.reserve(client, keys(place), keys(place)) for place, ledger in enumerate((one, two)))
    mine, yours = {"a": torch.tensor([1, 0, 3])}, {"a": torch.tensor([0, 5, 2]), "b": torch.tensor([True])}
    one.commit(first, [b"x"], mine)
    two.commit(second, [b"y"], yours)
    assert mine["a"].tolist() == [1, 0, 3]
    assert {name: tensor.tolist() for name, tensor in yours.items()} == {"a": [1, 5, 3], "b": [True]}
    assert {name: tensor.tolist() for name, tensor in one.memory(client).items()} == {"a": [1, 5, 3], "b": [True]}
    assert one.memory(one.register("evaluation", "plain")) == {}


def test_threads_share_a_budget_to_the_row(open_ledger: Open) -> None:
    ledgers = [open_ledger(budget=100), open_ledger(budget=100)]
    client = ledgers[0].register("extraction", "plain")

    def asks(thread: int) -> int:
        sent = 0
        for turn in range(10):
            asked = keys(*range(thread * 1000 + turn * 5, thread * 1000 + turn * 5 + 5))
            grant = ledgers[thread % 2].reserve(client, asked, asked)
            sent += len(grant.send)
            (ledgers[thread % 2].fail if turn % 3 == 2 else lambda g: ledgers[0].commit(g, list(g.keys)))(grant)
        return sent

    with ThreadPoolExecutor(6) as pool:
        sent = sum(pool.map(asks, range(6)))
    counts = ledgers[0].counts("extraction")
    assert sent == counts.rows == counts.answered + counts.failed == 100
    assert counts.unanswered == 0


def test_many_may_make_the_same_ledger_at_once(tmp_path: Path) -> None:
    def make(place: int) -> Ledger:
        ledger = Ledger(tmp_path / "ledger.sqlite", target="t", width=1, budgets={"extraction": 8})
        answer(ledger, ledger.register("extraction", "plain"), place)
        return ledger

    with ThreadPoolExecutor(8) as pool:
        ledgers = list(pool.map(make, range(8)))
    assert ledgers[0].counts("extraction").answered == 8
    assert ledgers[0].remaining("extraction") == 0
    for ledger in ledgers:
        ledger.close()
    assert [file.name for file in tmp_path.iterdir()] == ["ledger.sqlite"]
