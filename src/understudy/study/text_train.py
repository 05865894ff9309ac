"""The models of a text study: each trained once, put on file as it is to be used, and read back from there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from understudy.errors import ConfigError
from understudy.methods.text_method import TextMethod, TextOutcome
from understudy.models.text.adapter import adapted_modules
from understudy.models.text.backbone import Backbone
from understudy.models.text.predictor import TextClassifier
from understudy.models.text.store import load_text_model, save_text_model
from understudy.runs.files import read_json, write_json
from understudy.runs.options import RunOptions
from understudy.runs.progress import ProgressSink
from understudy.runs.run import Run
from understudy.study.text_bench import Bench, load_bench, named_backbone, open_backbone, slug, untrained_tiny
from understudy.study.text_methods import CLEAN, SLOT_0, Chosen, text_method
from understudy.study.text_settings import TINY, TextSettings

TRAINED = "trained.json"


@dataclass
class Workshop:
    """Where the models of a study are made.

    Args:
        bench: data and attacks.
        run: the study's.
        options: of every training, but for its seed.
        alone: whether the study is one run of one method: it then lies in the run's own folder.
        control: whether that method is the clean adapter itself, which is then the run's model and no control.
        bank: another run, whose clean adapter and attacked sentences are taken over; None for none.
        progress: where the progress of each training is shown.
        backbones: those in memory by seed, one at most.
    """

    bench: Bench
    run: Run
    options: RunOptions
    alone: bool
    control: bool = False
    bank: Path | None = None
    progress: ProgressSink | None = None
    backbones: dict[int, Backbone] = field(default_factory=dict)

    def backbone(self, seed: int) -> Backbone:
        """Return the backbone with a seed's head; one of them is kept in memory."""
        if seed not in self.backbones:
            self.backbones.clear()
            self.backbones[seed] = open_backbone(self.bench, self.run, seed=seed)
        return self.backbones[seed]

    def place(self, key: str, seed: int) -> Path:
        """Return the folder of one model: its `model/` and what its training left."""
        if not self.alone:
            return self.run.folder / "cells" / f"{slug(key)}-s{seed}"
        return self.run.folder / "control" / CLEAN if key == CLEAN and not self.control else self.run.folder

    def trained(self, key: str, seed: int) -> dict[str, Any] | None:
        """Return what a finished training left; None where it is not finished."""
        path = self.place(key, seed) / TRAINED
        return read_json(path) if path.exists() else None

    def train(self, key: str, chosen: Chosen, seed: int) -> dict[str, Any]:
        """Train a model, or go on with it, put it on file, and return its facts; a finished one is not touched.

        Raises:
            UnderstudyError: it cannot be trained.
            Interrupted: the user asked to stop; the same call goes on.
        """
        found = self.trained(key, seed)
        if found is not None:
            return found
        place = self.place(key, seed)
        run = self.run if self.alone else self._own_run(place, key, chosen, seed)
        outcome: TextOutcome = chosen.method.run(
            backbone=self.backbone(seed),
            data=self.bench.train,
            attacks=self.bench.known,
            resources=self.bench.resources,
            run=run,
            bank=self.bank,
            store=None if self.alone else self.run.folder / "store",
        )
        about = {"method": chosen.name, "preset": chosen.preset, "seed": seed, "fidelity": chosen.fidelity}
        save_text_model(outcome.model, place / "model", about=about)
        facts = {**outcome.facts, "clean_sha256": outcome.clean.sha256, "model_sha256": outcome.model.sha256}
        write_json(place / TRAINED, facts)
        return facts

    def load(self, key: str, seed: int) -> TextClassifier:
        """Return a model as it is on file.

        Raises:
            IntegrityError: it is damaged.
        """
        model = load_text_model(self.place(key, seed) / "model", backbone=self.backbone(seed))
        # The file does not say in which arithmetic the user wants it to answer.
        if hasattr(model, "precision"):
            model.precision = self.options.precision
        return model

    def _own_run(self, place: Path, key: str, chosen: Chosen, seed: int) -> Run:
        config = {
            "key": key,
            "method": chosen.name,
            "known": [attack.spec for attack in self.bench.known],
            "options": chosen.method.model_dump(mode="json"),
        }
        options = self.options.model_copy(update={"seed": seed})
        facts: Mapping[str, object] = {
            "train_sha256": self.bench.train.sha256,
            "backbone_sha256": self.backbone(seed).sha256,
        }
        return Run(place, config, options, progress=self.progress, facts=facts)


def prepared(
    settings: TextSettings, chosen: Sequence[Chosen], options: RunOptions
) -> tuple[Bench, dict[int, Backbone], dict[str, object]]:
    """Load and check everything that a study begins with, before anything is put on file.

    Returns:
        Data and attacks; the backbone under the first seed, unless it has yet to be trained; and the hashes by which
        a resumed study knows what it was begun with.

    Raises:
        UnderstudyError: something is missing, damaged, or does not fit.
    """
    bench = load_bench(settings)
    for one in chosen:
        if one.method.uses_attacks and not bench.known:
            raise ConfigError(
                f"{one.name} learns from attacks that are known in advance, and there are none",
                where="--known",
                fix="name some, such as --known deepwordbug,textbugger",
            )
    facts: dict[str, object] = {"train_sha256": bench.train.sha256, "test_sha256": bench.test.sha256}
    if settings.backbone == TINY:
        _check_places(untrained_tiny(bench), chosen)  # or half a minute of training would end in a refusal
        return bench, {}, facts
    backbone = named_backbone(bench, settings.backbone, seed=options.seed, device=options.torch_device())
    _check_places(backbone, chosen)
    return bench, {options.seed: backbone}, {**facts, "backbone_sha256": backbone.sha256}


def _check_places(backbone: Backbone, chosen: Sequence[Chosen]) -> None:
    """Refuse methods whose adapters have no place in the backbone."""
    for one in chosen:
        adapted_modules(backbone, one.method.adapter)


def slot_0(first: Chosen) -> Chosen:
    """Return the control of a study: the clean adapter that its first method starts from."""
    if first.name == SLOT_0:
        return first
    shared = set(TextMethod.model_fields) - {"fit", "n_adv", "attack_width"}
    options = {name: value for name, value in first.method.model_dump().items() if name in shared}
    return Chosen(CLEAN, SLOT_0, text_method(SLOT_0, preset=None, options=options), {})
