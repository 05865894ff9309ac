"""Adversarial training in rounds: after each epoch the model in training is attacked, and what is found is appended."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from understudy.attacks.text.base import Record, TextAttack
from understudy.bank.attacked import AttackedBank
from understudy.data.text_set import TextSet
from understudy.models.text.full import FullModel
from understudy.models.text.slots import SlotModel
from understudy.runs.seeds import stream
from understudy.training.attacked_texts import attacked_texts, joined, usable
from understudy.training.foundation import Foundation
from understudy.training.loop import Objective, fit
from understudy.training.recipe import Recipe
from understudy.training.shelf import safe_name
from understudy.training.text_batches import TextBatch, TextBatches
from understudy.training.text_fit import cross_entropy_objective


class FreshAttacks:
    """Goes along with a training, and makes its data grow.

    Every epoch has the steps of the first: it is a random part of what there is by then.

    Args:
        foundation: of the run.
        attacks: run on the model after each epoch but the last.
        data: sentences of the first epoch.
        recipe: of the training.
        rows: training sentences that each attack is run on, other ones in each epoch.
    """

    name = "fresh"

    def __init__(
        self, foundation: Foundation, attacks: Sequence[TextAttack], data: TextSet, *, recipe: Recipe, rows: int
    ) -> None:
        self._foundation, self._attacks, self._recipe, self._rows = foundation, attacks, recipe, rows
        self._pools = [data]
        self._batches = self._of(0)
        self._epoch = 0
        self.steps_per_epoch = self._batches.steps_per_epoch

    def fit(
        self,
        network: SlotModel | FullModel,
        *,
        phase: str,
        objective: Objective[TextBatch] = cross_entropy_objective,
    ) -> None:
        """Train a network in place; see `understudy.training.fit`."""
        fit(
            network,
            batch_at=self.at,
            objective=objective,
            recipe=self._recipe,
            steps_per_epoch=self.steps_per_epoch,
            run=self._foundation.run,
            phase=phase,
            companions=[self],
            clip_norm=self._foundation.ground.clip_norm,
        )

    def at(self, step: int) -> TextBatch:
        """Return the batch of a step, from what there is in its epoch."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._batches, self._epoch = self._of(epoch), epoch
        return self._batches.at(epoch * self._batches.steps_per_epoch + position)

    def restore(self, step: int, kept: Mapping[str, Tensor]) -> None:  # noqa: ARG002 (the protocol's signature)
        """Take what was found in the epochs before a checkpoint from file."""
        del self._pools[1:]
        for epoch in range(min(step // self.steps_per_epoch, self._recipe.epochs - 1)):
            self._append([self._bank(attack, epoch).records() for attack in self._attacks])

    def state(self, step: int) -> Mapping[str, Tensor]:  # noqa: ARG002 (the protocol's signature)
        """Return nothing: all is in the banks."""
        return {}

    def epoch_ended(self, epoch: int, module: nn.Module, optimiser: torch.optim.Optimizer) -> None:  # noqa: ARG002
        """Attack the model as it is now, unless the training is over."""
        if epoch == self._recipe.epochs - 1:
            return
        assert isinstance(module, SlotModel | FullModel)
        foundation = self._foundation
        victim = foundation.serve(module)
        order = torch.randperm(len(foundation.data), generator=stream(foundation.run.seed, self.name, step=epoch))
        found = []
        for attack in self._attacks:
            facts = {**foundation.attack_facts(attack), "victim": victim.sha256, "rows": self._rows, "epoch": epoch}
            bank = self._bank(attack, epoch)
            phase = f"{self.name} {epoch + 1} {attack.spec}"
            foundation.attack(bank, attack, victim, order[: self._rows], facts, phase=phase)
            found.append(bank.records())
        module.train()
        self._append(found)

    def _append(self, found: Sequence[Sequence[Mapping[str, Any]]]) -> None:
        records = [Record.from_json(values) for each in found for values in each]
        pool = self._pools[-1]
        if usable(records):
            pool = joined(pool, attacked_texts(self._foundation.data, records, anchor_ratio=0.0, seed=0))
        self._pools.append(pool)

    def _bank(self, attack: TextAttack, epoch: int) -> AttackedBank:
        return AttackedBank(self._foundation.run.folder / "bank" / f"{self.name}-{epoch + 1}-{safe_name(attack.spec)}")

    def _of(self, epoch: int) -> TextBatches:
        """Return batches of an epoch's pool, in an order of that epoch's own."""
        foundation = self._foundation
        return TextBatches(
            self._pools[epoch], foundation.backbone, batch_size=self._recipe.batch_size, seed=foundation.run.seed
        )
