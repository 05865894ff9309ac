"""A toy of sentiment over a tiny random encoder, and a run whose foundation the tests share."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from understudy import catalogue
from understudy.attacks.text.base import TextAttack
from understudy.attacks.text.named import parse_text_attacks
from understudy.attacks.text.resources import Resources
from understudy.data.text_set import TextSet
from understudy.methods.text_method import CLEAN_RECIPE
from understudy.models.text.backbone import Backbone, load_backbone
from understudy.models.text.tiny import build_tiny
from understudy.runs.options import RunOptions
from understudy.runs.run import Run

GOOD, BAD = ["good", "fine", "bright", "great"], ["bad", "dull", "awful", "poor"]
NEUTRAL = ["the", "film", "plot", "story", "was", "is", "a", "scene"]
RECIPE = CLEAN_RECIPE.model_copy(update={"epochs": 4, "learning_rate": 2e-2, "batch_size": 16})
QUICK: dict[str, Any] = {
    "adapter": {"rank": 4, "alpha": 8.0, "dropout": 0.0}, "n_adv": 16, "clean_epochs": 8,
    "clean_learning_rate": 2e-2, "attack_width": 8, "fit": RECIPE,
}  # fmt: skip

Make = Callable[..., Any]


def sentences(rows: int, seed: int, split: Any = "train") -> TextSet:
    """Sentences of one cue word among neutral ones."""
    draws = random.Random(seed)
    texts = []
    for row in range(rows):
        words = [draws.choice(NEUTRAL) for _ in range(4)]
        for _ in range(2):
            words.insert(draws.randrange(len(words) + 1), draws.choice(GOOD if row % 2 else BAD))
        texts.append(" ".join(words))
    return TextSet("toy", split, tuple(texts), torch.arange(rows) % 2, ("no", "yes"))


def enlarged(backbone: Backbone) -> Backbone:
    """Return a backbone of larger weights than are drawn: random layers tell words apart, and training is short."""
    with torch.no_grad():
        for name, weight in backbone.model.named_parameters():
            if ".layer." in name and weight.ndim == 2:
                weight.mul_(6.0)
    return backbone


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny([*GOOD, *BAD, *NEUTRAL], tmp_path_factory.mktemp("toy") / "bert", hidden=32, heads=4, seed=0)


@pytest.fixture(scope="session")
def toy(toy_folder: Path) -> Backbone:
    return enlarged(load_backbone(toy_folder, labels=("no", "yes"), max_length=24, seed=0))


@pytest.fixture(scope="session")
def toy_data() -> TextSet:
    return sentences(96, 0)


@pytest.fixture(scope="session")
def known() -> tuple[TextAttack, ...]:
    return parse_text_attacks("deepwordbug,textbugger:queries=40")


@pytest.fixture(scope="session")
def given(toy: Backbone, toy_data: TextSet, known: tuple[TextAttack, ...]) -> dict[str, Any]:
    """What every method is run with."""
    return {"backbone": toy, "data": toy_data, "attacks": known, "resources": Resources()}


@pytest.fixture(scope="session")
def laid(given: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that has trained the clean adapter and gathered the attacked sentences."""
    folder = tmp_path_factory.mktemp("laid") / "run"
    run = Run(folder, {"name": "laid"}, RunOptions(device="cpu"))
    quick("adpmixup").run(run=run, **given)
    return folder


def quick(name: str, **values: Any) -> Any:
    """Return a text method that is small enough to be run here."""
    return catalogue.load(name)(**{**QUICK, **values})


@pytest.fixture(name="quick", scope="session")
def _quick() -> Make:
    return quick
