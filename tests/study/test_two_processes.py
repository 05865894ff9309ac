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
            [sys.executable, "-m", *launcher, "--master-port", str(port), "-m", "understudy", *map(str, tokens)],
            cwd=place,
            env={**environment, "GLOO_SOCKET_IFNAME": "lo"},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    return call


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_training_gives_the_same_weights(start, together: Together, place: Path, norm: str) -> None:
    model = f"cnn:widths=4-8,norm={norm}"
    line = ["train", "--data", "digits", "--model", model, "--epochs", 2, "--batch-size", 64, "--run"]
    alone = start(*line, f"alone-{norm}", cwd=place)
    assert alone.wait() == 0, alone.log.read_text()
    done = together(*line, f"together-{norm}", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)  # one object, so the second process printed nothing
    one, two = (
        load_tensors(place / f"{kind}-{norm}" / "model" / "model.safetensors")[0] for kind in ("alone", "together")
    )
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(
            two[name], one[name], rtol=0, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )
    logs = [(place / f"{kind}-{norm}" / "events.jsonl").read_text().splitlines() for kind in ("alone", "together")]
    assert len(logs[0]) == len(logs[1]) == 2
    for ours, theirs in zip(*(map(json.loads, log) for log in logs), strict=True):
        assert ours["step"] == theirs["step"]
        assert ours["metrics"] == pytest.approx(theirs["metrics"], abs=1e-5)
    environment = json.loads((place / f"together-{norm}" / "environment.json").read_text())
    assert environment["world_size"] == 2
    assert said["models"]["model"]["spec"] == model


def test_synthesis_gives_the_same_bank_byte_for_byte(start, together: Together, teacher: Path, place: Path) -> None:
    line = [
        "distil", "cake", "--teacher", teacher, "--student", "cnn:widths=4,norm=group", "--sets", 5, "--sets-at-once", 1,
        "--samples-per-set", 40, "--steps", 10, "--epochs", 1, "--batch-size", 32, "--run",
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
