"""Banks of attacked sentences: resumed, refused, damaged; and killed in a process of their own."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from understudy.bank import AttackedBank
from understudy.errors import ConfigError, IntegrityError
from understudy.runs.run import Run

FACTS = {"attack": "deepwordbug", "victim_sha256": "v" * 64, "seed": 0, "rows": [1, 2]}
RECORDS = [{"row": row, "text": f"Text “{row}”\u2028", "changed": [row], "score": row / 3} for row in range(10)]


def chunks(start: int) -> Iterator[list[dict[str, Any]]]:
    return (RECORDS[i : i + 4] for i in range(start, len(RECORDS), 4))


def fill(folder: Path, run: Run, *, facts: dict[str, Any] = FACTS, total: int = 10, made: Any = chunks) -> AttackedBank:
    return AttackedBank(folder).fill(facts, total=total, chunks=made, run=run, phase="attack")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_records_come_back_in_order(tmp_path: Path, run: Run) -> None:
    bank = AttackedBank(tmp_path / "bank")
    assert not bank.begun
    assert not bank.finished
    fill(tmp_path / "bank", run)
    assert bank.begun
    assert bank.finished
    assert bank.records() == RECORDS
    assert bank.facts == FACTS
    assert sorted(contents(tmp_path / "bank")) == [
        "manifest.json", "part-00000.jsonl", "part-00001.jsonl", "part-00002.jsonl",
    ]  # fmt: skip


def test_the_hash_is_that_of_the_records(tmp_path: Path, run: Run) -> None:
    one, same = fill(tmp_path / "a", run), fill(tmp_path / "b", run, facts={"other": True})
    other = fill(tmp_path / "c", run, made=lambda start: ([{"row": -i}] for i in range(start, 10)))
    assert one.sha256 == same.sha256 != other.sha256


def test_a_finished_bank_is_not_made_again(tmp_path: Path, run: Run) -> None:
    fill(tmp_path / "bank", run)
    before = contents(tmp_path / "bank")

    def never(start: int) -> Iterator[list[dict[str, Any]]]:
        raise AssertionError(start)

    assert fill(tmp_path / "bank", run, made=never).records() == RECORDS
    assert contents(tmp_path / "bank") == before


def test_it_goes_on_after_the_last_whole_part(tmp_path: Path, run: Run) -> None:
    fill(tmp_path / "whole", run)
    for stop in range(3):
        starts: list[int] = []

        def broken(start: int, stop: int = stop) -> Iterator[list[dict[str, Any]]]:
            for number, chunk in enumerate(chunks(start)):
                if number == stop:
                    raise KeyboardInterrupt
                yield chunk

        def seen(start: int, starts: list[int] = starts) -> Iterator[list[dict[str, Any]]]:
            starts.append(start)
            return chunks(start)

        folder = tmp_path / f"cut {stop}"
        with pytest.raises(KeyboardInterrupt):
            fill(folder, run, made=broken)
        assert not AttackedBank(folder).finished
        with pytest.raises(IntegrityError, match=f"not finished: {4 * stop} of 10"):
            AttackedBank(folder).records()
        fill(folder, run, made=seen)
        assert starts == [4 * stop]
        assert contents(folder) == contents(tmp_path / "whole")


def test_other_facts_are_refused(tmp_path: Path, run: Run) -> None:
    bank = fill(tmp_path / "bank", run)
    bank.check({**FACTS, "rows": (1, 2)})  # JSON has no tuples
    with pytest.raises(ConfigError, match=r"seed \(there 0, now 1\)"):
        fill(tmp_path / "bank", run, facts={**FACTS, "seed": 1})
    with pytest.raises(ConfigError, match="extra"):
        bank.check({**FACTS, "extra": 1})
    with pytest.raises(ConfigError, match="10 records, not of 11"):
        fill(tmp_path / "bank", run, total=11)


@pytest.mark.parametrize("made", [lambda start: iter(()), lambda start: chunks(start + 4)])  # noqa: ARG005
def test_too_few_records_are_no_bank(tmp_path: Path, run: Run, made: Any) -> None:
    with pytest.raises(IntegrityError, match="in the place of 10"):
        fill(tmp_path / "bank", run, made=made)


def test_an_empty_bank(tmp_path: Path, run: Run) -> None:
    assert fill(tmp_path / "bank", run, total=0).records() == []


@pytest.mark.parametrize("harm", ["altered", "cut short", "missing"])
def test_a_damaged_part_is_refused(tmp_path: Path, run: Run, harm: str) -> None:
    bank = fill(tmp_path / "bank", run)
    part = tmp_path / "bank" / "part-00001.jsonl"
    text = part.read_bytes()
    if harm == "missing":
        part.unlink()
    else:
        part.write_bytes(text[:-5] if harm == "cut short" else text.replace(b'"row": 4', b'"row": 5'))
    with pytest.raises(IntegrityError, match=r"part-00001\.jsonl"):
        bank.records()
    with pytest.raises(IntegrityError, match=r"part-00001\.jsonl"):
        fill(tmp_path / "bank", run)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{", "not readable"),
        ("[]", "manifest is not"),
        ('{"format": 1, "kind": "attacked", "facts": {}, "total": 1}', "parts"),
        ('{"format": 1, "kind": "attacked", "facts": {}, "total": 1, '
         '"parts": [{"file": "../../part-00000.jsonl", "rows": 1, "sha256": ""}]}', "file"),
        ('{"format": 1, "kind": "samples", "facts": {}, "total": 0, "parts": []}', "kind 'samples'"),
        ('{"format": 2, "kind": "attacked", "facts": {}, "total": 0, "parts": []}', "format 2"),
    ],
)  # fmt: skip
def test_a_damaged_manifest_is_refused(tmp_path: Path, text: str, match: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(IntegrityError, match=match):
        AttackedBank(tmp_path).records()


def test_a_folder_without_a_bank(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="no bank of attacked sentences here"):
        AttackedBank(tmp_path).records()


Child = Callable[[Path, str, int], int]


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    """Return a function that attacks in a process of its own, and returns how that ended."""
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork and no SIGKILL")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, Path(__file__).with_name("killed_attack.py"), tmp_path_factory.mktemp("tiny")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, env=environment, **pipes) as server:  # type: ignore[call-overload]

        def attack(folder: Path, moment: str = "", count: int = 0) -> int:
            server.stdin.write(json.dumps({"folder": str(folder), "moment": moment, "count": count}) + "\n")
            server.stdin.flush()
            return int(server.stdout.readline())

        yield attack


MOMENTS = [("scoring", 1), ("within a part", 1), ("before the manifest", 2), ("after the manifest", 2),
           ("scoring", 8), ("within a part", 2), ("after the manifest", 2)]  # fmt: skip


def test_killed_anywhere_it_ends_in_the_same_bytes(child: Child, tmp_path: Path) -> None:
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    assert child(alone) == 0
    parts = []
    for moment, count in MOMENTS:
        assert child(killed, moment, count) == -signal.SIGKILL, moment
        parts.append(len(list((killed / "bank").glob("part-*"))))
    assert child(killed) == 0
    assert contents(killed / "bank") == contents(alone / "bank")
    assert parts[0] == 0
    assert parts[-1] < len(list((alone / "bank").glob("part-*"))) == 10
    records = AttackedBank(alone / "bank").records()
    assert {record["status"] for record in records} == {"success", "failed", "skipped"}
    shutil.rmtree(killed)
