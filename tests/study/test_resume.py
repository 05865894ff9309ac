"""A run that is killed or stopped, and started again, ends in the same bytes as one that was left alone."""

import random
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

CAKE = (
    "distil", "cake", "--student", "cnn:widths=4", "--data", "digits", "--sets", 12, "--sets-at-once", 2,
    "--samples-per-set", 60, "--steps", 60, "--epochs", 7, "--batch-size", 32, "--optimiser", "adamw",
    "--learning-rate", 0.01, "--log-every", 7,
)  # fmt: skip
# Where the kills fall: seeded, so that a failure can be repeated as nearly as processes allow.
PLAN = random.Random(20)
MOMENTS = [
    *(("synthesise", shards) for shards in sorted(PLAN.sample(range(1, 6), 2))),
    *(("fit", entries) for entries in sorted(PLAN.sample(range(2, 18), 2))),
    ("fit_noise_control", PLAN.randrange(2, 18)),
]


@pytest.fixture(scope="module")
def line(teacher: Path) -> list[object]:
    return [*CAKE, "--teacher", teacher]


@pytest.fixture(scope="module")
def uninterrupted(start, line: list[object], place: Path, outcome) -> dict[str, bytes | str]:
    process = start(*line, "--run", "left-alone", cwd=place)
    assert process.wait() == 0, process.log.read_text()
    return outcome(place / "left-alone")


def _reached(folder: Path, phase: str, amount: int) -> bool:
    """Return whether so many shards are on file, or so many entries of a training phase in the log."""
    if phase == "synthesise":
        return len(list((folder / "bank").glob("shard-*"))) >= amount
    log = folder / "events.jsonl"
    return log.exists() and log.read_text().count(f'"phase": "{phase}"') >= amount


def _wait_until(there: Callable[[], bool], process: Any) -> None:
    deadline = time.monotonic() + 60
    while not there() and not process.ended:
        assert time.monotonic() < deadline, process.log.read_text()
        time.sleep(0.002)


def test_killed_at_random_moments_a_run_ends_in_the_same_bytes(
    start, line: list[object], place: Path, uninterrupted: dict[str, bytes | str], outcome
) -> None:
    folder, killed = place / "killed", []
    line = [*line, "--run", folder, "--checkpoint-seconds", 0.05]
    for phase, amount in MOMENTS:
        process = start(*line, cwd=place)
        _wait_until(partial(_reached, folder, phase, amount), process)
        time.sleep(PLAN.uniform(0, 0.08))  # anywhere within a step, a checkpoint or a write
        process.kill(signal.SIGKILL)
        if process.wait() == -signal.SIGKILL:
            done = (folder / "bank" / "manifest.json").exists(), (folder / "checkpoint").exists()
            killed.append((phase, *done))
    assert not (folder / "result.json").exists()
    process = start(*line, cwd=place)
    assert process.wait() == 0, process.log.read_text()
    assert len(killed) == len(MOMENTS)
    assert any(not bank for _, bank, _ in killed)
    assert any(bank and training for _, bank, training in killed)
    found = outcome(folder)
    assert found.keys() == uninterrupted.keys()
    for name in found:
        assert found[name] == uninterrupted[name], name


def test_ctrl_c_puts_the_state_on_file_says_how_to_go_on_and_exits_130(
    start, line: list[object], place: Path, uninterrupted: dict[str, bytes | str], outcome
) -> None:
    folder = place / "stopped"
    line = [*line, "--run", folder, "--checkpoint-seconds", 3600]  # what is on file was put there by Ctrl-C
    for phase in ("synthesise", "fit"):
        process = start(*line, cwd=place)
        _wait_until(partial(_reached, folder, phase, 2), process)
        process.kill(signal.SIGINT)
        assert process.wait() == 130, process.log.read_text()
        said = process.log.read_text()
        assert f"stopped. What was done is on file in {folder}; run the same command again to go on." in said
        assert "Traceback" not in said
        assert "error" not in said
        assert not (folder / "result.json").exists()
        assert (folder / "checkpoint" / "fit.safetensors").exists() == (phase == "fit")
    process = start(*line, cwd=place)
    assert process.wait() == 0, process.log.read_text()
    assert outcome(folder) == uninterrupted


_SLOW_TEACHER = """
import time
from pathlib import Path
from torch import nn

class Net(nn.Module):
    input_shape, classes = (1, 8, 8), 10

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, x):
        if x.requires_grad:  # samples are being drawn
            Path("begun").touch()
            time.sleep(60)
        return self.layer(x.flatten(1))
"""


def test_a_second_ctrl_c_stops_at_once(start, place: Path) -> None:
    (place / "slow_teacher.py").write_text(_SLOW_TEACHER)
    line = [*CAKE, "--teacher", "python:slow_teacher:Net", "--run", "stopped-twice"]
    process = start(*line, cwd=place)
    _wait_until((place / "begun").exists, process)
    process.kill(signal.SIGINT)
    time.sleep(0.3)  # two at once would be delivered as one
    assert not process.ended  # a first one waits for the end of the step
    process.kill(signal.SIGINT)
    assert process.wait() == 130, process.log.read_text()
    said = process.log.read_text()
    assert said.endswith("stopped.\n")
    assert "Traceback" not in said
