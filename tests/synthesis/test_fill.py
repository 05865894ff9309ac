"""Filling a bank: the same for any number of processes and any number of stops (property 16)."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from understudy.bank import Bank
from understudy.errors import DivergenceError, IntegrityError
from understudy.runs.run import Run
from understudy.synthesis import Shard, fill_bank

MakeRun = Callable[..., Run]
Draw = Callable[[int, Callable[[int], None]], Shard]

ABOUT = {"shape": [3], "classes": 2, "mean": [0.0], "std": [1.0]}


def drawing(run: Run, drawn: list[int], *, fail_at: int | None = None) -> Draw:
    """A draw of two sets a shard, that keeps account of what it was asked for."""

    def draw(shard: int, between: Callable[[int], None]) -> Shard:
        between(1)
        if shard == fail_at:
            raise RuntimeError("power cut")
        drawn.append(shard)
        x = torch.randn(4, 3, generator=run.stream("test", shard))
        metrics = [{"set": 2 * shard + k, "loss": float(x[k, 0])} for k in range(2)]
        return Shard(x, {"logits": x[:, :2]}, metrics)

    return draw


def fill(run: Run, folder: Path, drawn: list[int], shards: int = 5, fail_at: int | None = None) -> Bank:
    draw = drawing(run, drawn, fail_at=fail_at)
    return fill_bank(folder, shards=shards, draw=draw, storage="float32", about=ABOUT, run=run, phase="synthesise")


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def events(run: Run) -> list[tuple[str, int, dict[str, float]]]:
    return [(entry["phase"], entry["step"], entry["metrics"]) for entry in run.events]


def test_every_set_is_logged_once_and_in_order(run: Run) -> None:
    drawn: list[int] = []
    bank = fill(run, run.folder / "bank", drawn)
    assert drawn == [0, 1, 2, 3, 4]
    assert len(bank) == 20
    assert [(phase, step) for phase, step, _ in events(run)] == [("synthesise", step) for step in range(10)]
    assert events(run)[4][2] == {"loss": float(bank.rows(torch.tensor([8])).inputs[0, 0])}


def test_a_finished_bank_is_not_drawn_again(run: Run) -> None:
    fill(run, run.folder / "bank", [])
    before, log = files(run.folder / "bank"), events(run)
    again: list[int] = []
    fill(run, run.folder / "bank", again)
    assert again == []
    assert files(run.folder / "bank") == before
    assert events(run) == log


@pytest.mark.parametrize("fail_at", [0, 3])
def test_stopped_and_resumed_equals_uninterrupted(make_run: MakeRun, fail_at: int) -> None:
    whole, stopped = make_run("whole"), make_run("stopped")
    fill(whole, whole.folder / "bank", [])
    first: list[int] = []
    with pytest.raises(RuntimeError, match="power cut"):
        fill(stopped, stopped.folder / "bank", first, fail_at=fail_at)
    assert first == list(range(fail_at))
    rest: list[int] = []
    fill(stopped, stopped.folder / "bank", rest)
    assert rest == list(range(fail_at, 5))
    assert files(stopped.folder / "bank") == files(whole.folder / "bank")
    assert events(stopped) == events(whole)


def test_killed_between_log_and_manifest_logs_once(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, killed = make_run("whole"), make_run("killed")
    fill(whole, whole.folder / "bank", [])

    def stop(*_: object) -> None:
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr("understudy.bank._shards.write_json", stop)
        with pytest.raises(RuntimeError, match="power cut"):
            fill(killed, killed.folder / "bank", [])
    fill(killed, killed.folder / "bank", [])
    assert events(killed) == events(whole)
    assert files(killed.folder / "bank") == files(whole.folder / "bank")


@pytest.mark.parametrize("world", [2, 3])
def test_the_bank_is_the_same_for_any_number_of_processes(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, world: int
) -> None:
    """Each process draws its share; the last to come, rank 0, finds all of them and finishes."""
    alone = make_run("alone")
    fill(alone, alone.folder / "bank", [])
    monkeypatch.setattr(Run, "wait", lambda _: None)
    monkeypatch.setenv("WORLD_SIZE", str(world))
    shares: list[list[int]] = []
    runs = []
    for rank in range(world):
        monkeypatch.setenv("RANK", str(rank))
        runs.append(make_run("shared"))
    for rank, run in reversed(list(enumerate(runs))):
        shares.append([])
        # Nobody waits here, so the others come to the end before rank 0 has finished the bank.
        with nullcontext() if rank == 0 else pytest.raises(IntegrityError, match="no finished bank"):
            fill(run, run.folder / "bank", shares[-1])
    assert sorted(shard for share in shares for shard in share) == [0, 1, 2, 3, 4]
    assert all(shares)
    assert files(run.folder / "bank") == files(alone.folder / "bank")
    assert events(run) == events(alone)


def test_a_shard_that_is_not_finite_stops_the_run_and_stays_out(run: Run) -> None:
    def draw(shard: int, between: Callable[[int], None]) -> Shard:  # noqa: ARG001
        x = torch.full((4, 3), float("nan") if shard == 1 else 0.0)
        return Shard(x, {"logits": x[:, :2]}, [])

    with pytest.raises(DivergenceError, match="shard 1"):
        fill_bank(run.folder / "bank", shards=3, draw=draw, storage="float32", about=ABOUT, run=run, phase="synthesise")
    assert [path.name for path in (run.folder / "bank").iterdir()] == ["shard-00000.safetensors"]
