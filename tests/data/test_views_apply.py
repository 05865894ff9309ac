"""Applying drawn views: row by row, without a trace of the batch, on whatever device, within [0, 1]."""

from dataclasses import fields

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.data import ViewParameters, Views
from understudy.errors import ShapeError

ALL = Views.extraction(0.75).model_copy(update={"randaugment": 2})
PRESETS = {
    "plain": Views(),
    "extraction": Views.extraction(0.75),
    "simclr": Views.simclr(),
    "stolen_encoder": Views.stolen_encoder(),
    "randaugment_crop": Views.randaugment_crop(),
    "all": ALL,
}


def images_of(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def draw(views: Views, images: torch.Tensor, seed: int = 0) -> ViewParameters:
    return views.draw(len(images), tuple(images.shape[1:]), torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("views", PRESETS.values(), ids=PRESETS)
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 16, 16), (3, 20, 12)])
def test_a_view_does_not_depend_on_its_batch(views: Views, shape: tuple[int, ...]) -> None:
    """150 images together, in another order, and one by one; several of the blocks that a CPU works in."""
    images = images_of(150, *shape)
    parameters = draw(views, images)
    together = views.apply(images, parameters)
    order = torch.randperm(150, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(views.apply(images[order], parameters.take(order)), together[order], rtol=0, atol=1e-6)
    for row in range(0, 150, 10):
        one = slice(row, row + 1)
        torch.testing.assert_close(views.apply(images[one], parameters.take(one)), together[one], rtol=0, atol=1e-6)


@pytest.mark.parametrize("views", PRESETS.values(), ids=PRESETS)
def test_applying_twice_gives_the_same_and_leaves_the_images(views: Views) -> None:
    for images in (images_of(40, 3, 16, 16), images_of(40, 3, 16, 16) / 255):
        before, parameters = images.clone(), draw(views, images)
        assert views.apply(images, parameters).equal(views.apply(images, parameters))
        assert images.equal(before)


@pytest.mark.parametrize("views", PRESETS.values(), ids=PRESETS)
def test_grey_levels_and_floats_give_the_same_views(views: Views) -> None:
    images = images_of(40, 3, 16, 16)
    parameters = draw(views, images)
    assert views.apply(images, parameters).equal(views.apply(images / 255, parameters))
    assert views.apply(images, parameters).dtype == torch.float32


def test_channels_last_images_give_the_same_views() -> None:
    images = images_of(40, 3, 16, 16)
    parameters = draw(ALL, images)
    views = ALL.apply(images.contiguous(memory_format=torch.channels_last), parameters)
    assert views.equal(ALL.apply(images, parameters))
    assert views.is_contiguous(memory_format=torch.channels_last)


def test_views_of_probability_0_are_the_images() -> None:
    images = images_of(20, 3, 16, 16)
    never = Views(brightness=1, contrast=1, saturation=1, hue=0.5)
    for views in (Views(), never):
        assert views.apply(images, draw(views, images)).equal(images / 255)


def test_only_the_rows_that_drew_a_change_are_changed() -> None:
    images = images_of(200, 3, 8, 8)
    for views, name in [
        (Views(flip=0.3), "mirrored"),
        (Views(jitter=0.3, brightness=0.5), "jittered"),
        (Views(greyscale=0.3), "greyed"),
        (Views(blur=0.3, blur_radius=(1, 2)), "radius"),
        (Views(solarise=0.3), "solarised"),
    ]:
        parameters = draw(views, images)
        changed = (views.apply(images, parameters) != images / 255).flatten(1).any(1)
        assert changed.equal(getattr(parameters, name) > 0), name
        assert 30 < changed.sum() < 90


def test_grey_images_have_no_colours_to_change() -> None:
    images = images_of(50, 1, 8, 8)
    views = Views(jitter=1, saturation=0.9, hue=0.5, greyscale=0.5)
    torch.testing.assert_close(views.apply(images, draw(views, images)), images / 255, rtol=0, atol=1e-6)


def test_views_of_no_images_are_none() -> None:
    images = images_of(0, 3, 8, 8)
    assert ALL.apply(images, draw(ALL, images)).shape == (0, 3, 8, 8)


@pytest.mark.parametrize("views", PRESETS.values(), ids=PRESETS)
def test_nothing_is_made_on_another_device(views: Views) -> None:
    """With a default device that holds no data, whatever is made without naming the device would fail."""
    images = images_of(100, 3, 16, 16)
    expected = views.apply(images, draw(views, images))
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        found = views.apply(images, views.draw(100, (3, 16, 16), generator))
    assert found.device.type == "cpu"
    assert found.equal(expected)


def test_parameters_are_taken_by_row() -> None:
    images = images_of(10, 3, 16, 16)
    parameters = draw(ALL, images)
    assert len(parameters) == 10
    rows = torch.tensor([7, 7, 0])
    for field in fields(parameters):
        value = getattr(parameters, field.name)
        assert getattr(parameters.take(rows), field.name).equal(value[rows])
        assert getattr(parameters.to("meta"), field.name).device.type == "meta"


@pytest.mark.parametrize("shape", [(4, 2, 8, 8), (4, 4, 8, 8)])
def test_images_that_are_neither_grey_nor_rgb_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="grey or RGB images"):
        Views().apply(images_of(*shape), draw(Views(), images_of(4, 3, 8, 8)))


def test_another_number_of_parameters_is_refused() -> None:
    with pytest.raises(ShapeError, match="3 views were drawn for 4 images"):
        Views().apply(images_of(4, 3, 8, 8), draw(Views(), images_of(3, 3, 8, 8)))


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.sampled_from([1, 3]), st.integers(1, 12), st.integers(1, 12)),
    level=st.sampled_from([0, 1, 128, 254, 255, None]),
    area=st.floats(0.01, 1),
    spread=st.floats(0, 2),
    radius=st.floats(0, 4),
    seed=st.integers(0, 1000),
)
def test_views_stay_between_black_and_white(
    shape: tuple[int, int, int], level: int | None, area: float, spread: float, radius: float, seed: int
) -> None:
    """Any image, plain white and black ones among them, under any options."""
    images = images_of(8, *shape, seed=seed) if level is None else torch.full((8, *shape), level, dtype=torch.uint8)
    views = Views(
        crop_area=(area, 1),
        crop_ratio=(0.5, 2),
        jitter=1,
        brightness=spread,
        contrast=spread,
        saturation=spread,
        hue=0.5,
        greyscale=0.5,
        blur=0.5,
        blur_radius=(0, radius),
        solarise=0.5,
        randaugment=1,
    )
    found = views.apply(images, draw(views, images, seed))
    assert found.shape == images.shape
    assert found.min() >= 0
    assert found.max() <= 1
