"""Filed answers over kills: what was asked after the checkpoint is asked again, and nothing else."""

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
import torch
from torch import Tensor

from understudy.errors import IntegrityError
from understudy.runs.tensors import load_tensors, save_tensors

Child = Callable[..., int]

MOMENTS = [
    ("ask", 1),
    ("ask", 9),
    ("after a segment", 3),
    ("within a segment", 2),
    ("ask", 20),
    ("before the manifest", 1),
    ("after the manifest", 1),
    ("finished", 1),
]


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    """Return a function that fits a student in a process of its own, and returns how that ended."""
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork and no SIGKILL")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    script = Path(__file__).with_name("killed_fit.py")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, script], text=True, env=environment, **pipes) as server:  # type: ignore[call-overload]

        def fit(folder: Path, *, moment: str = "", count: int = 0, seconds: float = 2.5, **job: Any) -> int:
            files = {"folder": folder, "asked": f"{folder}.asked", "counts": f"{folder}.counts"}
            job = {"seed": 0, "base": None, **job, **{name: str(path) for name, path in files.items()}}
            job |= {"moment": moment, "count": count, "checkpoint_seconds": seconds}
            server.stdin.write(json.dumps(job) + "\n")
            server.stdin.flush()
            return int(server.stdout.readline())

        yield fit


def asked(folder: Path) -> list[tuple[int, list[int]]]:
    """Return step and keys of every question, over all processes, in order."""
    lines = Path(f"{folder}.asked").read_text().splitlines()
    return [(step, keys) for step, keys in map(json.loads, lines)]


def left_behind(folder: Path) -> dict[str, Any]:
    """Return what must not depend on how a run came about."""
    found: dict[str, Any] = {f"bank/{path.name}": path.read_bytes() for path in (folder / "bank").iterdir()}
    found["checkpoint"] = (folder / "checkpoint" / "fit.safetensors").read_bytes()
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    found["events"] = [(event["step"], event["metrics"]) for event in events]
    found["counts"] = json.loads(Path(f"{folder}.counts").read_text())
    return found


def test_killed_anywhere_it_asks_the_same_and_ends_in_the_same_bytes(child: Child, tmp_path: Path) -> None:
    base, alone, killed = tmp_path / "base", tmp_path / "alone", tmp_path / "killed"
    assert child(base, seed=1) == 0
    assert child(alone, base=str(base), seconds=1e6) == 0
    for moment, count in MOMENTS:
        assert child(killed, base=str(base), moment=moment, count=count) == -signal.SIGKILL, moment
        if moment == "after a segment":
            shutil.rmtree(base)  # from here on the run folder is all there is
            (tmp_path / "base").mkdir()
    assert child(killed, base=str(base)) == 0
    found, expected = left_behind(killed), left_behind(alone)
    assert found.keys() == expected.keys()
    assert [name for name in found if found[name] != expected[name]] == []
    assert sorted(name for name in found if name.startswith("bank/")) == [
        "bank/base.json",
        "bank/manifest.json",
        "bank/shard-00000.safetensors",
        "bank/shard-00001.safetensors",
    ]
    _check_questions(asked(killed), dict(asked(alone)))


def _check_questions(over_kills: list[tuple[int, list[int]]], alone: dict[int, list[int]]) -> None:
    """Every question is that of the run that was left alone, whenever it was asked and however often."""
    assert all(keys == alone[step] for step, keys in over_kills)
    assert {step for step, _ in over_kills} == alone.keys()
    repeated = len(over_kills) - len(alone)
    assert 0 < repeated <= 5 * 3  # 5 kills within training, and a checkpoint every 3 steps


def test_without_a_kill_nothing_is_asked_twice(child: Child, tmp_path: Path) -> None:
    assert child(tmp_path / "run") == 0
    keys = [key for _, keys in asked(tmp_path / "run") for key in keys]
    assert len(keys) == len(set(keys)) == json.loads((tmp_path / "run.counts").read_text())["asked"]
    assert len(keys) < 8 * 8 * 5


def begun(banks: Any, teacher: Any) -> dict[int, dict[str, Tensor]]:
    """Ask in three stretches, each put on file; return the three states."""
    bank, states = banks.begun(), {}
    for step, keys in ((2, [5, 50]), (4, [7, 5]), (6, [1])):
        teacher.serve(bank, keys)
        states[step] = bank.state(step)
    teacher.asked.clear()
    return states


def segments(banks: Any) -> list[str]:
    return [name for name in banks.files() if name.startswith("segment-")]


def test_what_came_after_the_checkpoint_is_dropped_and_asked_again(banks: Any, teacher: Any) -> None:
    states = begun(banks, teacher)
    assert segments(banks) == [f"segment-0000000{step}.safetensors" for step in (2, 4, 6)]
    bank = banks.open()
    bank.restore(4, states[4])
    assert segments(banks) == [f"segment-0000000{step}.safetensors" for step in (2, 4)]
    assert (len(bank), bank.counts()) == (3, {"asked": 3, "served": 1})
    found = teacher.serve(bank, [1, 50, 7])
    assert teacher.asked == [[1]]
    assert torch.equal(found, teacher.logits(torch.tensor([1, 50, 7])).half().float())


