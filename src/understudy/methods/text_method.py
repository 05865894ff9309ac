"""What every method on text classifiers shares: a frozen backbone, a clean adapter, and attacks known in advance.

A method is its fields, its presets and `adapt`, which is given the foundation: slot 0, and the sentences that the known
attacks have changed against it. Data that anything is evaluated on is never seen here.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import PositiveFloat, PositiveInt

from understudy.attacks.text.base import TextAttack
from understudy.attacks.text.resources import Resources
from understudy.data.text_set import TextSet
from understudy.errors import ConfigError
from understudy.methods.method import Access, Method, preset
from understudy.methods.text_facts import parameters_of
from understudy.models.text.adapter import AdapterConfig
from understudy.models.text.backbone import Backbone
from understudy.models.text.predictor import TextClassifier
from understudy.runs.run import Run
from understudy.training import Recipe
from understudy.training.foundation import Foundation, Ground
from understudy.training.shelf import Shelf, bank_of, fingerprint

MethodT = TypeVar("MethodT", bound="TextMethod")

CLEAN_RECIPE = Recipe(
    epochs=2,
    batch_size=32,
    optimiser="adamw",
    learning_rate=1e-3,
    weight_decay=0.0,
    schedule="linear",
    warmup_frac=0.06,
    cycle_momentum=False,
)
"""How adapters are trained: AdamW without decay, a short climb of the rate and a straight way down."""

REVIEWS: dict[str, Any] = {"n_adv": 400, "clean_epochs": 3, "fit": CLEAN_RECIPE.model_copy(update={"epochs": 4})}
"""For the embedded reviews and the tiny encoder: the mechanics, in a minute."""
REVIEWS_SLOTS = {**REVIEWS, "fit": CLEAN_RECIPE.model_copy(update={"epochs": 16})}
"""The same for methods that train an adapter on each attack's sentences alone, of which there are fewer."""


@dataclass(frozen=True, kw_only=True)
class TextOutcome:
    """What a text method leaves behind, apart from files."""

    model: TextClassifier
    """What the method made; `understudy.models.text.store.save_text_model` puts it on file."""
    clean: TextClassifier
    """Slot 0, the control: an adapter trained on the sentences as they are."""
    slots: Mapping[str, TextClassifier] = field(default_factory=dict)
    """Every single adapter behind the model, by name, slot 0 included as "clean"."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Entries for `result.json`: steps, parameters, bytes, passes, seconds, slots and warnings."""


