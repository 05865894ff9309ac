"""The bench of a text study: sentences, attacks and backbone, loaded and checked before anything is trained."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from understudy.attacks.text import Resources, Sentence, TextAttack
from understudy.data.reviews import review_words
from understudy.data.text_set import TextSet, TextSplit
from understudy.data.text_sources import load_texts
from understudy.errors import ConfigError
from understudy.models.text.backbone import Backbone, load_backbone
from understudy.models.text.tiny import build_tiny
from understudy.runs.run import Run
from understudy.runs.seeds import derive_seed, stream
from understudy.study.text_settings import TINY, TextSettings
from understudy.training.masked_lm import POSITIONS, train_tiny

_PLAIN = re.compile(r"[^\w.=+-]+")


@dataclass(frozen=True)
class Bench:
    """What all models of a study have in common, apart from the backbone."""

    settings: TextSettings
    train: TextSet
    test: TextSet
    """Test sentences of clean accuracy; the first of them are attacked, the first of those adaptively."""
    test_rows: tuple[int, ...]
    """Where these stand in the test split."""
    removed: int
    """Training sentences left out because they stand in the test split as well."""
    known: tuple[TextAttack, ...]
    unknown: tuple[TextAttack, ...]
    resources: Resources

    @property
    def attacks(self) -> tuple[TextAttack, ...]:
        """All attacks, known ones first."""
        return (*self.known, *self.unknown)

    @property
    def static_rows(self) -> int:
        """How many of the test sentences are attacked once."""
        return min(self.settings.rows, len(self.test))

    @property
    def adaptive_rows(self) -> int:
        """How many of these are attacked for each model anew."""
        return min(self.settings.adaptive_rows, len(self.test))

    def sentences(self, count: int) -> list[Sentence]:
        """Return the first test sentences as attacks take them."""
        labels = self.test.labels.tolist()
        contexts = self.test.contexts or (None,) * count
        return [Sentence(self.test.texts[n], labels[n], self.test_rows[n], contexts[n]) for n in range(count)]


def load_bench(settings: TextSettings) -> Bench:
    """Load the data, and everything that attacks look words up in.

    Training sentences that stand in the test split, too, are left out. Which test sentences are taken depends on their
    number alone: fewer are among those of more, whoever is evaluated.

    Raises:
        UnderstudyError: data or a resource of an attack are missing or damaged.
    """
    settings.check()
    known, unknown = settings.attacks()
    resources = _resources(settings, (*known, *unknown))
    whole = _load(settings, "test")
    train, removed = _load(settings, "train").without(whole)
    order = _order(len(whole), settings.clean_rows)
    return Bench(settings, train, whole.take(order), tuple(order), removed, known, unknown, resources)


def load_test_bench(settings: TextSettings, labels: Sequence[str]) -> Bench:
    """Load the test sentences alone, for a model that is trained already; the same ones as `load_bench` takes.

    Raises:
        UnderstudyError: data or a resource of an attack are missing or damaged, or the model knows other classes.
    """
    known, unknown = settings.attacks()
    resources = _resources(settings, (*known, *unknown))
    whole = _load(settings, "test").with_classes(labels)
    order = _order(len(whole), settings.clean_rows)
    test = whole.take(order)
    return Bench(settings, test, test, tuple(order), 0, known, unknown, resources)


def _resources(settings: TextSettings, attacks: Sequence[TextAttack]) -> Resources:
    """Return what attacks look words up in, after each has found it: before hours of training, not after."""
    resources = settings.resources()
    for attack in attacks:
        attack.prepare(resources)
    return resources


def _load(settings: TextSettings, split: TextSplit) -> TextSet:
    return load_texts(
        settings.data,
        split,
        text_column=settings.text_column,
        context_column=settings.context_column,
        label_column=settings.label_column,
    )


def _order(total: int, rows: int | None) -> list[int]:
    """Return which test sentences are taken, in the order in which they are attacked."""
    order: list[int] = torch.randperm(total, generator=stream(0, "sentences to evaluate"))[:rows].tolist()
    return order


def open_backbone(bench: Bench, run: Run, *, seed: int) -> Backbone:
    """Return the frozen backbone with its head drawn from the seed; the tiny one is trained first.

    Args:
        bench: the study's.
        run: the study's; a tiny backbone is trained in its folder, once for all seeds.
        seed: of the models.

    Raises:
        UnderstudyError: the backbone is none, or does not fit.
    """
    spec = bench.settings.backbone
    if spec == TINY:
        spec = str(train_tiny(run.folder / "backbone", seed=run.seed, run=run))
    return named_backbone(bench, spec, seed=seed, device=run.device)


def named_backbone(bench: Bench, spec: str, *, seed: int, device: torch.device) -> Backbone:
    """Return the backbone of a spec other than `tiny`, for the classes of the data.

    Raises:
        UnderstudyError: the backbone is none, or does not fit.
    """
    return load_backbone(
        spec,
        labels=bench.train.classes,
        max_length=bench.settings.max_length,
        seed=derive_seed(seed, "backbone"),
        device=device,
    )


def untrained_tiny(bench: Bench) -> Backbone:
    """Return the tiny encoder as it is before its training, to check in a moment what is to be laid over it.

    Raises:
        ConfigError: the length of texts is none that it can read.
        DependencyError: `transformers` is not installed.
    """
    with TemporaryDirectory() as aside:
        folder = build_tiny(review_words(), Path(aside) / "tiny", max_length=POSITIONS, seed=0)
        # At full length, whatever is asked for: a refusal would name a folder that is gone.
        backbone = load_backbone(folder, labels=bench.train.classes, max_length=POSITIONS, seed=0)
    least, length = backbone.tokenizer.num_special_tokens_to_add(pair=True) + 2, bench.settings.max_length
    if not least <= length <= POSITIONS:
        raise ConfigError(
            f"max_length {length} does not fit the tiny encoder's {POSITIONS} positions",
            where="--max-length",
            expected=f"{least} to {POSITIONS}",
        )
    backbone.spec = TINY
    return backbone


def slug(text: str) -> str:
    """Return a folder's name for a spec; one that had to be changed gets a hash, so that no two share a folder.

    Example:
        >>> slug("pwws")
        'pwws'
    """
    plain = _PLAIN.sub("-", text)
    return plain if plain == text else f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def static_folder(folder: Path, seed: int, attack: TextAttack) -> Path:
    """Return where the sentences lie that were attacked against a seed's clean adapter."""
    return folder / "evaluation" / f"seed-{seed}" / "static" / slug(attack.spec)


def model_folder(folder: Path, seed: int, key: str) -> Path:
    """Return where the evaluation of one model lies."""
    return folder / "evaluation" / f"seed-{seed}" / slug(key)
