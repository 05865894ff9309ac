"""A run of `adapt` that is killed while it attacks or trains, and started again, ends in the same bytes."""

import json
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Where the kills fall: seeded, so that a failure can be repeated as nearly as processes allow.
PLAN = random.Random(6)
MOMENTS = [
    *(("attack", parts) for parts in sorted(PLAN.sample(range(1, 8), 2))),
    *(("slot", steps) for steps in sorted(PLAN.sample(range(5, 60), 2))),
]
TEXT = ("transformers.models.auto.tokenization_auto", "transformers.models.bert.modeling_bert",
        "understudy.study.text_job", "understudy.cli.adapt_command")  # fmt: skip


@pytest.fixture(scope="module")
def start_text(servers: Callable[..., Iterator]) -> Iterator:
    """Start command lines on text in processes of their own, one at a time."""
    yield from servers(*TEXT)


def kept(folder: Path) -> dict[str, bytes]:
    """All adapters and attacked sentences of a run."""
    found = (path for path in folder.rglob("*") if path.suffix in (".safetensors", ".jsonl"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(found) if path.name != "events.jsonl"}


def _reached(folder: Path, phase: str, amount: int) -> bool:
    """Return whether so many parts of attacked sentences are on file, or so many steps of a slot in the log."""
    if phase == "attack":
        return len(list((folder / "bank").glob("*/part-*.jsonl"))) >= amount
    log = folder / "events.jsonl"
    return log.exists() and log.read_text().count('"phase": "slot-') >= amount


def test_killed_in_attack_and_in_training_a_run_ends_in_the_same_bytes(
    start_text, text_encoder: Path, place: Path
) -> None:
    line = (
        "adapt", "adpmixup", "--backbone", text_encoder, "--data", "reviews[:48]", "--known", "deepwordbug",
        "--rows", 4, "--adaptive-rows", 0, "--clean-rows", 8, "--queries", 15, "--n-adv", 24, "--attack-width", 2,
        "--clean-epochs", 1, "--epochs", 60, "--batch-size", 4, "--log-every", 1, "--checkpoint-seconds", 0.05,
        "--device", "cpu",
    )  # fmt: skip
    process = start_text(*line, "--run", "text", cwd=place)
    assert process.wait() == 0, process.log.read_text()
    folder, killed = place / "text-killed", []
    for phase, amount in MOMENTS:
        process = start_text(*line, "--run", folder, cwd=place)
        deadline = time.monotonic() + 60
        while not _reached(folder, phase, amount) and not process.ended:
            assert time.monotonic() < deadline, process.log.read_text()
            time.sleep(0.002)
        time.sleep(PLAN.uniform(0, 0.05))  # anywhere within a step, a checkpoint or a write
        process.kill(signal.SIGKILL)
        if process.wait() == -signal.SIGKILL:
            killed.append((phase, bool(list((folder / "checkpoint").glob("slot-*")))))
    assert [phase for phase, _ in killed] == [phase for phase, _ in MOMENTS]
    assert killed[-1][1]  # a slot was half trained
    assert not (folder / "model").exists()
    process = start_text(*line, "--run", folder, cwd=place)
    assert process.wait() == 0, process.log.read_text()
    found, whole = kept(folder), kept(place / "text")
    assert found.keys() == whole.keys()
    assert {path.split("/")[0] for path in whole} >= {"bank", "model"}
    for name in whole:
        assert found[name] == whole[name], name
    one, other = (json.loads((run / "result.json").read_text()) for run in (folder, place / "text"))
    assert one["scores"] == other["scores"]
