"""Who looks on while a robust network is trained: the best checkpoint, and the guard against collapse."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from understudy.attacks import Attack, CrossEntropy, perturb
from understudy.data import ImageSet, as_float
from understudy.models import Mirror
from understudy.runs.run import Run
from understudy.runs.seeds import stream

_BATCH = 512
DROP = 0.1
"""Largest fall of the robust accuracy below its best that the guard lets pass."""


def watching(attack: Attack, *, steps: int) -> Attack:
    """Return PGD for the radius of an attack: uniform start, steps of ε/4."""
    return Attack(norm=attack.norm, epsilon=attack.epsilon, step=attack.epsilon / 4, steps=steps, start="uniform")


def robust_accuracy(mirror: Mirror, data: ImageSet, attack: Attack, generator: torch.Generator) -> float:
    """Return the share of images that a network gets right under an attack on the cross-entropy."""
    right = torch.zeros((), device=data.images.device)
    for images, labels in zip(torch.split(data.images, _BATCH), torch.split(data.labels, _BATCH), strict=True):
        x = as_float(images)
        found = perturb(mirror, x, CrossEntropy(labels), attack=attack, generator=generator, check=False)
        with torch.no_grad():
            right += (mirror(found).argmax(dim=1) == labels).sum()
    return float(right / len(data))


class HoldOut:
    """Measures the robust accuracy on images kept back from training after each epoch, and keeps the best weights.

    Args:
        mirror: of the student, in float32.
        data: images kept back, on the run's device.
        attack: the attack that is trained with; measured is PGD-20 at its radius.
        steps_per_epoch: of the phase.
        run: whose event log gets an entry an epoch, in the phase "held_out".
    """

    name = "held_out"

    def __init__(self, mirror: Mirror, data: ImageSet, *, attack: Attack, steps_per_epoch: int, run: Run) -> None:
        self._mirror, self._data, self._attack = mirror, data, watching(attack, steps=20)
        self._steps_per_epoch, self._run = steps_per_epoch, run
        self.last = self.best = -1.0
        self.best_epoch = 0
        self.weights: dict[str, Tensor] = {}

    def restore(self, step: int, kept: Mapping[str, Tensor]) -> None:
        """Go on from a checkpoint: the best so far, and the log of the epochs before it."""
        self._run.events.rewind(self.name, step // self._steps_per_epoch + 1)
        self.last, self.best, epoch = kept["scores"].tolist() if kept else (-1.0, -1.0, 0.0)
        self.best_epoch = int(epoch)
        weights = {name.removeprefix("best."): value for name, value in kept.items() if name.startswith("best.")}
        self.weights = {name: value.to(self._run.device, copy=True) for name, value in weights.items()}

    def state(self, step: int) -> dict[str, Tensor]:  # noqa: ARG002 (the protocol's signature)
        """Return the scores and the best weights so far."""
        scores = torch.tensor([self.last, self.best, float(self.best_epoch)], dtype=torch.float64)
        return {"scores": scores, **{f"best.{name}": value for name, value in self.weights.items()}}

    def epoch_ended(self, epoch: int, module: nn.Module, optimiser: torch.optim.Optimizer) -> None:  # noqa: ARG002
        """Measure, log, and keep the weights if none were better."""
        self._mirror.refresh()
        generator = stream(self._run.seed, self.name, step=epoch, device=self._run.device)
        self.last = robust_accuracy(self._mirror, self._data, self._attack, generator)
        self._run.events.append(self.name, epoch + 1, {"robust": self.last})
        if self.last > self.best:
            self.best, self.best_epoch = self.last, epoch + 1
            student = module.get_submodule("student")
            self.weights = {name: value.detach().clone() for name, value in student.state_dict().items()}

    def facts(self) -> dict[str, Any]:
        """Return the scores of the best epoch, counted from 1, and of the last."""
        return {"rows": len(self._data), "best_epoch": self.best_epoch, "best": self.best, "last": self.last}


class Guard:
    """Watches single-step training for catastrophic overfitting; on a collapse it goes back and takes more steps.

    After each epoch PGD-10 is run on a few hundred training images. Where the robust accuracy falls more than ten
    points below its best, the weights of that epoch come back, the optimiser starts anew, and the attack is the safe
    one from then on.

    Args:
        mirror: of the student.
        data: training images to look at, on the run's device.
        quick: the single-step attack.
        safe: the attack after a collapse.
        steps_per_epoch: of the phase.
        run: whose event log gets an entry an epoch, in the phase "guard".
    """

    name = "guard"

    def __init__(
        self, mirror: Mirror, data: ImageSet, *, quick: Attack, safe: Attack, steps_per_epoch: int, run: Run
    ) -> None:
        self._mirror, self._data = mirror, data
        self._quick, self._safe = quick, safe
        self._steps_per_epoch, self._run = steps_per_epoch, run
        self.robust, self.collapsed = 0.0, 0
        self._good: dict[str, Tensor] = {}

    def attack(self) -> Attack:
        """Return the attack to train with now."""
        return self._safe if self.collapsed else self._quick

    def restore(self, step: int, kept: Mapping[str, Tensor]) -> None:
        """Go on from a checkpoint."""
        self._run.events.rewind(self.name, step // self._steps_per_epoch + 1)
        robust, collapsed = kept["scores"].tolist() if kept else (0.0, 0.0)
        self.robust, self.collapsed = robust, int(collapsed)
        weights = {name.removeprefix("good."): value for name, value in kept.items() if name.startswith("good.")}
        self._good = {name: value.to(self._run.device, copy=True) for name, value in weights.items()}

    def state(self, step: int) -> dict[str, Tensor]:  # noqa: ARG002 (the protocol's signature)
        """Return the best epoch's score and weights, and the epoch of the collapse."""
        scores = torch.tensor([self.robust, float(self.collapsed)], dtype=torch.float64)
        return {"scores": scores, **{f"good.{name}": value for name, value in self._good.items()}}

    def epoch_ended(self, epoch: int, module: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """Measure; keep the weights if they are the best so far, or go back to those after a fall."""
        if self.collapsed:
            return
        self._mirror.refresh()
        generator = stream(self._run.seed, self.name, step=epoch, device=self._run.device)
        robust = robust_accuracy(self._mirror, self._data, watching(self._quick, steps=10), generator)
        fell = bool(self._good) and self.robust - robust > DROP
        self._run.events.append(self.name, epoch + 1, {"robust": robust, "rolled_back": float(fell)})
        if fell:
            self.collapsed = epoch + 1
            module.load_state_dict(self._good)
            optimiser.state.clear()
            self._good = {}
        elif not self._good or robust >= self.robust:
            self.robust = robust
            self._good = {name: value.detach().clone() for name, value in module.state_dict().items()}
