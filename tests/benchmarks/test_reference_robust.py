"""The plain loop that our speed is measured against does RSLAD's work, and does it right."""

import random
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from understudy.losses import kl_rows


@pytest.fixture(scope="module")
def reference(program: Callable[[str], ModuleType]) -> ModuleType:
    return program("reference_robust")


def pictures(rows: int) -> list[Image.Image]:
    noise = np.random.default_rng(0).integers(1, 256, (rows, 32, 32, 3), dtype=np.uint8)
    return [Image.fromarray(image) for image in noise]


def blots(rows: int) -> list[Image.Image]:
    """Return soft blots of colour, which look much the same in a crop."""
    noise = np.random.default_rng(0).integers(0, 256, (rows, 3, 3, 3), dtype=np.uint8)
    return [Image.fromarray(image).resize((32, 32)) for image in noise]


class Linear(nn.Module):
    """A linear network that counts its forward passes."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * 32 * 32, 4)
        nn.init.normal_(self.layer.weight, std=0.02, generator=torch.Generator().manual_seed(seed))
        nn.init.zeros_(self.layer.bias)
        self.passes = {True: 0, False: 0}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.passes[self.training] += 1
        return self.layer(x.flatten(1))


def test_its_loss_is_the_golden_number(reference: ModuleType) -> None:
    q = torch.tensor([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2]], dtype=torch.float64)
    p = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3]], dtype=torch.float64)
    p_adv = torch.tensor([[0.45, 0.35, 0.2], [0.35, 0.4, 0.25]], dtype=torch.float64)
    found = reference.loss(p_adv.log(), p.log(), q)
    assert float(found) == pytest.approx(0.093988588838, abs=1e-12)
    ours = (5 / 6 * kl_rows(q.log(), p_adv.log()) + 1 / 6 * kl_rows(q.log(), p.log())).mean()
    assert float(found) == pytest.approx(float(ours), abs=1e-12)


def test_its_crops_are_windows_of_the_padded_image(reference: ModuleType) -> None:
    (image,) = pictures(1)
    padded = np.pad(np.asarray(image), ((4, 4), (4, 4), (0, 0)))
    windows = {
        part.tobytes(): (top, left, mirrored)
        for top in range(9)
        for left in range(9)
        for mirrored in (False, True)
        for part in [np.ascontiguousarray(padded[top : top + 32, left : left + 32][:, :: -1 if mirrored else 1])]
    }
    rng = random.Random(0)
    seen = {windows[np.asarray(reference.augmented(image, rng)).tobytes()] for _ in range(300)}
    assert len(windows) == 162
    assert len(seen) > 100
    assert {mirrored for *_, mirrored in seen} == {False, True}


def test_its_batches_are_contiguous_floats_in_the_unit_range(reference: ModuleType) -> None:
    x = reference.batch(pictures(3), random.Random(0))
    assert x.shape == (3, 3, 32, 32)
    assert x.dtype == torch.float32
    assert x.is_contiguous()
    assert 0 <= float(x.min()) < float(x.max()) <= 1


def test_its_attack_stays_in_ball_and_box_and_climbs(reference: ModuleType) -> None:
    student = Linear(0)
    x = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0)).round(decimals=1)
    target = student(x).softmax(dim=1).detach()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        x_adv = reference.attack(student, x, target, epsilon=8 / 255, step_size=2 / 255, steps=10)
    assert student.training
    assert all(parameter.grad is None for parameter in student.parameters())
    assert float((x_adv - x).abs().max()) <= 8 / 255 + 1e-6
    assert 0 <= float(x_adv.min()) <= float(x_adv.max()) <= 1
    assert float(kl_rows(target.log(), student(x_adv).detach()).min()) > 0.1


def test_a_step_asks_the_networks_as_often_as_the_cost_table_says(reference: ModuleType) -> None:
    """K passes of the student in eval mode and two in train mode, and one of the teacher in eval mode."""
    student, teacher = Linear(0), Linear(1)
    with torch.random.fork_rng():
        reference.train(student, teacher, pictures(9), **SETTINGS, epochs=2)
    assert student.passes == {False: 2 * 2 * 3, True: 2 * 2 * 2}
    assert teacher.passes == {False: 2 * 2, True: 0}


def test_it_learns(reference: ModuleType) -> None:
    """Drawn to the teacher in a few epochs, on images whose crops are alike."""
    student, teacher, x = Linear(0), Linear(1), reference.batch(blots(8), random.Random(1))

    def distance() -> float:
        with torch.no_grad():
            return float(kl_rows(teacher(x), student(x)).mean())

    before = distance()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        reference.train(student, teacher, blots(8), **SETTINGS, epochs=20)
    assert distance() < 0.5 * before


SETTINGS = {
    "epsilon": 1e-3, "step_size": 5e-4, "steps": 3, "batch_size": 4, "learning_rate": 0.001,
    "weight_decay": 0.0, "seed": 0,
}  # fmt: skip
