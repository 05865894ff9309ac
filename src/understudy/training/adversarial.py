"""The step that all robust methods share: perturb a batch against the student's mirror, then take the loss.

In this order: the teacher on clean images (or from file); the attack, on the mirror; the teacher on perturbed images;
the student in train mode on perturbed and then on clean images, two passes with batch statistics of their own.
Images, perturbations, logits and losses are float32, whatever the networks compute in.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from understudy.attacks import Attack, InnerObjective, perturb
from understudy.data import Batch
from understudy.models import Mirror, Network, Penultimate
from understudy.runs.seeds import stream
from understudy.training.seen import Clean, Images, Seen
from understudy.training.teachers import Asked
from understudy.training.warm_start import WarmStart


@dataclass(frozen=True, eq=False)
class Placed:
    """A batch and its place in the training."""

    batch: Batch
    step: int
    epoch: int
    learning_rate: float


class Trained(nn.Module):
    """The student with whatever is trained along with it.

    Args:
        student: the network.
        extras: further parts of the loss, such as heads; never saved with the model.
        features: whether penultimate features are wanted.
    """

    def __init__(self, student: Network, extras: nn.Module | None, *, features: bool) -> None:
        super().__init__()
        self.student = student
        self.extras = extras
        self._taps = (Penultimate(student),) if features else ()  # in a tuple: its network is no second part of this

    def forward(self, x: Images) -> tuple[Tensor, Tensor | None]:
        """Return logits, and features where they are wanted, in the precision that the student computes in."""
        for tap in self._taps:
            logits, features = tap(x)
            return logits, features
        return self.student(x), None

    def close(self) -> None:
        """Listen to the student no longer."""
        for tap in self._taps:
            tap.close()


@dataclass(frozen=True, eq=False)
class AdversarialStep:
    """The objective of the training loop: a batch in, the method's loss and metrics out."""

    mirror: Mirror
    teacher: Asked | None
    others: Mapping[str, Asked]
    uses: frozenset[str]
    epochs: int
    attack: Callable[[], Attack]
    """Which attack is on; a guard may change it."""
    inner: Callable[[Clean], InnerObjective]
    loss: Callable[[Seen, nn.Module | None], Mapping[str, Tensor]]
    seed: int
    warm: WarmStart | None = None

    def __call__(self, module: nn.Module, placed: Placed, /) -> Mapping[str, Tensor]:
        """Return the scalars of a batch; the networks of `module` are called under the precision of the caller."""
        x = placed.batch.x
        with torch.autocast(x.device.type, enabled=False):
            clean = self._look(placed)
            x_adv = self._perturbed(clean, placed)
            taught = self._taught(clean, x_adv)
        learnt = self._learnt(module, x, x_adv)
        with torch.autocast(x.device.type, enabled=False):
            seen = Seen(x_adv=x_adv, **taught, **learnt)
            extras = module.extras if isinstance(module.extras, nn.Module) else None
            return {**self.loss(seen, extras), **_accuracies(seen, clean="student_clean" in self.uses)}

    def _look(self, placed: Placed) -> Clean:
        """Ask about the clean images what the method wants to know, and bring the mirror up to date."""
        batch = placed.batch
        self.mirror.refresh()
        logits = features = None
        if self.teacher is not None and "teacher_clean" in self.uses:
            logits, features = self.teacher.clean(batch)
        return Clean(
            x=batch.x,
            labels=batch.labels,
            mirror=self.mirror,
            teacher=None if self.teacher is None else self.teacher.network,
            teacher_clean=logits,
            teacher_clean_features=features,
            others={name: other.clean(batch)[0] for name, other in self.others.items() if other.view == "clean"},
            epoch=placed.epoch,
            epochs=self.epochs,
            learning_rate=placed.learning_rate,
        )

    def _perturbed(self, clean: Clean, placed: Placed) -> Images:
        begin = None if self.warm is None else self.warm.begin(placed.batch, placed.epoch)
        x_adv = perturb(
            self.mirror,
            clean.x,
            self.inner(clean),
            attack=self.attack(),
            generator=stream(self.seed, "attack", step=placed.step, device=clean.x.device),
            begin=begin,
            check=False,
        )
        if self.warm is not None:
            self.warm.keep(placed.batch, x_adv)
        return x_adv.contiguous(memory_format=torch.channels_last)

    def _taught(self, clean: Clean, x_adv: Images) -> dict[str, Any]:
        """Return what the teachers say, those asked after the attack included."""
        found = {name: value for name, value in vars(clean).items() if name not in ("mirror", "teacher")}
        if self.teacher is not None and "teacher_adversarial" in self.uses:
            found["teacher_adversarial"], found["teacher_adv_features"] = self.teacher.answer(x_adv)
        if self.teacher is not None and "mirrored" in self.uses:
            found["teacher_minus"], _ = self.teacher.answer(2 * clean.x - x_adv)
        late = {name: other.answer(x_adv)[0] for name, other in self.others.items() if other.view == "adversarial"}
        return {**found, "others": {**clean.others, **late}}

    def _learnt(self, module: nn.Module, x: Images, x_adv: Images) -> dict[str, Any]:
        """Return what the student says, in float32; each pass has batch statistics of its own."""
        found: dict[str, Any] = {}
        found["student_adversarial"], found["student_adv_features"] = _wide(module(x_adv))
        if "student_clean" in self.uses:
            found["student_clean"], found["student_clean_features"] = _wide(module(x))
        if "mirrored" in self.uses:
            found["student_minus"], _ = _wide(module(2 * x - x_adv))
        return found


def _wide(said: tuple[Tensor, Tensor | None]) -> tuple[Tensor, Tensor | None]:
    logits, features = said
    return logits.float(), None if features is None else features.float()


def _accuracies(seen: Seen, *, clean: bool) -> dict[str, Tensor]:
    """Return the shares of the batch that are right: perturbed, and clean where the student saw it so."""
    found = {"robust": (seen.student_adversarial.argmax(dim=1) == seen.labels).float().mean()}
    if clean:
        found["accuracy"] = (seen.student_clean.argmax(dim=1) == seen.labels).float().mean()
    return found
