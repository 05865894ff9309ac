from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.data import Augment, Batches, ImageSet, as_float
from understudy.data.batches import crop_and_flip, distinct, seen_as
from understudy.errors import ConfigError
from understudy.runs.seeds import stream


def image_set(n: int = 23, shape: tuple[int, int, int] = (2, 4, 5)) -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(1, 256, (n, *shape), dtype=torch.uint8, generator=generator)
    return ImageSet("toy", "train", images, torch.arange(n) % 3, ("a", "b", "c"))


def slow_crop_and_flip(image: np.ndarray, top: int, left: int, mirrored: bool, padding: int) -> np.ndarray:
    """Place every pixel of one crop by hand."""
    channels, height, width = image.shape
    crop = np.zeros_like(image)
    for channel in range(channels):
        for row in range(height):
            for column in range(width):
                source_row = row + top - padding
                source_column = (width - 1 - column if mirrored else column) + left - padding
                if 0 <= source_row < height and 0 <= source_column < width:
                    crop[channel, row, column] = image[channel, source_row, source_column]
    return crop


@given(
    shape=st.tuples(st.integers(1, 3), st.integers(3, 5), st.integers(3, 5)),
    padding=st.integers(0, 2),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=40, deadline=None)
def test_crop_and_flip_equals_a_loop_over_pixels(shape: tuple[int, int, int], padding: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (4, *shape), dtype=np.uint8)
    top, left = random.integers(0, 2 * padding + 1, (2, 4))
    mirrored = random.random(4) < 0.5
    ours = crop_and_flip(*(torch.from_numpy(array) for array in (images, top, left, mirrored)), padding=padding)
    each = zip(images, top, left, mirrored, strict=True)
    slow = [
        slow_crop_and_flip(image, *map(int, (row, column)), bool(flip), padding) for image, row, column, flip in each
    ]
    np.testing.assert_array_equal(ours.numpy(), np.stack(slow))


def test_every_row_comes_once_an_epoch_less_the_remainder() -> None:
    batches = Batches(image_set(23), batch_size=5, seed=0)
    assert batches.steps_per_epoch == 4
    for epoch in range(3):
        rows = torch.cat([batches.at(4 * epoch + step).indices for step in range(4)])
        assert len(rows.unique()) == len(rows) == 20


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    data = image_set(23)
    first = Batches(data, batch_size=23, seed=0)
    orders = {
        tuple(batch.indices.tolist())
        for batch in (first.at(0), first.at(1), Batches(data, batch_size=23, seed=1).at(0))
    }
    assert len(orders) == 3


def test_a_set_smaller_than_a_batch_is_one_batch() -> None:
    batches = Batches(image_set(7), batch_size=50, seed=0)
    assert batches.steps_per_epoch == 1
    assert sorted(batches.at(3).indices.tolist()) == list(range(7))


def test_a_batch_does_not_depend_on_what_was_asked_before() -> None:
    augment = Augment(crop_padding=2, flip=True)
    asked_before = Batches(image_set(), batch_size=5, seed=3, augment=augment)
    for step in (0, 9, 2):
        asked_before.at(step)
    again, fresh = asked_before.at(6), Batches(image_set(), batch_size=5, seed=3, augment=augment).at(6)
    assert torch.equal(again.x, fresh.x)
    assert torch.equal(again.indices, fresh.indices)
    other_step = asked_before.at(7)
    assert not torch.equal(again.x, other_step.x)


@pytest.mark.parametrize("world", [2, 3, 6])
def test_the_shares_of_all_processes_are_the_global_batch(world: int) -> None:
    batches = Batches(image_set(), batch_size=6, seed=0, augment=Augment(crop_padding=1, flip=True))
    for step in (0, 5):
        whole = batches.at(step)
        shares = [batches.at(step, rank=rank, world=world) for rank in range(world)]
        for name in ("x", "labels", "indices", "rows_cpu", "view"):
            assert torch.equal(torch.cat([getattr(share, name) for share in shares]), getattr(whole, name))


