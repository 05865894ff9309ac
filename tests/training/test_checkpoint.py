"""Checkpoints: all of the state, bit for bit, and nobody else's."""

from pathlib import Path

import pytest
import torch
from torch import nn

from understudy.errors import IntegrityError
from understudy.runs.tensors import digest
from understudy.training import Recipe
from understudy.training.checkpoint import load_checkpoint, save_checkpoint
from understudy.training.optimiser import build_optimiser


def network(seed: int) -> nn.Module:
    net = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))
    generator = torch.Generator().manual_seed(seed)
    for weight in net.parameters():
        weight.data.normal_(generator=generator)
    return net


def train(net: nn.Module, optimiser: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        x = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        net(x).square().mean().backward()
        optimiser.step()


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_going_on_from_a_checkpoint_is_going_on(tmp_path: Path, name: str) -> None:
    recipe = Recipe(optimiser=name, learning_rate=0.01, schedule="constant")
    net, other = network(0), network(1)
    optimiser = build_optimiser(recipe, net.parameters(), total=9)
    train(net, optimiser, range(4))
    path = tmp_path / "fit.safetensors"
    save_checkpoint(path, net, optimiser, step=4, extra={"meter": torch.tensor([2.5])})
    fresh = build_optimiser(recipe, other.parameters(), total=9)
    step, extra = load_checkpoint(path, other, fresh)
    assert step == 4
    assert extra["meter"].tolist() == [2.5]
    for each, its in ((net, optimiser), (other, fresh)):
        train(each, its, range(4, 9))
    assert digest(net.state_dict()) == digest(other.state_dict())


def test_another_networks_checkpoint_is_refused(tmp_path: Path) -> None:
    net, other = network(0), nn.Linear(4, 3)
    optimiser = torch.optim.SGD(net.parameters(), 0.1)
    save_checkpoint(tmp_path / "fit.safetensors", net, optimiser, step=1, extra={})
    with pytest.raises(IntegrityError, match="belongs to another network"):
        load_checkpoint(tmp_path / "fit.safetensors", other, torch.optim.SGD(other.parameters(), 0.1))


def test_an_altered_checkpoint_is_refused(tmp_path: Path) -> None:
    net = network(0)
    optimiser = torch.optim.SGD(net.parameters(), 0.1)
    path = tmp_path / "fit.safetensors"
    save_checkpoint(path, net, optimiser, step=1, extra={})
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 4
    path.write_bytes(raw)
    with pytest.raises(IntegrityError, match="SHA-256 mismatch"):
        load_checkpoint(path, net, optimiser)
