"""Warm-started perturbations: they follow crops and mirror images, and survive a checkpoint exactly."""

import pytest
import torch
from torch import Tensor

from understudy.data import Augment, Batches, ImageSet
from understudy.training.warm_start import WarmStart

EPSILON, ROWS, PADDING = 0.1, 6, 2
CPU = torch.device("cpu")


@pytest.fixture
def batches() -> Batches:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (ROWS, 2, 5, 4), generator=generator, dtype=torch.uint8)
    data = ImageSet("noise", "train", images, torch.arange(ROWS) % 3, ("a", "b", "c"))
    return Batches(data, batch_size=ROWS, seed=0, augment=Augment(crop_padding=PADDING, flip=True))


def warm_start(reset: int = 10) -> WarmStart:
    return WarmStart(ROWS, (2, 5, 4), padding=PADDING, epsilon=EPSILON, reset=reset, device=CPU)


def perturbation(seed: int) -> Tensor:
    return (2 * torch.rand(ROWS, 2, 5, 4, generator=torch.Generator().manual_seed(seed)) - 1) * EPSILON


def cropped(padded: Tensor, view: int) -> Tensor:
    """One image's crop of that number, pixel by pixel."""
    corner, mirrored = divmod(view, 2)
    top, left = divmod(corner, 2 * PADDING + 1)
    crop = padded[:, top : top + 5, left : left + 4]
    return crop.flip(2) if mirrored else crop


def test_perturbations_follow_their_images(batches: Batches) -> None:
    """Over three epochs of other crops, against padded images that are written to one crop at a time."""
    warm = warm_start()
    padded = torch.zeros(ROWS, 2, 5 + 2 * PADDING, 4 + 2 * PADDING)
    views = set()
    for step in range(1, 4):
        batch = batches.at(step)
        views |= set(batch.view.tolist())
        begin = warm.begin(batch, step)
        expected = torch.stack(
            [cropped(padded[row], view) for row, view in zip(batch.rows_cpu, batch.view.tolist(), strict=True)]
        )
        assert begin is not None
        torch.testing.assert_close(begin - batch.x, expected, rtol=0, atol=EPSILON / 127)  # rounded to steps of ε/127
        found = perturbation(step)
        warm.keep(batch, batch.x + found)
        for row, view, delta in zip(batch.rows_cpu, batch.view.tolist(), found, strict=True):
            cropped(padded[row], view)[...] = delta if view % 2 == 0 else 0
            if view % 2:
                corner = view // 2
                top, left = divmod(corner, 2 * PADDING + 1)
                padded[row][:, top : top + 5, left : left + 4] = delta.flip(2)
    assert len(views) > 6
    assert {view % 2 for view in views} == {0, 1}


def test_some_epochs_start_afresh(batches: Batches) -> None:
    warm = warm_start(reset=3)
    fresh = [warm.begin(batches.at(epoch), epoch) is None for epoch in range(7)]
    assert fresh == [True, False, False, True, False, False, True]


def test_what_leaves_the_radius_is_cut(batches: Batches) -> None:
    """N-FGSM's points may lie outside of the ball; what is kept does not."""
    warm, batch = warm_start(), batches.at(0)
    warm.keep(batch, batch.x + 3 * EPSILON)
    begin = warm.begin(batch, 1)
    assert begin is not None
    assert float((begin - batch.x).abs().max()) == pytest.approx(EPSILON, rel=1e-5)


def test_a_checkpoint_holds_them_exactly(batches: Batches) -> None:
    warm, batch = warm_start(), batches.at(0)
    warm.restore(0, {})
    warm.keep(batch, batch.x + perturbation(1))
    kept = {name: value.clone() for name, value in warm.state(1).items()}
    again = warm_start()
    again.restore(1, kept)
    first, second = warm.begin(batches.at(1), 1), again.begin(batches.at(1), 1)
    assert first is not None
    assert second is not None
    assert torch.equal(first, second)
    warm.restore(0, {})
    assert not warm.state(0)["perturbations"].any()
