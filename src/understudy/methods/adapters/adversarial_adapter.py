"""One slot of AdpMixup by itself: an adapter trained on what one known attack made of the sentences.

It shows what mixing adds. Trained with unchanged sentences beside the attacked ones (anchors) such an adapter can be
as good on attacked text as the mixture, and is worse on clean text; without them it learns to contradict the clean one.

After the slots of Nguyen, Le: Adapters Mixup. EMNLP 2024, arXiv 2401.10111.

Fidelity: instantiation. How the paper trains its adversarial adapters is not public; anchors and common start are ours.
"""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import NonNegativeFloat

from understudy.attacks.text.base import TextAttack
from understudy.errors import ConfigError, nearest
from understudy.methods.method import Fidelity, preset
from understudy.methods.text_facts import costs, gathered, slot_report
from understudy.methods.text_method import CLEAN_RECIPE, REVIEWS_SLOTS, TextMethod, TextOutcome
from understudy.training import Recipe
from understudy.training.attacked_texts import attacked_texts
from understudy.training.foundation import CLEAN, Foundation


class AdversarialAdapter(TextMethod):
    """Train one adapter on what one known attack made of the sentences: a slot of AdpMixup, unmixed.

    After Nguyen, Le: Adapters Mixup. EMNLP 2024, arXiv 2401.10111.
    """

    fidelity: ClassVar[Fidelity] = "instantiation"

    attack: str = ""
    """The known attack, as --known names it; left out, the first of them."""
    anchor_ratio: NonNegativeFloat = 1.0
    """Unchanged sentences for each attacked one; at 0 the adapter may learn to contradict the clean one."""
    fit: Recipe = CLEAN_RECIPE.model_copy(update={"epochs": 8})
    """How the adapter is trained."""

    @classmethod
    @preset
    def reviews(cls) -> "AdversarialAdapter":
        """The embedded reviews with the tiny encoder: the mechanics, in a minute."""
        return cls(**REVIEWS_SLOTS)

    def own_steps(self, rows: int, attacks: int, attacked: int) -> int:  # noqa: ARG002 (the base's signature)
        """Return the steps where every sentence attacked can be trained on."""
        return self.fit.steps(round(attacked * (1 + self.anchor_ratio)))

    def adapt(self, foundation: Foundation, attacks: Sequence[TextAttack]) -> TextOutcome:
        """Train the adapter of the chosen attack."""
        chosen = self._chosen(attacks)
        records = foundation.records(chosen)
        data = attacked_texts(foundation.data, records, anchor_ratio=self.anchor_ratio, seed=foundation.run.seed)
        adapter, seconds = foundation.slot(chosen, data, self.fit, start=foundation.start)
        model = foundation.predictor(adapter)
        slots = {CLEAN: foundation.victim, chosen.spec: model}
        costed = costs(foundation, model=[adapter], steps=self.fit.steps(len(data)), seconds=seconds)
        return TextOutcome(
            model=model,
            clean=foundation.victim,
            slots=slots,
            facts={
                **costed,
                "gather": {chosen.spec: gathered(records)},
                "slots": slot_report(slots, foundation),
            },
        )

    def _chosen(self, attacks: Sequence[TextAttack]) -> TextAttack:
        """Return the attack whose slot is trained.

        Raises:
            ConfigError: it is none of the known ones.
        """
        named = {attack.spec: attack for attack in attacks}
        if not self.attack:
            return attacks[0]
        if self.attack not in named:
            raise ConfigError(
                f"{self.attack!r} is none of the known attacks", where="--attack", fix=nearest(self.attack, named)
            )
        return named[self.attack]
