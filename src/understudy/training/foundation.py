"""What every text method stands on: the clean adapter, and sentences that known attacks have changed against it.

Both are made once, put on file with what determines them, and shared by all methods that ask for the same. Only
training sentences are attacked, never those that anything is evaluated on.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from understudy.attacks.text.base import Record, Sentence, TextAttack
from understudy.attacks.text.identity import resource_digests
from understudy.attacks.text.resources import Resources
from understudy.attacks.text.search import attack_sentences
from understudy.bank.attacked import AttackedBank
from understudy.data.text_set import TextSet
from understudy.models.text.adapter import Adapter, AdapterConfig, new_adapter
from understudy.models.text.backbone import Backbone
from understudy.models.text.full import FullModel
from understudy.models.text.predictor import Predictor, TextClassifier
from understudy.models.text.slots import SlotModel
from understudy.runs.run import Run
from understudy.runs.seeds import derive_seed, stream
from understudy.training.loop import Objective
from understudy.training.recipe import Recipe
from understudy.training.shelf import Shelf, safe_name
from understudy.training.text_batches import TextBatch, TextBatches
from understudy.training.text_fit import cross_entropy_objective, fit_text
from understudy.training.text_steps import SteppedBatch, fit_steps

CLEAN = "clean"


@dataclass(frozen=True, kw_only=True)
class Ground:
    """How the foundation is laid: what all methods of a study have in common."""

    adapter: AdapterConfig
    clean_fit: Recipe
    clip_norm: float
    """Length to which longer gradients are cut."""
    n_adv: int
    """Training sentences that each known attack is run on, 1 or more; all of them where there are fewer."""
    width: int
    """Sentences that are attacked side by side."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Basis:
    """What determines the ingredients of a run: known before anything is trained."""

    ground: Ground
    data: TextSet
    backbone: str
    """SHA-256 of the backbone."""
    max_length: int
    seed: int
    precision: str

    def common_facts(self) -> dict[str, Any]:
        """Return what determines every training of the run, beside its recipe."""
        return {
            "backbone": self.backbone,
            "max_length": self.max_length,
            "labels": list(self.data.classes),
            "data": self.data.sha256,
            "seed": self.seed,
            "precision": self.precision,
            "adapter": self.ground.adapter.model_dump(mode="json"),
            "clip_norm": self.ground.clip_norm,
        }

    def clean_facts(self) -> dict[str, Any]:
        """Return what determines slot 0, as plain JSON values."""
        return {"kind": CLEAN, **self.common_facts(), "fit": self.ground.clean_fit.model_dump(mode="json")}

    def attack_facts(self, attack: TextAttack, resources: Resources, *, victim: str) -> dict[str, Any]:
        """Return what determines the attacked sentences, as plain JSON values; the victim is slot 0, by its SHA-256."""
        return {
            "kind": "attacked",
            "attack": attack.spec,
            "victim": victim,
            "backbone": self.backbone,
            "max_length": self.max_length,
            "data": self.data.sha256,
            "rows": min(self.ground.n_adv, len(self.data)),
            "seed": self.seed,
            "width": self.ground.width,
            "precision": self.precision,
            "resources": resource_digests(attack, resources),
        }


