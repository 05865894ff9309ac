"""One batch under one of AutoAttack's attacks, and what counts as broken."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from understudy.attacks._components import Effort, Remarks, build, shape_for
from understudy.attacks._evidence import Evidence, Unit
from understudy.attacks._oracle import Oracle
from understudy.attacks.radius import SLACK, Norm
from understudy.errors import ConfigError, DataError, DivergenceError, IntegrityError, ShapeError

_ASKED_AGAIN = 16


@dataclass(frozen=True)
class Trial:
    """A network, its images and the threat, ready for one attack after another.

    Args:
        model: lent: in eval mode, without parameter gradients.
        x: images in [0, 1], float32.
        labels: their classes.
        epsilon: the radius.
        norm: of the radius.
        seed: which every attack draws from, at every batch anew, as the authors' driver has it.
        batch_rows: images in one batch.
        effort: how hard the attacks try.
        device: where the network lives.
        evidence: the folder for what they find.
    """

    model: nn.Module
    x: Float[Tensor, "n ..."]
    labels: Int64[Tensor, " n"]
    epsilon: float
    norm: Norm
    seed: int
    batch_rows: int
    effort: Effort
    device: torch.device
    evidence: Evidence

    def clean(self) -> tuple[Bool[Tensor, " n"], int]:
        """Return which images the network gets right before any attack, and its number of classes.

        Raises:
            DivergenceError: it answers with NaN or infinity.
            DataError: a label is outside its classes.
            ConfigError: no gradient comes back from it.
            IntegrityError: it does not answer as it did when the folder was begun.
        """
        kept = self.evidence.answers()
        if kept is None:
            logits = torch.cat([self.logits(x) for x in torch.split(self.x, self.batch_rows)])
            self._check_gradient()
            self._check_labels(logits.shape[1])
            broken = int((~logits.isfinite()).any(1).sum())
            if broken:
                raise DivergenceError(f"the network answers {broken} of {len(logits)} images with NaN or infinity")
            correct = logits.argmax(1) == self.labels.to(logits.device)
            kept = {"correct": correct.cpu(), "logits": logits[:_ASKED_AGAIN].cpu()}
            self.evidence.note_answers(kept)
        else:
            before, now = kept["logits"], self.logits(self.x[:_ASKED_AGAIN]).cpu()
            if now.shape != before.shape or (now - before).abs().max() > 1e-2 * (1 + before.abs().max()):
                raise IntegrityError(
                    "the network does not answer as it did when this folder was begun",
                    where=self.evidence.folder,
                    expected="the same network, and one that draws no random numbers",
                    fix="choose another folder, or delete this one",
                )
        return kept["correct"], kept["logits"].shape[1]

    def _check_labels(self, classes: int) -> None:
        lowest, highest = int(self.labels.min()), int(self.labels.max())
        if lowest < 0 or highest >= classes:
            raise DataError(f"labels from {lowest} to {highest}", expected=f"classes 0 to {classes - 1}")

    def _check_gradient(self) -> None:
        with torch.enable_grad():
            logits = self.model(self.x[:1].to(self.device, copy=True).requires_grad_())
        if not logits.requires_grad:
            raise ConfigError(
                "the network gives no gradient with respect to its images, and three of the four attacks need one",
                fix="hand over the network itself: no detach(), no no_grad(), no exported graph",
            )

    @torch.no_grad()
    def logits(self, x: Float[Tensor, "b ..."]) -> Float[Tensor, "b k"]:
        """Return the network's float32 answers."""
        logits: Tensor = self.model(x.to(self.device))
        if logits.ndim != 2 or len(logits) != len(x) or logits.shape[1] < 2:
            raise ShapeError(
                f"the network answers {len(x)} images with shape {tuple(logits.shape)}",
                expected="logits of two classes or more: (images, classes)",
            )
        return logits.float()

    def unit(
        self, name: str, batch: int, rows: Int64[Tensor, " b"], *, classes: int, heard: Callable[[int], object]
    ) -> Unit:
        """Return what an attack made of a batch: read from file, after the attack has run if it has not yet.

        Raises:
            IntegrityError: what is on file is damaged, or is not of this batch.
        """
        unit = self.evidence.read(name, batch)
        if unit is None:
            self.evidence.write(name, batch, self._attack(name, rows, classes, heard))
            unit = self.evidence.read(name, batch)
        if unit is None or not torch.equal(unit.rows, rows):
            raise self.evidence.damaged(name, batch, "this file is of other images than those that are due here")
        return unit

    def _attack(self, name: str, rows: Int64[Tensor, " b"], classes: int, heard: Callable[[int], object]) -> Unit:
        images, labels = self.x[rows].to(self.device), self.labels[rows].to(self.device)
        shape = shape_for(name, tuple(images.shape[1:]), self.norm)
        assert shape is not None  # such an attack is not in the plan
        remarks, oracle = Remarks(), Oracle(self.model, tuple(images.shape[1:]), heard)
        start = time.monotonic()
        with torch.no_grad():
            attack = build(
                name,
                oracle,
                epsilon=self.epsilon,
                norm=self.norm,
                seed=self.seed,
                classes=classes,
                effort=self.effort,
                remarks=remarks,
            )
            attacked = attack(images.reshape(-1, *shape).contiguous(), labels).reshape(images.shape)
            logits = oracle(attacked)
            wrong = (logits.argmax(1) != labels) | ~logits.isfinite().all(1)
        return Unit(
            rows=rows,
            fooled=rows[wrong.cpu()],
            images=attacked[wrong].float().cpu(),
            passes=oracle.passes,
            seconds=time.monotonic() - start,
            zero_gradients=remarks.zero_gradients,
        )

    def within(self, unit: Unit) -> Bool[Tensor, " f"]:
        """Return which of a unit's images lie in the ball around their originals and in the box [0, 1]."""
        images = unit.images.flatten(1)
        delta = (images.double() - self.x[unit.fooled].cpu().flatten(1).double()).abs()
        size = delta.amax(1) if self.norm == "linf" else delta.square().sum(1).sqrt()
        return (size <= self.epsilon + SLACK[self.norm]) & (images >= 0).all(1) & (images <= 1).all(1)

    def right_again(self, unit: Unit) -> int:
        """Return how many of a unit's images the network gets right when it is asked once more."""
        if len(unit.fooled) == 0:
            return 0
        return int((self.logits(unit.images).argmax(1).cpu() == self.labels[unit.fooled].cpu()).sum())
