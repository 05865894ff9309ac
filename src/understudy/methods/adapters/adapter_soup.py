"""Soups: the adapters of clean and attacked sentences averaged once, for all sentences alike.

phi = mean of the chosen phi_k, heads included. Uniform takes all; greedy takes them by falling accuracy on held-out
sentences, each for as long as the average does not get worse; clustering takes those whose sentences lie, in the
backbone's own representation, where sentences of the target domain lie.

Chronopoulou, Peters, Fraser, Dodge: AdapterSoup: Weight Averaging to Improve Generalization of Pretrained Language
Models. EACL Findings 2023, arXiv 2302.07027. Wortsman et al.: Model soups. ICML 2022, arXiv 2203.05482 (uniform and
greedy; with scope `full` whole models are averaged).

Fidelity: instantiation. There the adapters are those of text domains, here those of attacks; clusters are found by
k-means and not by a Gaussian mixture, and the target domain is what is expected at prediction: clean sentences,
attacked ones, or both. Greedy selection keeps attacked sentences back from the attacks' adapters, but the clean one has
seen their originals, which favours it. Adapters and their start are those of AdpMixup, whose constant-weight control
this is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeFloat

from understudy.attacks.text.base import Record, TextAttack
from understudy.data.text_set import TextSet
from understudy.methods.method import Fidelity, preset
from understudy.methods.text_facts import costs, gathered, slot_report
from understudy.methods.text_method import CLEAN_RECIPE, REVIEWS_SLOTS, TextMethod, TextOutcome
from understudy.models.text.adapter import Adapter, LoraMix
from understudy.models.text.full import FullModel, average
from understudy.models.text.merge import merge
from understudy.models.text.predictor import Predictor
from understudy.models.text.slots import SlotModel
from understudy.training import Recipe
from understudy.training.attacked_texts import attacked_texts, joined, usable
from understudy.training.foundation import CLEAN, Foundation
from understudy.training.soups import by_cluster, greedy

Ingredient = Adapter | FullModel
FULL_RECIPE = CLEAN_RECIPE.model_copy(update={"learning_rate": 5e-5, "epochs": 2})


class AdapterSoup(TextMethod):
    """Average the adapters of clean and attacked sentences once, for all sentences alike.

    Chronopoulou et al.: AdapterSoup. EACL Findings 2023, arXiv 2302.07027.
    """

    fidelity: ClassVar[Fidelity] = "instantiation"

    selection: Literal["uniform", "greedy", "clustering"] = "uniform"
    """Which adapters are averaged: all, those that do not hurt on held-out sentences, or those near the domain."""
    scope: Literal["adapter", "full"] = "adapter"
    """What is averaged: adapters with heads, or whole models (take a rate near 5e-5)."""
    domain: Literal["clean", "attacked", "both"] = "both"
    """What clustering expects at prediction."""
    held_out_frac: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the attacked sentences that greedy selection keeps back from training."""
    lora_mix: LoraMix = "factor"
    """What is averaged of LoRA adapters: the two factors one by one, or their products."""
    anchor_ratio: NonNegativeFloat = 1.0
    """Unchanged sentences for each attacked one; at 0 adapters may learn to contradict the clean one."""
    fit: Recipe = CLEAN_RECIPE.model_copy(update={"epochs": 8})
    """How the adapter of each known attack is trained."""

    @classmethod
    @preset
    def model_soup(cls) -> "AdapterSoup":
        """Whole models, chosen greedily, at a rate for pre-trained weights."""
        return cls(scope="full", selection="greedy", fit=FULL_RECIPE)

    @classmethod
    @preset
    def reviews(cls) -> "AdapterSoup":
        """The embedded reviews with the tiny encoder: the mechanics, in a minute."""
        return cls(**REVIEWS_SLOTS)

    def own_steps(self, rows: int, attacks: int, attacked: int) -> int:
        """Return the steps of all ingredients but the clean adapter."""
        clean = self.fit.steps(rows) if self.scope == "full" else 0
        return clean + attacks * self.fit.steps(round(attacked * (1 + self.anchor_ratio)))

    def untrained(self) -> tuple[str, ...]:
        """Return the fields that matter at prediction alone."""
        return ("lora_mix", "domain")

    def adapt(self, foundation: Foundation, attacks: Sequence[TextAttack]) -> TextOutcome:
        """Train the ingredients, choose among them, and average."""
        parts = [self._part(foundation, attack) for attack in attacks]
        made, seconds = self._ingredients(foundation, parts)
        served = {name: self._served(foundation, [each]) for name, each in made.items()}
        chosen = self._chosen(foundation, parts, made, served)
        model = self._served(foundation, [made[name] for name in chosen])
        steps = sum(self.fit.steps(len(part.data)) for part in parts)
        steps += self.fit.steps(len(foundation.data)) if self.scope == "full" else 0
        adapters = [each for each in made.values() if isinstance(each, Adapter)]
        facts = costs(foundation, model=adapters or model.network, steps=steps, seconds=seconds)
        if not adapters:  # every ingredient is a whole model
            facts["trained_parameters"] *= len(made)
        slots = {**served, CLEAN: foundation.victim}
        facts |= {
            "gather": {part.attack.spec: gathered(part.records) for part in parts},
            "slots": slot_report({**slots, "soup": model}, foundation),
            "soup": {"selection": self.selection, "chosen": chosen},
        }
        return TextOutcome(model=model, clean=foundation.victim, slots=slots, facts=facts)

    def _part(self, foundation: Foundation, attack: TextAttack) -> "_Part":
        records = foundation.records(attack)
        kept = usable(records)
        back = round(self.held_out_frac * len(kept)) if self.selection == "greedy" and len(kept) > 1 else 0
        ratio, seed = self.anchor_ratio, foundation.run.seed
        data = attacked_texts(foundation.data, kept[back:] or records, anchor_ratio=ratio, seed=seed)
        return _Part(attack, records, kept[:back], data)

    def _ingredients(self, foundation: Foundation, parts: Sequence["_Part"]) -> tuple[dict[str, Ingredient], float]:
        if self.scope == "adapter":
            found = [foundation.slot(part.attack, part.data, self.fit, start=foundation.start) for part in parts]
            named = {part.attack.spec: adapter for part, (adapter, _) in zip(parts, found, strict=True)}
            return {CLEAN: foundation.clean, **named}, sum(seconds for _, seconds in found)
        made: dict[str, Ingredient] = {}
        for name, data in [(CLEAN, foundation.data), *((part.attack.spec, part.data) for part in parts)]:
            network = FullModel(foundation.backbone)
            foundation.fit(network, data, self.fit, phase=f"full {name}")
            made[name] = network
        return made, sum(foundation.seconds(f"full {name}") for name in made)

    def _served(self, foundation: Foundation, chosen: Sequence[Ingredient]) -> Predictor:
        """Return the average of ingredients as a classifier."""
        adapters = [each for each in chosen if isinstance(each, Adapter)]
        if adapters:
            even = [1.0 / len(adapters)] * len(adapters)
            soup = adapters[0] if len(adapters) == 1 else merge(adapters, even, lora_mix=self.lora_mix)
            return foundation.serve(SlotModel(foundation.backbone, [soup]))
        models = [each for each in chosen if isinstance(each, FullModel)]
        return foundation.serve(models[0] if len(models) == 1 else average(models))

    def _chosen(
        self,
        foundation: Foundation,
        parts: Sequence["_Part"],
        made: dict[str, Ingredient],
        served: dict[str, Predictor],
    ) -> list[str]:
        """Return the names of the ingredients to average, in order of choice."""
        if self.selection == "uniform":
            return list(made)
        if self.selection == "greedy":
            held = [record for part in parts for record in part.held]
            if not held:
                return list(made)
            data = attacked_texts(foundation.data, held, anchor_ratio=1.0, seed=0)

            def accuracy(names: Sequence[str]) -> float:
                model = served[names[0]] if len(names) == 1 else self._served(foundation, [made[n] for n in names])
                return float((model.probs(data.texts, data.contexts).argmax(dim=1) == data.labels).double().mean())

            return greedy(list(made), accuracy)
        clean = foundation.data.take(foundation.untouched[:200])
        own = {CLEAN: clean.take(range(len(clean) // 2)), **{part.attack.spec: part.attacked() for part in parts}}
        wanted = [clean.take(range(len(clean) // 2, len(clean)))] if self.domain != "attacked" else []
        wanted += [part.attacked() for part in parts] if self.domain != "clean" else []
        return by_cluster(foundation.backbone, own, joined(*wanted), seed=foundation.run.seed)


@dataclass(frozen=True)
class _Part:
    """One attack's sentences."""

    attack: TextAttack
    records: Sequence[Record]
    held: Sequence[Record]
    """Kept back from training."""
    data: TextSet
    """Trained on, anchors included."""

    def attacked(self) -> TextSet:
        """Return a hundred attacked sentences without anchors."""
        return attacked_texts(self.data, usable(self.records)[:100], anchor_ratio=0.0, seed=0)
