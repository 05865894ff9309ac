"""The plain script that our speed is measured against does the same work, and does it right."""

import importlib.util
import random
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from understudy.losses import unit_rows
from understudy.methods.extraction.rda import RDA

SOURCE = Path(__file__).parents[2] / "benchmarks" / "reference_extraction.py"


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference_extraction", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pictures(rows: int) -> list[Image.Image]:
    """Return soft blots of colour, which look much the same in a crop."""
    noise = np.random.default_rng(0).integers(0, 256, (rows, 3, 3, 3), dtype=np.uint8)
    return [Image.fromarray(image).resize((32, 32)) for image in noise]


def linear(seed: int) -> nn.Module:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3072, 8))
    nn.init.normal_(network[1].weight, std=0.02, generator=torch.Generator().manual_seed(seed))
    nn.init.zeros_(network[1].bias)
    return network


def test_its_loss_is_the_golden_number_and_ours(reference: ModuleType) -> None:
    """Two orthogonal rows and prototypes of length 0.8 and 0.6: discriminate −0.0069 and align −3.2189 at τ = 1."""
    x = torch.eye(2, dtype=torch.float64)
    p = torch.tensor([[0.8, 0.0], [0.0, 0.6]], dtype=torch.float64)
    assert float(reference.loss(x, p, temperature=1.0)) == pytest.approx(-3.225728644, abs=1e-9)
    assert float(reference.loss(x, p)) == pytest.approx(-12.525728644, abs=1e-9)
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(3, 5, 8, dtype=torch.float64, generator=generator)
    p = 0.5 * torch.randn(5, 8, dtype=torch.float64, generator=generator)
    plain = sum(reference.loss(block, p) for block in unit_rows(embeddings)) / 3
    assert float(plain) == pytest.approx(float(RDA().terms(embeddings, p)["loss"]), abs=1e-9)


def test_its_prototypes_are_means_of_unit_answers(reference: ModuleType) -> None:
    """Also where the last batch is not full, and with as many queries as views times images."""
    asked = []

    class Target(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(2.0))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            asked.append(x)
            return self.scale * x.flatten(1)[:, :7]

    found = reference.build_prototypes(Target(), pictures(5), views=4, area=0.9, batch_size=3, seed=0)
    assert [len(x) for x in asked] == [12, 8]
    assert sorted(found) == [0, 1, 2, 3, 4]
    answers = nn.functional.normalize(
        asked[1].flatten(1)[:, :7], dim=1
    )  # images 3 and 4: rows 0, 2, 4, 6 and the others
    torch.testing.assert_close(found[4], answers[1::2].mean(dim=0))
    assert float(found[4].norm()) < 1


def test_its_views_are_crops_of_one_size_in_the_right_range(reference: ModuleType) -> None:
    image = Image.fromarray(np.full((32, 32, 3), 200, dtype=np.uint8))
    views = [reference.view(image, 0.75, random.Random(seed)) for seed in range(40)]
    assert {view.size for view in views} == {(32, 32)}
    assert {view.mode for view in views} == {"RGB"}
    x = reference.batch(pictures(2), 3, 0.75, random.Random(0))
    assert x.shape == (6, 3, 32, 32)
    assert -1 <= float(x.min()) < -0.5
    assert 0.5 < float(x.max()) <= 1


def test_it_learns(reference: ModuleType) -> None:
    """Thirty steps draw a linear surrogate towards the prototypes of a linear target."""
    target, surrogate = linear(0), linear(1)
    images = pictures(8)
    prototypes = reference.build_prototypes(target, images, views=2, area=0.9, batch_size=8, seed=0)
    p = torch.stack([prototypes[index] for index in range(8)])
    x = reference.batch(images, 1, 1.0, random.Random(1))

    def likeness() -> float:
        with torch.no_grad():
            return float(nn.functional.cosine_similarity(surrogate(x), p).mean())

    before = likeness()
    reference.train(surrogate, images, prototypes, views=2, area=0.75, epochs=30, batch_size=8, seed=0)
    assert likeness() > before + 0.5