def test_without_augmentation_the_rows_are_the_data() -> None:
    data = image_set()
    batch = Batches(data, batch_size=6, seed=0).at(2)
    expected = data.images[batch.indices].numpy().astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(batch.x.numpy(), expected)
    assert torch.equal(batch.labels, data.labels[batch.indices])
    assert batch.x.is_contiguous(memory_format=torch.channels_last)


def test_augmentation_moves_pixels_and_no_label() -> None:
    data = image_set()
    plain = Batches(data, batch_size=6, seed=0)
    augmented = Batches(data, batch_size=6, seed=0, augment=Augment(crop_padding=1, flip=True)).at(1)
    assert torch.equal(augmented.indices, plain.at(1).indices)
    assert torch.equal(augmented.labels, data.labels[augmented.indices])
    assert augmented.x.is_contiguous(memory_format=torch.channels_last)
    for x, index in zip(augmented.x, augmented.indices, strict=True):
        image = data.images[index].numpy()
        places = [(top, left, flip) for top in range(3) for left in range(3) for flip in (False, True)]
        pixels = (x * 255).round().to(torch.uint8).numpy()
        assert any(np.array_equal(pixels, slow_crop_and_flip(image, *place, padding=1)) for place in places)


@pytest.mark.parametrize(("padding", "flip", "views"), [(1, True, 18), (2, False, 50), (0, True, 2), (4, True, 162)])
def test_the_number_of_a_view_tells_crop_and_mirror(padding: int, flip: bool, views: int) -> None:
    data, augment = image_set(shape=(1, 5, 6)), Augment(crop_padding=padding, flip=flip)
    assert augment.views == views
    places, numbers = 2 * padding + 1, set()
    for step in range(6):
        batch = Batches(data, batch_size=8, seed=2, augment=augment).at(step)
        assert torch.equal(batch.rows_cpu, batch.indices)
        for x, row, view in zip(batch.x, batch.rows_cpu.tolist(), batch.view.tolist(), strict=True):
            crop, mirrored = divmod(view, 2)
            slow = slow_crop_and_flip(data.images[row].numpy(), *divmod(crop, places), bool(mirrored), padding)
            np.testing.assert_array_equal((x * 255).round().to(torch.uint8).numpy(), slow)
            numbers.add(view)
    assert numbers <= set(range(views))
    assert len(numbers) == 2 if views == 2 else len(numbers) > 8
    assert any(number % 2 for number in numbers) == flip


def test_without_augmentation_all_views_are_number_0() -> None:
    assert Augment().views == 2
    assert Batches(image_set(), batch_size=6, seed=0).at(2).view.tolist() == [0] * 6


def test_the_draws_of_a_step_are_what_they_have_always_been() -> None:
    """Drawn as in the first release, so that runs of then can be repeated: crops, then mirrors, from one stream."""
    batch = Batches(image_set(), batch_size=5, seed=3, augment=Augment(crop_padding=2, flip=True)).at(6)
    generator = stream(3, "augment", step=6)
    top, left = torch.randint(5, (2, 5), generator=generator).tolist()
    mirrored = torch.rand(5, generator=generator).tolist()
    expected = [(row * 5 + column) * 2 + (draw < 0.5) for row, column, draw in zip(top, left, mirrored, strict=True)]
    assert batch.view.tolist() == expected == [42, 18, 36, 27, 46]