@dataclass(frozen=True, eq=False)
class Foundation:
    """The clean adapter and the attacked sentences of one run.

    Args:
        backbone: the frozen language model, on the run's device.
        data: training sentences.
        ground: how they are used.
        resources: what attacks look words up in.
        run: where phases are shown, checkpointed and logged.
        shelf: where the results lie.
    """

    backbone: Backbone
    data: TextSet
    ground: Ground
    resources: Resources
    run: Run
    shelf: Shelf

    @cached_property
    def start(self) -> Adapter:
        """The tensors from which the adapter of every slot starts, so that slots can be averaged."""
        return new_adapter(self.backbone, self.ground.adapter, seed=derive_seed(self.run.seed, "adapter"))

    @cached_property
    def _clean(self) -> tuple[Adapter, float]:
        def make() -> tuple[Adapter, float]:
            return self.trained(self.start, self.data, self.ground.clean_fit, phase=CLEAN)

        return self.shelf.adapter(CLEAN, self.clean_facts(), make, self.backbone)

    @property
    def clean(self) -> Adapter:
        """Slot 0: trained on the sentences as they are; made now if it is not on file."""
        return self._clean[0]

    @property
    def clean_seconds(self) -> float:
        """Seconds that the training of slot 0 took, whenever that was."""
        return self._clean[1]

    @cached_property
    def victim(self) -> Predictor:
        """The classifier that known attacks are run against: slot 0."""
        return self.predictor(self.clean)

    @cached_property
    def rows(self) -> Int64[Tensor, " n"]:
        """Training rows that are attacked, in random order: the same for every attack."""
        order = torch.randperm(len(self.data), generator=stream(self.run.seed, "attacked"))
        return order[: self.ground.n_adv]

    @cached_property
    def untouched(self) -> Int64[Tensor, " n"]:
        """The other training rows, in random order; all rows where every one is attacked."""
        order = torch.randperm(len(self.data), generator=stream(self.run.seed, "attacked"))
        return order[self.ground.n_adv :] if len(order) > self.ground.n_adv else order

    @cached_property
    def basis(self) -> Basis:
        """What determines every ingredient, beside its recipe."""
        return Basis(
            ground=self.ground,
            data=self.data,
            backbone=self.backbone.sha256,
            max_length=self.backbone.max_length,
            seed=self.run.seed,
            precision=self.run.options.precision,
        )

    def common_facts(self) -> dict[str, Any]:
        """Return what determines every training of the run, beside its recipe."""
        return self.basis.common_facts()

    def clean_facts(self) -> dict[str, Any]:
        """Return what determines slot 0, as plain JSON values."""
        return self.basis.clean_facts()

    def attack_facts(self, attack: TextAttack) -> dict[str, Any]:
        """Return what determines the attacked sentences, as plain JSON values."""
        return self.basis.attack_facts(attack, self.resources, victim=self.clean.sha256)

    def records(self, attack: TextAttack) -> list[Record]:
        """Return what came of attacking the chosen training sentences: from file, or attacked now, in own phase.

        Raises:
            DependencyError: the attack looks words up in something that is not there.
            ConfigError, IntegrityError: what is on file was made otherwise, or is damaged.
        """
        facts = self.attack_facts(attack)
        place = self.shelf.place(attack.spec, facts)
        with self.shelf.held(place):
            self.shelf.take_over(attack.spec, facts, "manifest.json")
            bank = AttackedBank(place)
            self.attack(bank, attack, self.victim, self.rows, facts, phase=f"attack {attack.spec}")
            return [Record.from_json(values) for values in bank.records()]

    def attack(
        self,
        bank: AttackedBank,
        attack: TextAttack,
        victim: TextClassifier,
        rows: Int64[Tensor, " n"],
        facts: dict[str, Any],
        *,
        phase: str,
    ) -> None:
        """Attack training rows and put the records into a bank, from where it stands."""
        sentences = self.sentences(rows)

        def chunks(done: int) -> Iterator[list[dict[str, Any]]]:
            found = attack_sentences(
                attack,
                victim,
                sentences[done:],
                seed=self.run.seed,
                resources=self.resources,
                width=self.ground.width,
            )
            for records in found:
                yield [record.to_json() for record in records]

        bank.fill(facts, total=len(sentences), chunks=chunks, run=self.run, phase=phase)

    def sentences(self, rows: Int64[Tensor, " n"]) -> list[Sentence]:
        """Return training rows as sentences to attack."""
        data = self.data
        labels = data.labels[rows].tolist()
        return [
            Sentence(data.texts[row], label, row, None if data.contexts is None else data.contexts[row])
            for row, label in zip(rows.tolist(), labels, strict=True)
        ]

    def slot(
        self, attack: TextAttack, data: TextSet, recipe: Recipe, *, start: Adapter, freeze_head: bool = False
    ) -> tuple[Adapter, float]:
        """Return an adapter trained on the data of one attack, with the seconds it took; from file if it is there.

        Args:
            attack: names the slot.
            data: its sentences.
            recipe: how it is trained.
            start: where it starts.
            freeze_head: leave the head as it is at the start.
        """
        facts = {
            "kind": "slot",
            **self.common_facts(),
            "data": data.sha256,
            "start": start.sha256,
            "fit": recipe.model_dump(mode="json"),
            "attack": attack.spec,
            "freeze_head": freeze_head,
        }
        name = f"slot-{safe_name(attack.spec)}"

        def make() -> tuple[Adapter, float]:
            return self.trained(start, data, recipe, phase=name, freeze_head=freeze_head)

        return self.shelf.adapter(name, facts, make, self.backbone, must_fit=False)

    def trained(
        self,
        start: Adapter,
        data: TextSet,
        recipe: Recipe,
        *,
        phase: str,
        objective: Objective[TextBatch] = cross_entropy_objective,
        freeze_head: bool = False,
    ) -> tuple[Adapter, float]:
        """Return an adapter trained on sentences in a phase of its own, and the seconds it took."""
        network = SlotModel(self.backbone, [start], freeze_head=freeze_head)
        self.fit(network, data, recipe, phase=phase, objective=objective)
        return network.adapter(0), self.seconds(phase)

    def seconds(self, phase: str) -> float:
        """Return the seconds spent in a phase of this run, over all its starts."""
        return self.run.timing().get(safe_name(phase), 0.0)

    def fit(
        self,
        network: torch.nn.Module,
        data: TextSet,
        recipe: Recipe,
        *,
        phase: str,
        objective: Objective[TextBatch] = cross_entropy_objective,
    ) -> None:
        """Train a network in place on sentences, in the phase of that name."""
        batches = TextBatches(data, self.backbone, batch_size=recipe.batch_size, seed=self.run.seed)
        fit_text(
            network,
            batches,
            objective=objective,
            recipe=recipe,
            run=self.run,
            phase=safe_name(phase),
            clip_norm=self.ground.clip_norm,
        )

    def fit_steps(
        self,
        network: torch.nn.Module,
        data: TextSet,
        recipe: Recipe,
        *,
        phase: str,
        objective: Objective[SteppedBatch],
    ) -> None:
        """Train a network in place for an objective that draws at random, in the phase of that name."""
        fit_steps(
            network,
            TextBatches(data, self.backbone, batch_size=recipe.batch_size, seed=self.run.seed),
            objective=objective,
            recipe=recipe,
            run=self.run,
            phase=safe_name(phase),
            clip_norm=self.ground.clip_norm,
        )

    def predictor(self, adapter: Adapter) -> Predictor:
        """Return a classifier of one adapter, in the run's precision."""
        return self.serve(SlotModel(self.backbone, [adapter]))

    def serve(self, network: SlotModel | FullModel) -> Predictor:
        """Return a network as a classifier of texts, in the run's precision."""
        return Predictor(network.to(self.run.device).eval(), self.backbone, precision=self.run.options.precision)
