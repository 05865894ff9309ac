"""Tiny backbones: 2 layers of width 32, random weights, milliseconds."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from understudy.models.text.adapter import Adapter, AdapterConfig, new_adapter
from understudy.models.text.backbone import Backbone, load_backbone
from understudy.models.text.tiny import build_tiny

WORDS = ("good", "bad", "fine", "film", "plot", "actors", "never", "dull", "bright", "story", "a", "the", "is", "was")
TEXTS = ("the film is good", "a dull plot", "never bad", "the actors was bright zzz qwerty in a story good good bad")


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny(WORDS, tmp_path_factory.mktemp("tiny") / "bert", hidden=32, seed=0)


@pytest.fixture
def tiny_backbone(tiny_folder: Path) -> Backbone:
    return load_backbone(tiny_folder, labels=("no", "yes"), max_length=32, seed=0)


@pytest.fixture
def tiny_double(tiny_folder: Path) -> Backbone:
    """The same in float64."""
    return load_backbone(tiny_folder, labels=("no", "yes"), max_length=32, seed=0).to(torch.float64)


MakeAdapter = Callable[..., Adapter]


@pytest.fixture
def make_adapter() -> MakeAdapter:
    """Return a function that makes adapters of random weights, as if trained: no tensor is zero."""

    def make_adapter(backbone: Backbone, seed: int, **fields: object) -> Adapter:
        start = new_adapter(backbone, AdapterConfig.model_validate(fields), seed=0)
        generator = torch.Generator().manual_seed(seed)

        def drawn(value: torch.Tensor) -> torch.Tensor:
            return value + 0.3 * torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value.dtype)

        return Adapter(
            config=start.config,
            tensors={name: drawn(value) for name, value in start.tensors.items()},
            head={name: drawn(value) for name, value in start.head.items()},
            backbone=start.backbone,
            backbone_sha256=start.backbone_sha256,
            labels=start.labels,
        )

    return make_adapter