def test_a_bank_in_use_can_go_back_too(banks: Any, teacher: Any) -> None:
    bank = banks.begun(base=banks.finished("base", [9]))
    teacher.serve(bank, [5, 9])
    kept = bank.state(2)
    teacher.serve(bank, [6, 7])
    bank.restore(2, kept)
    assert (len(bank), bank.counts()) == (2, {"asked": 1, "served": 1})
    found = teacher.serve(bank, [7, 9, 5])
    assert teacher.asked == [[5], [6, 7], [7]]
    assert torch.equal(found, teacher.logits(torch.tensor([7, 9, 5])).half().float())


def test_a_state_where_nothing_was_asked_writes_nothing(banks: Any, teacher: Any) -> None:
    states = begun(banks, teacher)
    bank = banks.open()
    bank.restore(6, states[6])
    teacher.serve(bank, [5, 7])
    before = banks.files()
    kept = bank.state(8)
    assert banks.files() == before
    again = banks.open()
    again.restore(8, kept)
    assert again.counts() == {"asked": 4, "served": 3}


def test_a_fresh_start_drops_everything_but_the_base(banks: Any, teacher: Any) -> None:
    base = banks.finished("base", [9])
    bank = banks.begun(base=base)
    teacher.serve(bank, [5, 9])
    bank.state(2)
    bank.finish()
    teacher.serve(bank, [6])
    bank.state(4)
    again = banks.begun(base=base)
    assert sorted(banks.files()) == ["base.json", "shard-00000.safetensors"]
    teacher.asked.clear()
    teacher.serve(again, [5, 9])
    assert teacher.asked == [[5]]


def test_a_finished_bank_that_is_begun_again_at_an_earlier_step_is_unfinished(banks: Any, teacher: Any) -> None:
    """As when the last checkpoint was lost after the manifest was written, but its segments were not yet deleted."""
    states = begun(banks, teacher)
    before = banks.files()
    bank = banks.open()
    bank.restore(6, states[6])
    bank.finish()
    finished = banks.files()
    for name in segments_of(before):
        (banks.place / "bank" / name).write_bytes(before[name])
    bank = banks.open()
    bank.restore(4, states[4])
    assert sorted(banks.files()) == ["segment-00000002.safetensors", "segment-00000004.safetensors"]
    teacher.serve(bank, [1])
    bank.state(6)
    bank.finish()
    assert banks.files() == finished


def segments_of(files: dict[str, bytes]) -> list[str]:
    return [name for name in files if name.startswith("segment-")]


def test_a_finished_bank_is_finished_again_in_the_same_bytes(banks: Any, teacher: Any) -> None:
    states = begun(banks, teacher)
    for _ in range(3):
        bank = banks.open()
        bank.restore(6, states[6])
        teacher.serve(bank, [1, 5, 7, 50])
        bank.finish()
        assert sorted(banks.files()) == ["manifest.json", "shard-00000.safetensors"]
    assert teacher.asked == []
    assert bank.counts() == {"asked": 4, "served": 1 + 4}


@pytest.mark.parametrize("finish", [False, True])
@pytest.mark.parametrize("damage", ["alter", "cut", "empty"])
def test_a_damaged_file_is_refused(banks: Any, teacher: Any, damage: str, finish: bool) -> None:
    states = begun(banks, teacher)
    if finish:
        bank = banks.open()
        bank.restore(6, states[6])
        bank.finish()
    path = banks.place / "bank" / ("shard-00000.safetensors" if finish else "segment-00000004.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes({"alter": content, "cut": content[:-2], "empty": b""}[damage])
    bank = banks.open()
    with pytest.raises(IntegrityError):
        bank.restore(6, states[6])


def test_a_missing_segment_is_refused(banks: Any, teacher: Any) -> None:
    states = begun(banks, teacher)
    (banks.place / "bank" / "segment-00000004.safetensors").unlink()
    bank = banks.open()
    with pytest.raises(IntegrityError, match=r"of 4 answers filed by step 6, 3 are left(.|\n)*--fresh"):
        bank.restore(6, states[6])


@pytest.mark.parametrize(
    "change",
    [
        lambda kept: {"logits": kept["logits"]},
        lambda kept: {"keys": kept["keys"]},
        lambda kept: {**kept, "keys": kept["keys"] + 108},
        lambda kept: {**kept, "keys": kept["keys"] - 9},
        lambda kept: {**kept, "keys": torch.full_like(kept["keys"], 5)},
        lambda kept: {**kept, "keys": kept["keys"].int()},
        lambda kept: {**kept, "logits": kept["logits"].float()},
        lambda kept: {**kept, "logits": kept["logits"][:, :2]},
        lambda kept: {**kept, "logits": kept["logits"][:0]},
        lambda kept: {"keys": kept["keys"][:0], "logits": kept["logits"][:0]},
        lambda kept: {name: torch.cat([tensor, tensor]) for name, tensor in kept.items()},
    ],
)
def test_a_segment_of_something_else_is_refused(
    banks: Any, teacher: Any, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]
) -> None:
    states = begun(banks, teacher)
    path = banks.place / "bank" / "segment-00000004.safetensors"
    content = {name: tensor.clone() for name, tensor in load_tensors(path)[0].items()}
    save_tensors(path, change(content), {})
    bank = banks.open()
    with pytest.raises(IntegrityError, match="filed answers"):
        bank.restore(6, states[6])
