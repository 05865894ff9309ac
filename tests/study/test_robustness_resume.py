"""An evaluation under attack that is killed or stopped, and started again, comes to the same verdict on every image."""

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

# A network in a module of its own, which also lets AutoAttack try less hard: its attacks last seconds.
_MODULE = """
from functools import partial

import torch
from torch import nn

import understudy.evaluation.robustness as robustness
from understudy.attacks._components import Effort

if not isinstance(robustness.auto_attack, partial):
    less = Effort(iterations=12, targets=2, queries=250)
    robustness.auto_attack = partial(robustness.auto_attack, effort=less)


def net():
    draws = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
    for parameter in net.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=draws) / 4)
    net.input_shape, net.classes = (1, 8, 8), 10
    return net
"""
LINE = (
    "evaluate", "python:net_under_attack:net", "--data", "digits", "--attack", "cw,autoattack", "--epsilon", 0.02,
    "--rows", 120, "--batch-size", 8, "--sweep", "0,0.01", "--acknowledge", "chance,normalisation,zero_gradients",
    "--device", "cpu",
)  # fmt: skip
OUTCOMES = Path("outcomes") / "last"


@pytest.fixture(scope="module")
def whole(start, place: Path) -> dict[str, Any]:
    (place / "net_under_attack.py").write_text(_MODULE)
    process = start(*LINE, "--run", "evaluation-whole", cwd=place)
    assert process.wait() == 0, process.log.read_text()
    return verdicts(place / "evaluation-whole")


def verdicts(folder: Path) -> dict[str, Any]:
    """What each attack made of each image, and the record without what a clock says."""
    batches = {
        str(path.relative_to(folder)): {
            name: tensor.tolist() for name, tensor in load_file(path).items() if name != "seconds"
        }
        for path in sorted((folder / "outcomes").rglob("*.safetensors"))
    }

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items() if key not in ("date", "seconds")}
        return [plain(item) for item in value] if isinstance(value, list) else value

    return {"record": plain(json.loads((folder / "robustness.json").read_text())), **batches}


def _wait_until(there: Callable[[], bool], process: Any) -> None:
    deadline = time.monotonic() + 120
    while not there() and not process.ended:
        assert time.monotonic() < deadline, process.log.read_text()
        time.sleep(0.002)


def test_killed_amid_attacks_and_amid_autoattack_it_comes_to_the_same_verdicts(
    start, place: Path, whole: dict[str, Any]
) -> None:
    folder, killed = place / "evaluation-killed", 0
    moments = ("pgd20/0001.safetensors", "cw/0002.safetensors", "autoattack/apgd-t-00000.safetensors")
    for moment in (*moments, "autoattack/square-00000.safetensors"):
        process = start(*LINE, "--run", folder, cwd=place)
        _wait_until((folder / OUTCOMES / moment).exists, process)
        process.kill(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    assert killed == 4
    assert not (folder / "robustness.json").exists()
    process = start(*LINE, "--run", folder, cwd=place)
    assert process.wait() == 0, process.log.read_text()
    assert verdicts(folder) == whole


def test_ctrl_c_says_how_to_go_on(start, place: Path, whole: dict[str, Any]) -> None:
    folder = place / "evaluation-stopped"
    for moment in ("cw/0000.safetensors", "autoattack/apgd-ce-00000.safetensors"):
        process = start(*LINE, "--run", folder, cwd=place)
        _wait_until((folder / OUTCOMES / moment).exists, process)
        process.kill(signal.SIGINT)
        assert process.wait() == 130, process.log.read_text()
        said = process.log.read_text()
        assert f"stopped. What was done is on file in {folder}; run the same command again to go on." in said
        assert "Traceback" not in said
        assert not (folder / "robustness.json").exists()
    process = start(*LINE, "--run", folder, cwd=place)
    assert process.wait() == 0, process.log.read_text()
    assert verdicts(folder) == whole