def test_a_batch_is_made_without_waiting_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tensor on `meta` has no numbers, so whatever asked for one would fail."""
    there = Batches(image_set(), batch_size=6, seed=0, augment=Augment(crop_padding=1, flip=True))
    expected = there.at(1)
    elsewhere = SimpleNamespace(images=there.data.images.to("meta"), labels=there.data.labels.to("meta"))
    monkeypatch.setattr(there, "data", elsewhere)
    batch = there.at(1)
    assert {tensor.device.type for tensor in (batch.x, batch.labels, batch.indices)} == {"meta"}
    assert batch.x.shape == expected.x.shape
    assert torch.equal(batch.rows_cpu, expected.rows_cpu)
    assert torch.equal(batch.view, expected.view)


def test_crops_and_flips_are_uniform() -> None:
    """One white pixel in the middle tells where each crop was taken and whether it was mirrored."""
    images = torch.zeros(900, 1, 3, 3, dtype=torch.uint8)
    images[:, 0, 1, 1] = 255
    images[:, 0, 1, 0] = 100  # left of the middle
    data = ImageSet("dots", "train", images, torch.arange(900) % 2, ("a", "b"))
    x = Batches(data, batch_size=900, seed=0, augment=Augment(crop_padding=1, flip=True)).at(0).x[:, 0]
    bright = (x == 1).flatten(1).float().argmax(1)
    counts = bright.bincount(minlength=9)
    assert counts.min() > 60  # 100 expected at each of 9 places, standard deviation 9.4
    seen = (x == 100 / 255).flatten(1)
    mirrored = seen.float().argmax(1) > bright
    share = mirrored[seen.any(1)].float().mean()
    assert 0.42 < share < 0.58


def test_a_batch_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ConfigError, match="a batch of 7 rows does not divide among 2 processes"):
        Batches(image_set(7), batch_size=50, seed=0).at(0, rank=0, world=2)


@pytest.mark.parametrize(
    ("batch_size", "padding", "message"), [(0, 0, "batch_size is 0"), (4, 4, "crop_padding is 4 on")]
)
def test_values_out_of_range_are_refused(batch_size: int, padding: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Batches(image_set(), batch_size=batch_size, seed=0, augment=Augment(crop_padding=padding))


def test_negative_padding_is_refused() -> None:
    with pytest.raises(ConfigError, match="crop_padding is -1"):
        Augment(crop_padding=-1)


@pytest.mark.parametrize("augment", [Augment(), Augment(flip=True), Augment(2), Augment(1, flip=True)])
def test_what_will_be_looked_at_is_known_ahead(augment: Augment) -> None:
    """The keys of some steps are those of their batches, each once."""
    batches = Batches(image_set(23), batch_size=5, seed=3, augment=augment)
    seen = [batches.at(step) for step in range(9)]
    keys = {int(row) * augment.views + int(view) for b in seen for row, view in zip(b.rows_cpu, b.view, strict=True)}
    assert batches.keys(9).tolist() == sorted(keys)
    assert batches.keys(0).tolist() == []
    assert Batches(image_set(23), batch_size=5, seed=4, augment=augment).keys(1).tolist() != batches.keys(1).tolist()


@pytest.mark.parametrize("augment", [Augment(), Augment(flip=True), Augment(2), Augment(1, flip=True)])
def test_a_numbered_view_is_the_image_that_the_batch_had(augment: Augment) -> None:
    data = image_set(23)
    batch = Batches(data, batch_size=7, seed=3, augment=augment).at(2)
    again = seen_as(data, batch.rows_cpu, batch.view, augment)
    assert torch.equal(again, batch.x)
    assert again.stride() == batch.x.stride()


@pytest.mark.parametrize("padding", [0, 1, 3])
def test_places_and_numbers_of_views_are_inverse(padding: int) -> None:
    augment = Augment(padding, flip=True)
    views = torch.arange(augment.views)
    assert torch.equal(augment.number(*augment.place(views)), views)
    assert [int(each) for each in augment.place(torch.tensor([augment.plain]))] == [padding, padding, 0]
    data = image_set(4)
    plain = seen_as(data, torch.arange(4), torch.full((4,), augment.plain), augment)
    assert torch.equal(plain, as_float(data.images))


@given(keys=st.lists(st.lists(st.integers(0, 30), max_size=20), max_size=3))
def test_distinct_keys_ascend(keys: list[list[int]]) -> None:
    found = distinct(*(torch.tensor(each, dtype=torch.int64) for each in keys)).tolist()
    assert found == sorted({key for each in keys for key in each})
