"""Two processes (`torchrun`, gloo) do together what one does alone."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from understudy.runs.tensors import load_tensors

Together = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def together(environment: dict[str, str], place: Path) -> Together:
    """Run a command line in two processes on this machine."""

    def call(*tokens: object) -> subprocess.CompletedProcess[str]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        launcher = ["torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1"]
        return subprocess.run(
            [sys.executable, "-m", *launcher, "--master-port", str(port), "-m", "--", "understudy", *map(str, tokens)],
            cwd=place,
            env={**environment, "GLOO_SOCKET_IFNAME": "lo"},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    return call


def _assert_close(one: Path, two: Path) -> None:
    ours, theirs = (load_tensors(folder / "model" / "model.safetensors")[0] for folder in (one, two))
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(
            theirs[name], ours[name], rtol=0, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_training_with_batch_norm_gives_the_same_weights(start, together: Together, place: Path) -> None:
    line = ["train", "--data", "digits", "--model", "cnn:widths=4-8", "--epochs", 2, "--batch-size", 64, "--run"]
    alone = start(*line, "alone", cwd=place)
    assert alone.wait() == 0, alone.log.read_text()
    done = together(*line, "together", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["folder"] == "together"  # one object, so the second process printed nothing
    _assert_close(place / "alone", place / "together")
    logs = [(place / name / "events.jsonl").read_text().splitlines() for name in ("alone", "together")]
    assert len(logs[0]) == len(logs[1]) == 2
    for ours, theirs in zip(*(map(json.loads, log) for log in logs), strict=True):
        assert ours["step"] == theirs["step"]
        assert ours["metrics"] == pytest.approx(theirs["metrics"], abs=1e-5)
    assert json.loads((place / "together" / "environment.json").read_text())["world_size"] == 2


def test_distilling_gives_the_same_bank_byte_for_byte_and_the_same_student(
    start, together: Together, teacher: Path, place: Path
) -> None:
    line = [
        "distil", "cake", "--teacher", teacher, "--student", "cnn:widths=4,norm=group", "--sets", 5,
        "--sets-at-once", 1, "--samples-per-set", 40, "--steps", 10, "--epochs", 1, "--batch-size", 32, "--run",
    ]  # fmt: skip
    alone = start(*line, "alone-cake", cwd=place)
    assert alone.wait() == 0, alone.log.read_text()
    done = together(*line, "together-cake")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("run:    together-cake") == 1
    assert done.stderr.count("fit noise control:") == 1
    one, two = (place / kind / "bank" for kind in ("alone-cake", "together-cake"))
    assert sorted(file.name for file in one.iterdir()) == sorted(file.name for file in two.iterdir())
    assert len(list(two.glob("shard-*"))) == 5
    for file in one.iterdir():
        assert file.read_bytes() == (two / file.name).read_bytes(), file.name
    _assert_close(place / "alone-cake", place / "together-cake")  # without BatchNorm


def test_answers_are_asked_once_and_the_student_is_the_same(
    start, together: Together, teacher: Path, place: Path
) -> None:
    line = [
        "distil", "kd", "--data", "digits", "--teacher", teacher, "--student", "cnn:widths=4,norm=group", "--flip",
        "--epochs", 1, "--batch-size", 64, "--defence", "top_k:3", "--held-out-frac", 0.1, "--labels-frac", 0.5,
        "--run",
    ]  # fmt: skip
    alone = start(*line, "alone-kd", cwd=place)
    assert alone.wait() == 0, alone.log.read_text()
    done = together(*line, "together-kd")
    assert done.returncode == 0, done.stderr
    one, two = (place / kind / "bank" for kind in ("alone-kd", "together-kd"))
    names = sorted(file.name for file in one.glob("*.*"))
    assert [name.partition("-")[0] for name in names] == [".lock", "manifest.json", "served", "shard"]
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in names)
    _assert_close(place / "alone-kd", place / "together-kd")
    results = [json.loads((place / name / "result.json").read_text()) for name in ("alone-kd", "together-kd")]
    assert results[0]["answers"] == results[1]["answers"]
    assert results[0]["validation"] == results[1]["validation"]
