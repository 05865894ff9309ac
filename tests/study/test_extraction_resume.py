"""An extraction that is killed and started again ends in the same bytes, and pays for no answer twice."""

import random
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from understudy.data import load_images
from understudy.models import build_encoder, save_model
from understudy.runs.files import read_json

COMMON = (
    "--surrogate", "cnn:widths=4-8", "--data", "digits[:300]", "--images", 120, "--batch-size", 20, "--batch-rows", 8,
    "--no-no-query-control", "--no-random-control", "--train-rows", 100, "--no-knn", "--no-few-shot",
    "--log-every", 4, "--checkpoint-seconds", 0.05,
)  # fmt: skip
RUNS = {
    "rda": ("extract", "rda", "--views", 6, "--surrogate-views", 2, "--epochs", 12, *COMMON),
    "cont_steal": ("extract", "cont_steal", "--epochs", 12, *COMMON),
}
# Where the kills fall, in answered rows and in entries of the log; seeded, so that a failure can be repeated.
PLAN = random.Random(7)
MOMENTS = {
    "rda": [("rows", 80), ("rows", 400), ("fit", 2), ("fit", 8)],
    "cont_steal": [("rows", 150), ("fit", 4), ("fit", 10)],
}


@pytest.fixture(scope="module")
def encoder(place: Path) -> Path:
    data = load_images("digits", "train")
    model = build_encoder("cnn:widths=4-8", input_shape=data.shape, mean=data.mean, std=data.std, seed=5).eval()
    save_model(model, place / "encoder", about={})
    return place / "encoder"


def _answered(folder: Path) -> int:
    """Return the answered rows of a ledger that another process writes."""
    if not (folder / "ledger.sqlite").exists():
        return 0
    connection = sqlite3.connect(f"file:{folder / 'ledger.sqlite'}?mode=ro", uri=True, timeout=5)
    try:
        return int(connection.execute("select count(*) from answers").fetchone()[0])
    except sqlite3.OperationalError:  # not a table yet
        return 0
    finally:
        connection.close()


def _reached(folder: Path, what: str, amount: int) -> bool:
    if what == "rows":
        return _answered(folder) >= amount
    log = folder / "events.jsonl"
    return log.exists() and log.read_text().count('"phase": "fit"') >= amount


def _wait_until(there: Callable[[], bool], process: Any) -> None:
    deadline = time.monotonic() + 60
    while not there() and not process.ended:
        assert time.monotonic() < deadline, process.log.read_text()
        time.sleep(0.002)


@pytest.mark.parametrize("name", RUNS)
def test_killed_and_started_again_it_ends_in_the_same_bytes(start: Any, place: Path, encoder: Path, name: str) -> None:
    line = [*RUNS[name], "--target", encoder, "--run"]
    process = start(*line, f"{name}-alone", cwd=place)
    assert process.wait() == 0, process.log.read_text()
    folder, kills = place / f"{name}-killed", 0
    for what, amount in MOMENTS[name]:
        process = start(*line, folder.name, cwd=place)
        _wait_until(lambda what=what, amount=amount: _reached(folder, what, amount), process)  # type: ignore[misc]
        time.sleep(PLAN.uniform(0, 0.02))
        process.kill(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills >= len(MOMENTS[name]) - 1
    process = start(*line, folder.name, cwd=place)
    assert process.wait() == 0, process.log.read_text()

    alone, killed = (read_json(place / f"{name}-{how}" / "result.json") for how in ("alone", "killed"))
    assert killed["models"]["surrogate"]["sha256"] == alone["models"]["surrogate"]["sha256"]
    assert killed["scores"] == alone["scores"]
    for shard in sorted((place / f"{name}-alone" / "prototypes").glob("*")):
        assert (folder / "prototypes" / shard.name).read_bytes() == shard.read_bytes()
    before, after = alone["ledger"]["extraction"], killed["ledger"]["extraction"]
    assert after["answered"] == before["rows"] == before["answered"] == alone["queries_planned"]
    assert after["distinct"] == before["distinct"]
    # A kill between sending and filing leaves one request of 8 rows that may have been answered: it stays charged.
    assert after["rows"] == after["answered"] + after["unanswered"]
    assert after["unanswered"] <= 8 * kills
