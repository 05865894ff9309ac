"""The loop: batch, objective, backward, step; logged, checkpointed and resumed exactly."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar, cast, runtime_checkable

import torch
from torch import Tensor, nn

from understudy.errors import DivergenceError
from understudy.runs.interrupts import asked_to_stop
from understudy.runs.progress import Track
from understudy.runs.run import Run
from understudy.runs.seeds import derive_seed
from understudy.training.checkpoint import load_checkpoint, save_checkpoint
from understudy.training.companion import Companion, Remarking
from understudy.training.global_norm import global_batch_norms
from understudy.training.meter import Meter
from understudy.training.optimiser import build_optimiser
from understudy.training.recipe import Recipe

BatchT = TypeVar("BatchT", contravariant=True)


@runtime_checkable
class Objective(Protocol[BatchT]):
    """What a network is trained for."""

    def __call__(self, module: nn.Module, batch: BatchT, /) -> Mapping[str, Tensor]:
        """Return scalars by name; "loss" is minimised, and all of them are logged as means."""
        ...


def fit(
    module: nn.Module,
    *,
    batch_at: Callable[[int], BatchT],
    objective: Objective[BatchT],
    recipe: Recipe,
    steps_per_epoch: int,
    run: Run,
    phase: str,
    companions: Sequence[Companion] = (),
    clip_norm: float | None = None,
) -> None:
    """Train a network in place, from the phase's last checkpoint if it has one.

    The result is a function of the initial weights, `batch_at`, the recipe and the run's seed and options:
    killed at any step and called again, it ends in the same weights and the same log.

    Args:
        module: the network; its parameters are trained, and it is left in eval mode.
        batch_at: this process's share of the batch of a step, a pure function of the step.
        objective: the scalars of a batch; called under the run's precision.
        recipe: optimiser, schedule and epochs.
        steps_per_epoch: batches in one pass.
        run: where checkpoints and metrics go, and on which device.
        phase: the phase's name, which names its checkpoint.
        companions: what looks on, in this order, and is part of the checkpoint.
        clip_norm: length of the gradient over all weights above which it is cut to that length; None cuts none.

    Raises:
        DivergenceError: the loss is no longer finite; the last good checkpoint is kept.
        Interrupted: the user asked to stop; a checkpoint was written.
    """
    steps = recipe.epochs * steps_per_epoch
    path = run.folder / "checkpoint" / f"{phase}.safetensors"
    module.to(run.device)
    if run.options.channels_last:
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = build_optimiser(recipe, module.parameters(), total=steps)
    meter = Meter(run.device)
    start = 0
    kept: dict[str, Tensor] = {}
    if path.exists():
        start, kept = load_checkpoint(path, module, optimiser)
        meter.restore(kept)
    run.events.rewind(phase, start + 1)  # the entry of step `start` was logged before its checkpoint
    for companion in companions:
        companion.restore(start, _without_prefix(kept, f"{companion.name}."))
    if start < steps:
        with run.phase(phase, total=steps, done=start, unit="steps") as track:
            session = _Session(
                module,
                optimiser,
                meter,
                run,
                phase,
                path,
                recipe,
                steps,
                steps_per_epoch,
                tuple(companions),
                clip_norm,
            )
            session.go(start, batch_at, objective, track)
    module.eval()


def _without_prefix(kept: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in kept.items() if name.startswith(prefix)}


@dataclass
class _Session:
    """One uninterrupted stretch of a phase."""

    module: nn.Module
    optimiser: torch.optim.Optimizer
    meter: Meter
    run: Run
    phase: str
    path: Path
    recipe: Recipe
    steps: int
    steps_per_epoch: int
    companions: tuple[Companion, ...]
    clip_norm: float | None

    def go(self, start: int, batch_at: Callable[[int], BatchT], objective: Objective[BatchT], track: Track) -> None:
        run, device = self.run, self.run.device
        model: nn.Module = self.module
        if run.world > 1:  # alone there is nothing to wrap, and Accelerate's state outlives a run
            from accelerate import Accelerator

            model = Accelerator(mixed_precision="no", cpu=device.type == "cpu").prepare(model)
        if run.options.compile:
            model = cast(nn.Module, torch.compile(model))
        model.train()
        autocast = torch.autocast(device.type, torch.bfloat16, enabled=run.options.precision == "bf16")
        several = global_batch_norms(self.module) if run.world > 1 else nullcontext()
        saved = time.monotonic()
        # Dropout draws from the global generator only; seeded a step, it too is a function of (seed, step).
        with several, torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            for step in range(start, self.steps):
                _seed_dropout(derive_seed(run.seed, self.phase, rank=run.rank, step=step), device)
                self._set_rates(step)
                batch = batch_at(step)  # outside autocast, which refuses to put float16 rows together
                with autocast:
                    scalars = objective(model, batch)
                scalars["loss"].backward()  # type: ignore[no-untyped-call]
                if self.clip_norm is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), self.clip_norm)
                self.optimiser.step()
                self.optimiser.zero_grad(set_to_none=True)
                self.meter.add(scalars)
                self._end_epoch(step + 1)
                saved = self._put_on_file(step + 1, saved, track)

    def _end_epoch(self, done: int) -> None:
        if done % self.steps_per_epoch == 0:
            for companion in self.companions:
                companion.epoch_ended(done // self.steps_per_epoch - 1, self.module, self.optimiser)

    def _put_on_file(self, done: int, saved: float, track: Track) -> float:
        """Log and save where it is time to, and stop where the user asked to; return when it was last saved."""
        options = self.run.options
        logs = done % options.log_every == 0 or done == self.steps
        if logs:
            self._log(done, track)
        elif self.run.world > 1:  # several processes stop and save together, where no window is half full
            return saved
        stop = self._any_process(asked_to_stop())
        if stop or done == self.steps or time.monotonic() - saved > options.checkpoint_seconds:
            self._save(done)
            saved = time.monotonic()
        if stop:
            self.run.check_interrupt()
        return saved

    def _any_process(self, asked: bool) -> bool:
        if self.run.world == 1:
            return asked
        found = torch.tensor(float(asked), device=self.run.device)
        torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MAX)
        return bool(found)

    def _set_rates(self, step: int) -> None:
        rate, momentum = self.recipe.rate(step, self.steps), self.recipe.momentum_at(step, self.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
            if "betas" in group:
                group["betas"] = (momentum, group["betas"][1])
            else:
                group["momentum"] = momentum

    def _log(self, done: int, track: Track) -> None:
        values = self.meter.read(self._where(done), over_processes=self.run.world > 1)
        values["learning_rate"] = self.recipe.rate(done - 1, self.steps)
        self.run.events.append(self.phase, done, values)
        remarks = [one.remark() for one in self.companions if isinstance(one, Remarking)]
        track.update(done, ", ".join(filter(None, [f"loss {values['loss']:.4f}", *remarks])))
        self.meter.reset()

    def _save(self, done: int) -> None:
        if self.run.rank == 0:
            self.meter.read(self._where(done))  # raises before a window that is not finite reaches the disk
            self._check_weights(done)
            extra = self.meter.state()
            for companion in self.companions:
                extra |= {f"{companion.name}.{name}": value for name, value in companion.state(done).items()}
            save_checkpoint(self.path, self.module, self.optimiser, step=done, extra=extra)

    def _check_weights(self, done: int) -> None:
        """Raise before weights that are not finite reach the disk: the loss shows them a step too late."""
        for name, weight in self.module.state_dict().items():
            if not bool(weight.isfinite().all()):
                raise DivergenceError(
                    f"{name} became NaN or infinite in training",
                    where=self._where(done),
                    fix="lower the learning rate; the last good checkpoint is kept",
                )

    def _where(self, done: int) -> str:
        return f"phase {self.phase}, within the {self.run.options.log_every} steps before step {done}"


def _seed_dropout(seed: int, device: torch.device) -> None:
    """Seed the global generators of the CPU and of the device: `torch.manual_seed` costs 2 ms, more than a step."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)