class TextMethod(Method):
    """Base of the methods on text; the fields of a subclass come after these."""

    requires: ClassVar[Access] = Access.WEIGHTS
    needs_data: ClassVar[bool] = True
    uses_attacks: ClassVar[bool] = True
    """Whether the method trains on sentences that known attacks have changed."""

    adapter: AdapterConfig = AdapterConfig()
    """What is trained beside the head, in each slot."""
    clean_epochs: PositiveInt = 2
    """Passes over the training set for the clean adapter, slot 0."""
    clean_learning_rate: PositiveFloat = 1e-3
    """Peak learning rate of the clean adapter."""
    n_adv: PositiveInt = 400
    """Training sentences that each known attack is run on."""
    clip_norm: PositiveFloat = 1.0
    """Largest length of the gradient over all weights, to which longer ones are cut."""
    attack_width: PositiveInt = 32
    """Sentences that are attacked side by side, in common batches."""
    fit: Recipe = CLEAN_RECIPE
    """How the method's own adapter is trained."""

    @classmethod
    @preset
    def reviews(cls: type[MethodT]) -> MethodT:
        """The embedded reviews with the tiny encoder: the mechanics, in a minute."""
        return cls(**REVIEWS)

    @classmethod
    @preset
    def sst2(cls: type[MethodT]) -> MethodT:
        """SST-2 with a small pre-trained encoder, such as MiniLM: the defaults, minutes to hours on a CPU."""
        return cls()

    def clean_recipe(self) -> Recipe:
        """Return how slot 0 is trained."""
        return CLEAN_RECIPE.model_copy(update={"epochs": self.clean_epochs, "learning_rate": self.clean_learning_rate})

    def ground(self) -> Ground:
        """Return what the foundation is laid with: equal for methods that may share it."""
        return Ground(
            adapter=self.adapter,
            clean_fit=self.clean_recipe(),
            clip_norm=self.clip_norm,
            n_adv=self.n_adv,
            width=self.attack_width,
        )

    def check(self, backbone: Backbone, data: TextSet, attacks: Sequence[TextAttack], run: Run) -> None:
        """Refuse what cannot be carried out, before anything is put on file.

        Raises:
            ConfigError: classes that differ, attacks that repeat or are missing, or several processes.
        """
        if tuple(data.classes) != tuple(backbone.labels):
            raise ConfigError(
                f"data of the classes {list(data.classes)}, and a backbone with a head for {list(backbone.labels)}",
                where=data.name,
                expected="the same classes in the same order",
            )
        specs = [attack.spec for attack in attacks]
        if len(set(specs)) < len(specs):
            raise ConfigError("a known attack is named twice", where="--known", expected="each attack once")
        if self.uses_attacks and not attacks:
            raise ConfigError(
                f"{type(self).__name__} learns from attacks that are known in advance, and there are none",
                where="--known",
                fix="name some, such as --known deepwordbug,textbugger",
            )
        if run.world > 1:
            raise ConfigError(
                f"{type(self).__name__} trains in one process, and there are {run.world}",
                fix="start the command without torchrun",
            )

    def run(
        self,
        *,
        backbone: Backbone,
        data: TextSet,
        attacks: Sequence[TextAttack],
        resources: Resources,
        run: Run,
        bank: Path | None = None,
        store: Path | None = None,
    ) -> TextOutcome:
        """Train the clean adapter, run the known attacks on training sentences, and carry the method out.

        Args:
            backbone: the frozen language model, on the run's device; it is not changed.
            data: training sentences. Profiles, anchors and attacked sentences all come from them.
            attacks: the attacks known in advance.
            resources: what attacks look words up in.
            run: where everything is put on file; stopped at any point and called again, it ends in the same bytes.
            bank: another run's folder, whose clean adapter and attacked sentences are taken over after a check.
            store: a folder shared by the runs of a study, in which every ingredient is made once.

        Raises:
            ConfigError: what is given does not fit together, or the bank was made otherwise.
            DataError: an attack changed no sentence that could be trained on.
            DependencyError: an attack looks words up in something that is not there.
            DivergenceError: a loss is no longer finite; the last good checkpoint is kept.
        """
        self.check(backbone, data, attacks, run)
        shelf = Shelf(run.folder / "bank", None if bank is None else bank_of(bank), store)
        foundation = Foundation(backbone, data, self.ground(), resources, run, shelf)
        return self.adapt(foundation, attacks)

    @abstractmethod
    def adapt(self, foundation: Foundation, attacks: Sequence[TextAttack]) -> TextOutcome:
        """Carry the method out on its foundation."""

    def training_key(self, attacks: Sequence[TextAttack]) -> str:
        """Return a name for all that decides what is trained: methods of one key share every trained part."""
        values = self.model_dump(mode="json", exclude=set(self.untrained()))
        return fingerprint({"method": type(self).__name__, **values, "attacks": [attack.spec for attack in attacks]})

    def untrained(self) -> tuple[str, ...]:
        """Return the fields that matter at prediction alone."""
        return ()

    def cost(self, model: Any, *, rows: int | None, bank: object = None, attacks: int = 2) -> dict[str, int]:  # noqa: ARG002
        """Return training steps, sentences attacked, and parameters of one adapter with its head.

        Args:
            model: the backbone.
            rows: size of the training set.
            bank: what is there already; it is not subtracted.
            attacks: how many are known.
        """
        known = attacks if self.uses_attacks else 0
        attacked = min(self.n_adv, rows or 0)
        return {
            "training_steps": self.clean_recipe().steps(rows or 0) + self.own_steps(rows or 0, known, attacked),
            "sentences_attacked": known * attacked,
            "parameters": parameters_of(self.adapter, model),
        }

    @abstractmethod
    def own_steps(self, rows: int, attacks: int, attacked: int) -> int:
        """Return the method's own optimiser steps, at most, with so many sentences attacked by each attack."""
