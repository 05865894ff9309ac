"""The loop: resumed it equals uninterrupted, it stops where numbers do, and it logs what it saw."""

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from understudy.errors import DivergenceError
from understudy.runs.interrupts import Interrupted, graceful_interrupts
from understudy.runs.progress import Silent
from understudy.runs.run import Run
from understudy.runs.seeds import stream
from understudy.runs.tensors import digest, load_tensors
from understudy.training import Recipe, fit
from understudy.training import loop as loop_module

MakeRun = Callable[..., Run]

RECIPE = Recipe(epochs=3, batch_size=16, learning_rate=0.05)
STEPS_PER_EPOCH = 9
STEPS = 27


@dataclass(frozen=True)
class Rows:
    x: Tensor
    labels: Tensor


def network(*, dropout: bool = True) -> nn.Module:
    """Everything that has state: batch statistics, and dropout, which draws."""
    net = nn.Sequential(
        nn.Linear(5, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3 if dropout else 0.0), nn.Linear(16, 3)
    )
    generator = torch.Generator().manual_seed(0)
    for weight in net.parameters():
        weight.data.uniform_(-0.4, 0.4, generator=generator)
    return net


def batch_at(step: int) -> Rows:
    generator = stream(0, "rows", step=step)
    x = torch.randn(16, 5, generator=generator)
    return Rows(x, x[:, :3].argmax(dim=1))


def objective(module: nn.Module, batch: Rows) -> Mapping[str, Tensor]:
    logits = module(batch.x)
    loss = nn.functional.cross_entropy(logits.float(), batch.labels)
    return {"loss": loss, "accuracy": (logits.argmax(dim=1) == batch.labels).float().mean()}


def train(run: Run, net: nn.Module | None = None, **changes: Any) -> nn.Module:
    net = network() if net is None else net
    given = {"batch_at": batch_at, "objective": objective, "recipe": RECIPE, "steps_per_epoch": STEPS_PER_EPOCH}
    fit(net, run=run, phase="fit", **{**given, **changes})
    return net


def log(run: Run) -> list[tuple[str, int, dict[str, float]]]:
    return [(entry["phase"], entry["step"], entry["metrics"]) for entry in run.events]


def checkpoint(run: Run) -> bytes:
    return (run.folder / "checkpoint" / "fit.safetensors").read_bytes()


class PowerCut(Exception):
    pass


def cut_before(step: int) -> Callable[[int], Rows]:
    def batches(index: int) -> Rows:
        if index == step:
            raise PowerCut
        return batch_at(index)

    return batches


def test_something_is_learnt(run: Run) -> None:
    net = train(run, network(dropout=False))
    accuracies = [metrics["accuracy"] for _, _, metrics in log(run)]
    assert accuracies[-1] > accuracies[0] + 0.2
    assert not any(module.training for module in net.modules())


@pytest.mark.parametrize("every", ["each step", "never before the end"])
@pytest.mark.parametrize("step", [1, 13, 20, 26])
def test_cut_off_and_resumed_equals_uninterrupted(make_run: MakeRun, step: int, every: str) -> None:
    """Weights, statistics, the checkpoint's bytes and the log, wherever the cut falls in a window of the log."""
    seconds = 1e-9 if every == "each step" else 1e9
    whole, cut = (make_run(name, log_every=5, checkpoint_seconds=seconds) for name in ("whole", "cut"))
    expected = train(whole)
    with pytest.raises(PowerCut):
        train(cut, batch_at=cut_before(step))
    resumed = train(cut)
    assert digest(resumed.state_dict()) == digest(expected.state_dict())
    assert checkpoint(cut) == checkpoint(whole)
    assert log(cut) == log(whole)


def test_a_resumed_phase_does_not_repeat_what_is_done(make_run: MakeRun) -> None:
    run = make_run(checkpoint_seconds=1e-9)
    with pytest.raises(PowerCut):
        train(run, batch_at=cut_before(20))
    seen: list[int] = []

    def batches(step: int) -> Rows:
        seen.append(step)
        return batch_at(step)

    train(run, batch_at=batches)
    assert seen == list(range(20, STEPS))


def test_a_finished_phase_is_loaded_and_keeps_its_log(run: Run) -> None:
    expected, before = train(run), None
    before = log(run)
    again = train(run, batch_at=cut_before(0))
    assert digest(again.state_dict()) == digest(expected.state_dict())
    assert log(run) == before
    assert not any(module.training for module in again.modules())


def test_interrupted_is_on_file_and_goes_on(make_run: MakeRun) -> None:
    """Ctrl-C while a line of progress is shown: the step is finished, saved, and not done again."""

    class Hasty(Silent):
        def track(self, phase: str, total: int, done: int, unit: str) -> "Hasty":  # noqa: ARG002
            return self

        def update(self, done: int, note: str = "") -> None:  # noqa: ARG002
            if done == 10:
                signal.raise_signal(signal.SIGINT)

    whole, stopped = make_run("whole", log_every=5), make_run("stopped", log_every=5, progress=Hasty())
    expected = train(whole)
    with graceful_interrupts(), pytest.raises(Interrupted):
        train(stopped)
    assert load_tensors(stopped.folder / "checkpoint" / "fit.safetensors")[1]["step"] == 10
    assert digest(train(stopped).state_dict()) == digest(expected.state_dict())
    assert log(stopped) == log(whole)


