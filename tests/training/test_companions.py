"""Companions of the loop: they look on at the end of each epoch, and are part of what resumes."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from understudy.runs.run import Run
from understudy.runs.seeds import stream
from understudy.runs.tensors import digest, load_tensors
from understudy.training import Companion, Recipe, fit

MakeRun = Callable[..., Run]

RECIPE = Recipe(epochs=4, batch_size=8, learning_rate=0.05)
PER_EPOCH, STEPS = 5, 20


class Meddler:
    """Counts epochs, writes them down, and shrinks the weights at the end of each; its state matters to the result."""

    def __init__(self, run: Run, name: str = "meddler") -> None:
        self.name, self.run = name, run
        self.total = 0.0
        self.heard: list[tuple[str, Any]] = []

    def restore(self, step: int, kept: Mapping[str, Tensor]) -> None:
        self.heard.append(("restore", (step, sorted(kept))))
        self.run.events.rewind(self.name, step // PER_EPOCH + 1)
        self.total = float(kept["total"]) if kept else 0.0

    def state(self, step: int) -> Mapping[str, Tensor]:
        self.heard.append(("state", step))
        return {"total": torch.tensor(self.total, dtype=torch.float64)}

    def epoch_ended(self, epoch: int, module: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        self.heard.append(("epoch", epoch))
        with torch.no_grad():
            weight = next(module.parameters())
            self.total += float(weight.norm())
            weight.mul_(1 - 0.01 * self.total)
        optimiser.state.clear()
        self.run.events.append(self.name, epoch + 1, {"total": self.total})


class PowerCut(Exception):
    pass


def train(run: Run, *companions: Companion, cut_at: int = -1, net: nn.Module | None = None) -> nn.Module:
    if net is None:
        net = nn.Linear(4, 3)
        for weight in net.parameters():
            weight.data.uniform_(-0.5, 0.5, generator=torch.Generator().manual_seed(0))

    def batch_at(step: int) -> Tensor:
        if step == cut_at:
            raise PowerCut
        return torch.randn(8, 4, generator=stream(0, "rows", step=step))

    def objective(module: nn.Module, batch: Tensor) -> Mapping[str, Tensor]:
        return {"loss": nn.functional.cross_entropy(module(batch), batch[:, :3].argmax(dim=1))}

    fit(
        net,
        batch_at=batch_at,
        objective=objective,
        recipe=RECIPE,
        steps_per_epoch=PER_EPOCH,
        run=run,
        phase="fit",
        companions=companions,
    )
    return net


def checkpoint(run: Run) -> bytes:
    return (run.folder / "checkpoint" / "fit.safetensors").read_bytes()


def test_what_a_companion_hears_and_when(make_run: MakeRun) -> None:
    run = make_run(checkpoint_seconds=1e9)
    meddler = Meddler(run)
    assert isinstance(meddler, Companion)
    train(run, meddler)
    epochs = [("epoch", epoch) for epoch in range(4)]
    assert meddler.heard == [("restore", (0, [])), *epochs, ("state", STEPS)]
    again = Meddler(run)
    train(run, again)
    assert again.heard == [("restore", (STEPS, ["total"]))]
    assert again.total == pytest.approx(meddler.total)


@pytest.mark.parametrize("seconds", [1e-9, 1e9])
@pytest.mark.parametrize("step", [1, 4, 5, 6, 12, 19])
def test_cut_off_and_resumed_equals_uninterrupted(make_run: MakeRun, step: int, seconds: float) -> None:
    whole, cut = (make_run(name, log_every=3, checkpoint_seconds=seconds) for name in ("whole", "cut"))
    expected = train(whole, Meddler(whole))
    with pytest.raises(PowerCut):
        train(cut, Meddler(cut), cut_at=step)
    resumed = train(cut, Meddler(cut))
    assert digest(resumed.state_dict()) == digest(expected.state_dict())
    assert checkpoint(cut) == checkpoint(whole)
    logs = [[(each["phase"], each["step"], each["metrics"]) for each in run.events] for run in (cut, whole)]
    assert logs[0] == logs[1]


def test_companions_keep_their_states_apart(make_run: MakeRun) -> None:
    run = make_run()
    train(run, Meddler(run, "one"), Meddler(run, "one.more"))
    tensors, _ = load_tensors(run.folder / "checkpoint" / "fit.safetensors")
    assert tensors["extra.one.total"] != tensors["extra.one.more.total"]  # the second saw smaller weights
    one, more = Meddler(run, "one"), Meddler(run, "one.more")
    train(run, one, more)
    assert (one.total, more.total) == (float(tensors["extra.one.total"]), float(tensors["extra.one.more.total"]))


@pytest.mark.parametrize("optimiser", ["sgd", "adam", "adamw"])
def test_parameters_can_be_free_of_weight_decay(make_run: MakeRun, optimiser: str) -> None:
    """No gradient reaches either parameter, so that weight decay alone can move them."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.decayed, self.free = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
            self.free.no_weight_decay = True

        def forward(self) -> Tensor:
            return 0 * (self.decayed + self.free).sum()

    recipe = Recipe(epochs=1, optimiser=optimiser, learning_rate=0.1, weight_decay=0.1, schedule="constant")
    settings: dict[str, Any] = {"recipe": recipe, "steps_per_epoch": 4, "phase": "fit", "batch_at": lambda step: step}
    nets = [Two(), Two()]
    for net, name in zip(nets, ("one", "two"), strict=True):
        fit(net, objective=lambda module, _: {"loss": module()}, run=make_run(name), **settings)
    assert bool((nets[0].decayed < 0.99).all())
    assert torch.equal(nets[0].free, torch.ones(2))
    assert digest(nets[0].state_dict()) == digest(nets[1].state_dict())
