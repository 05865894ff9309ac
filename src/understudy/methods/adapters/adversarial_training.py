"""Adversarial training on discrete examples: one model on the sentences and on what known attacks made of them.

min over the adapter (or the whole model) of the mean cross-entropy on D, D_1, ..., D_m together: the baseline to beat.

As in the comparison of Nguyen, Le: Adapters Mixup. EMNLP 2024, arXiv 2401.10111; with fresh attacks on the model in
training, the `iterative` way, of Si et al. 2021 (arXiv 2012.15699).

Fidelity: instantiation. What the comparison sets its baseline to is not public. The attacked sentences are those found
against the clean adapter; an epoch of the iterative way stays as long as the first one, however much was appended.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import PositiveInt

from understudy.attacks.text.base import TextAttack
from understudy.methods.method import Fidelity, preset
from understudy.methods.text_facts import costs, gathered, slot_report
from understudy.methods.text_method import CLEAN_RECIPE, TextMethod, TextOutcome
from understudy.models.text.full import FullModel
from understudy.models.text.slots import SlotModel
from understudy.training.attacked_texts import attacked_texts, joined
from understudy.training.foundation import CLEAN, Foundation
from understudy.training.fresh_attacks import FreshAttacks

FULL_RECIPE = CLEAN_RECIPE.model_copy(update={"learning_rate": 5e-5})
PHASE = "fit"


class AdversarialTraining(TextMethod):
    """Train one adapter, or the whole model, on sentences and on what known attacks made of them.

    As in the comparison of Nguyen, Le: Adapters Mixup. EMNLP 2024, arXiv 2401.10111.
    """

    fidelity: ClassVar[Fidelity] = "instantiation"

    scope: Literal["adapter", "full"] = "adapter"
    """What is trained: an adapter with a head, or a copy of the whole model (take a rate near 5e-5)."""
    start: Literal["shared", "clean"] = "shared"
    """Where the adapter starts: where the clean one started, or where it ended."""
    iterative: bool = False
    """Whether the model in training is attacked after each epoch but the last, and what is found is appended."""
    n_fresh: PositiveInt = 100
    """Training sentences that each known attack is run on after an epoch, where training is iterative."""

    @classmethod
    @preset
    def full(cls) -> "AdversarialTraining":
        """The whole model is trained, at a rate for pre-trained weights."""
        return cls(scope="full", fit=FULL_RECIPE)

    @classmethod
    @preset
    def iterated(cls) -> "AdversarialTraining":
        """Fresh attacks on the adapter in training after each epoch."""
        return cls(iterative=True, fit=CLEAN_RECIPE.model_copy(update={"epochs": 3}))

    def own_steps(self, rows: int, attacks: int, attacked: int) -> int:
        """Return the steps where every sentence attacked can be trained on."""
        return self.fit.steps(rows + attacks * attacked)

    def adapt(self, foundation: Foundation, attacks: Sequence[TextAttack]) -> TextOutcome:
        """Train on the sentences and on the attacked ones together."""
        records = {attack.spec: foundation.records(attack) for attack in attacks}
        seed = foundation.run.seed
        found = [attacked_texts(foundation.data, each, anchor_ratio=0.0, seed=seed) for each in records.values()]
        data = joined(foundation.data, *found)
        network = self._network(foundation)
        if self.iterative:
            FreshAttacks(foundation, attacks, data, recipe=self.fit, rows=self.n_fresh).fit(network, phase=PHASE)
        else:
            foundation.fit(network, data, self.fit, phase=PHASE)
        model = foundation.serve(network)
        slots = {CLEAN: foundation.victim, "adversarial": model}
        return TextOutcome(
            model=model,
            clean=foundation.victim,
            slots=slots,
            facts={
                **costs(
                    foundation,
                    model=network,
                    steps=self.fit.steps(len(data)),
                    seconds=foundation.seconds(PHASE),
                ),
                "gather": {spec: gathered(each) for spec, each in records.items()},
                "slots": slot_report(slots, foundation),
            },
        )

    def _network(self, foundation: Foundation) -> SlotModel | FullModel:
        if self.scope == "full":
            return FullModel(foundation.backbone)
        return SlotModel(foundation.backbone, [foundation.clean if self.start == "clean" else foundation.start])