def test_seeds_decide_and_the_global_stream_is_left_alone(make_run: MakeRun) -> None:
    one = network()
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    train(make_run("one", seed=1), one)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(7)
    same, other = train(make_run("same", seed=1)), train(make_run("other", seed=2))
    assert digest(one.state_dict()) == digest(same.state_dict())
    assert digest(one.state_dict()) != digest(other.state_dict())  # through dropout


def test_the_log_holds_the_means_of_its_windows(make_run: MakeRun) -> None:
    run = make_run(log_every=10)
    seen: list[float] = []

    def listening(module: nn.Module, batch: Rows) -> Mapping[str, Tensor]:
        found = objective(module, batch)
        seen.append(float(found["loss"].detach()))
        return found

    train(run, objective=listening)
    entries = log(run)
    assert [step for _, step, _ in entries] == [10, 20, 27]
    for (_, _, metrics), window in zip(entries, (seen[:10], seen[10:20], seen[20:]), strict=True):
        assert metrics["loss"] == pytest.approx(sum(window) / len(window), rel=1e-5)
    assert [metrics["learning_rate"] for _, _, metrics in entries] == [RECIPE.rate(step, STEPS) for step in (9, 19, 26)]


def test_one_step_is_that_of_the_recipe(run: Run) -> None:
    """The whole loop against ten lines of PyTorch, without dropout: the same weights, bit for bit."""
    net = network(dropout=False)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.95, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=0.05, total_steps=STEPS + 1)
    for step in range(STEPS):
        batch = batch_at(step)
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(batch.x), batch.labels).backward()
        optimiser.step()
        schedule.step()
    ours = train(run, network(dropout=False))
    for name, value in ours.state_dict().items():
        assert torch.allclose(value, net.state_dict()[name], rtol=1e-5, atol=1e-6), name


def test_a_loss_of_nan_keeps_the_last_good_checkpoint(make_run: MakeRun) -> None:
    run = make_run(checkpoint_seconds=1e-9)

    def spoiled(module: nn.Module, batch: Rows) -> Mapping[str, Tensor]:
        found = dict(objective(module, batch))
        if torch.equal(batch.x, batch_at(12).x):
            found["loss"] = found["loss"] * float("nan")
        return found

    with pytest.raises(DivergenceError, match=r"loss became NaN(.|\n)*phase fit(.|\n)*last good checkpoint is kept"):
        train(run, objective=spoiled)
    tensors, meta = load_tensors(run.folder / "checkpoint" / "fit.safetensors")
    assert meta["step"] == 12
    assert all(bool(value.isfinite().all()) for value in tensors.values())


def test_weights_that_explode_are_not_saved_though_the_loss_is_finite(make_run: MakeRun) -> None:
    """The loss of a step is computed before its update, so it is the weights that tell first."""
    run = make_run(checkpoint_seconds=1e-9)

    def cliff(module: nn.Module, batch: Rows) -> Mapping[str, Tensor]:
        found = dict(objective(module, batch))
        if torch.equal(batch.x, batch_at(12).x):
            weight = next(module.parameters())
            found["loss"] = found["loss"] + (weight - weight.detach()).abs().sqrt().sum()  # value 0, gradient NaN
        return found

    with pytest.raises(DivergenceError, match="became NaN or infinite"):
        train(run, objective=cliff)
    tensors, meta = load_tensors(run.folder / "checkpoint" / "fit.safetensors")
    assert meta["step"] == 12
    assert all(bool(value.isfinite().all()) for value in tensors.values())


def test_bf16_learns_with_float32_weights_and_loss(make_run: MakeRun) -> None:
    run = make_run(precision="bf16")
    seen: set[torch.dtype] = set()

    def looking(module: nn.Module, batch: Rows) -> Mapping[str, Tensor]:
        seen.add(module(batch.x).dtype)
        return objective(module, batch)

    net = train(run, network(dropout=False), objective=looking)
    assert seen == {torch.bfloat16}
    assert {weight.dtype for weight in net.parameters()} == {torch.float32}
    assert log(run)[-1][2]["accuracy"] > 0.6


def test_compiled_training_equals_eager(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the tracer of torch.compile and without its code generator, which needs a C++ compiler and seconds."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager", fullgraph=True))
    nets = [network(dropout=False) for _ in range(2)]
    for flag, net in zip((False, True), nets, strict=True):
        train(make_run(f"compile {flag}", compile=flag), net)
    assert digest(nets[0].state_dict()) == digest(nets[1].state_dict())


def test_checkpoints_are_as_rare_as_asked(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock of our own: a step takes four seconds, and a checkpoint is due after ten."""
    saved: list[int] = []
    clock = iter(range(0, 10_000, 4))  # read at the start, at each step, and at each save

    def save(*_: object, step: int, **__: object) -> None:
        saved.append(step)

    monkeypatch.setattr(loop_module, "save_checkpoint", save)
    monkeypatch.setattr(loop_module, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    train(make_run(checkpoint_seconds=10.0))
    assert saved == [3, 6, 9, 12, 15, 18, 21, 24, 27]
