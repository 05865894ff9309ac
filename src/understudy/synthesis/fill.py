"""Filling a bank with samples drawn in independent shards: over processes, and over interruptions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from understudy.bank import Bank, BankWriter, StorageType
from understudy.runs.run import Run


@dataclass(frozen=True)
class Shard:
    """What one call of a draw brings."""

    inputs: Tensor
    """Float32, already rounded to what the bank stores. Shape (rows, ...)."""
    answers: dict[str, Tensor]
    """Further columns of as many rows; "logits" among them."""
    metrics: list[dict[str, float | int]]
    """For each set of the shard its metrics, "set" among them."""


Draw = Callable[[int, Callable[[int], None]], Shard]
"""Draws a shard by its number; calls its second argument with the steps done now and then, which may raise."""


def fill_bank(
    folder: Path,
    *,
    shards: int,
    draw: Draw,
    storage: StorageType,
    about: Mapping[str, Any],
    run: Run,
    phase: str,
) -> Bank:
    """Draw the shards that are not on disk yet, and return the finished bank.

    Shard i is drawn by process i mod N, from streams that know nothing of processes, so the bank is the same
    for any number of them. A shard that was begun when the run stopped is drawn again from its start.

    Args:
        folder: the bank's folder.
        shards: how many there are in all.
        draw: makes one shard, as a pure function of its number.
        storage: how inputs are stored.
        about: facts for the manifest.
        run: the run; its log receives the metrics of every set.
        phase: the phase's name.

    Raises:
        Interrupted: the user asked to stop; the shards drawn so far are on file.
    """
    writer = BankWriter(folder, storage=storage, about=about)
    if not (folder / "manifest.json").exists():
        mine = range(run.rank, shards, run.world)
        done = sum(writer.has(shard) for shard in mine)
        with run.phase(phase, total=len(mine), done=done, unit="shards") as track:
            for shard in mine:
                if writer.has(shard):
                    continue
                run.check_interrupt()

                def between(steps: int, done: int = done) -> None:
                    track.update(done, f"+ {steps} steps")
                    run.check_interrupt()

                drawn = draw(shard, between)
                writer.write(shard, drawn.inputs, answers=drawn.answers, record={"sets": drawn.metrics})
                done += 1
                track.update(done)
        run.wait()
        if run.rank == 0:
            _log_sets(writer, shards, run, phase)  # before the manifest: killed in between, a run logs them anew
            writer.finish(shards)
        run.wait()
    return Bank(folder, device=run.device)


def _log_sets(writer: BankWriter, shards: int, run: Run, phase: str) -> None:
    run.events.rewind(phase, 0)
    for shard in range(shards):
        for metrics in writer.record(shard)["sets"]:
            run.events.append(phase, int(metrics["set"]), {k: v for k, v in metrics.items() if k != "set"})
