"""AdpMixup: a clean adapter and one for each known attack, mixed for each sentence by how sure each of them is.

Slot 0 is trained on the sentences as they are, slot k on those that attack k has changed; the backbone stays frozen.
For a sentence x each pair (0, k) gets a coefficient beta_k(x) from the entropies of the slots' predictions, and the
prediction is that of the adapter sum_k w_k phi_k, with w_0 = mean_k beta_k and w_k = (1 - beta_k) / m.

Nguyen, Le: Adapters Mixup: Mixing Parameter-Efficient Adapters to Enhance the Adversarial Robustness of Fine-tuned
Pre-trained Text Classifiers. EMNLP 2024, arXiv 2401.10111.

Fidelity: instantiation. What the paper makes public is followed: one adapter an attack, weights of adapters mixed by a
convex combination at prediction, coefficients from entropies of predictions and their extremes. Its equations for the
coefficients and its hyperparameters are not public: the formulas here are ours (see `understudy.models.text.gate`), and
so are the common start of all slots, the mixing of heads, unchanged sentences beside the attacked ones (anchors), and
the rule `clean_range`, which is the default because it did best in our measurements; `paper` is nearest to the text.
Entropy is no security boundary: an attacker who asks the whole pipeline gets past it. Always measure that too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor

from understudy.attacks.text.base import Record, TextAttack
from understudy.methods.method import Fidelity, preset
from understudy.methods.text_facts import costs, gathered, slot_report
from understudy.methods.text_method import CLEAN_RECIPE, REVIEWS_SLOTS, TextMethod, TextOutcome
from understudy.models.text.adapter import Adapter, LoraMix
from understudy.models.text.gate import Gate
from understudy.models.text.mixture import HeadPolicy, MixedAdapters
from understudy.models.text.predictor import TextClassifier
from understudy.models.text.slots import SlotModel
from understudy.training import Recipe
from understudy.training.attacked_texts import attacked_texts, usable
from understudy.training.foundation import CLEAN, Foundation


class AdpMixup(TextMethod):
    """Mix a clean adapter and one for each known attack, for each sentence by the entropy of their predictions.

    Nguyen, Le: Adapters Mixup. EMNLP 2024, arXiv 2401.10111. The coefficients are our instantiation.
    """

    fidelity: ClassVar[Fidelity] = "instantiation"

    gate: Gate = Gate()
    """How entropies become coefficients."""
    lora_mix: LoraMix = "factor"
    """What is averaged of LoRA adapters: the two factors one by one (as AdapterHub does), or their products."""
    head_policy: HeadPolicy = "mixed"
    """Heads: mixed like the adapters, always that of the clean slot, or one that only the clean slot trains."""
    start: Literal["shared", "clean"] = "shared"
    """Where the attacks' adapters start: where the clean one started, or where it ended (fits attacked data badly)."""
    anchor_ratio: NonNegativeFloat = 1.0
    """Unchanged sentences for each attacked one; at 0 adapters may learn to contradict the clean one."""
    n_cal: PositiveInt = 300
    """Training sentences, at most, from which each slot's range of entropies is taken."""
    fit: Recipe = CLEAN_RECIPE.model_copy(update={"epochs": 8})
    """How the adapter of each known attack is trained."""

    @classmethod
    @preset
    def paper(cls) -> "AdpMixup":
        """Nearest to what is published: a coefficient for each attack, from the extremes of its entropies."""
        return cls(gate=Gate(rule="pairwise", quantile=0.0))

    @classmethod
    @preset
    def recommended(cls) -> "AdpMixup":
        """The defaults: one coefficient, from the clean adapter alone, which costs two passes a sentence."""
        return cls()

    @classmethod
    @preset
    def reviews(cls) -> "AdpMixup":
        """The embedded reviews with the tiny encoder: the mechanics, in a minute."""
        return cls(**REVIEWS_SLOTS)

    def untrained(self) -> tuple[str, ...]:
        """Return the fields that matter at prediction alone."""
        return ("gate", "lora_mix", "n_cal")

    def own_steps(self, rows: int, attacks: int, attacked: int) -> int:  # noqa: ARG002 (the base's signature)
        """Return the steps of all adapters but the clean one, where every sentence attacked can be trained on."""
        return attacks * self.fit.steps(round(attacked * (1 + self.anchor_ratio)))

    def adapt(self, foundation: Foundation, attacks: Sequence[TextAttack]) -> TextOutcome:
        """Train an adapter for each attack, take the profiles, and mix."""
        slots = [self._slot(foundation, attack) for attack in attacks]
        adapters = (foundation.clean, *(slot.adapter for slot in slots))
        names = (CLEAN, *(attack.spec for attack in attacks))
        single = {CLEAN: foundation.victim, **{slot.name: foundation.predictor(slot.adapter) for slot in slots}}
        texts = {slot.name: slot.records for slot in slots}
        profiles = torch.stack([self._profile(foundation, single[name], texts.get(name)) for name in names])
        network = SlotModel(foundation.backbone, adapters, lora_mix=self.lora_mix).to(foundation.run.device)
        model = MixedAdapters(
            network,
            foundation.backbone,
            self.gate,
            profiles,
            names,
            head_policy=self.head_policy,
            precision=foundation.run.options.precision,
        )
        facts = costs(
            foundation,
            model=adapters,
            steps=sum(self.fit.steps(slot.rows) for slot in slots),
            passes=model.passes,
            seconds=sum(slot.seconds for slot in slots),
        )
        facts |= {
            "gather": {slot.name: gathered(slot.records) for slot in slots},
            "slots": slot_report(single, foundation),
            "profiles": dict(zip(names, profiles.tolist(), strict=True)),
            "gate": self.gate.model_dump(mode="json"),
        }
        return TextOutcome(model=model, clean=foundation.victim, slots=single, facts=facts)

    def _slot(self, foundation: Foundation, attack: TextAttack) -> "_Slot":
        records = foundation.records(attack)
        data = attacked_texts(foundation.data, records, anchor_ratio=self.anchor_ratio, seed=foundation.run.seed)
        start = foundation.clean if self.start == "clean" else foundation.start
        shared = self.head_policy == "shared"
        if shared:
            start = replace(start, head=foundation.clean.head)
        adapter, seconds = foundation.slot(attack, data, self.fit, start=start, freeze_head=shared)
        return _Slot(attack.spec, adapter, records, len(data), seconds)

    def _profile(
        self, foundation: Foundation, slot: TextClassifier, records: Sequence[Record] | None
    ) -> Float[Tensor, "2"]:
        """Return the range of a slot's entropies on training sentences of its own kind."""
        if records is None:
            seen = foundation.data.take(foundation.untouched[: self.n_cal])
        else:
            seen = attacked_texts(foundation.data, usable(records)[: self.n_cal], anchor_ratio=0.0, seed=0)
        return self.gate.profile(slot.probs(seen.texts, seen.contexts))


@dataclass(frozen=True)
class _Slot:
    """The adapter of one attack, and what it was trained on."""

    name: str
    adapter: Adapter
    records: Sequence[Record]
    rows: int
    """Sentences, anchors included."""
    seconds: float
