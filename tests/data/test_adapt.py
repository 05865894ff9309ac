import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from understudy.data import ImageSet, adapt, adaptation
from understudy.data import adapt as _adapt_function
from understudy.errors import ShapeError

SHAPES = st.tuples(st.sampled_from([1, 3]), st.integers(1, 12), st.integers(1, 12))


def image_set(shape: tuple[int, int, int], rows: int = 5, seed: int = 0) -> ImageSet:
    images = torch.randint(0, 256, (rows, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    return ImageSet("toy", "train", images, torch.arange(rows) % 2, ("a", "b"))


def triangle_weights(given: int, wanted: int) -> np.ndarray:
    """The weights of a bilinear filter with antialiasing, by hand: a triangle as wide as a step of the output."""
    scale = given / wanted
    support = max(scale, 1.0)
    weights = np.zeros((wanted, given))
    for i in range(wanted):
        centre = (i + 0.5) * scale
        first, last = max(int(centre - support + 0.5), 0), min(int(centre + support + 0.5), given)
        for j in range(first, last):
            weights[i, j] = max(0.0, 1 - abs((j + 0.5 - centre) / support))
        weights[i] /= weights[i].sum()
    return weights


def slow(images: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """In float64, before rounding."""
    x = images.astype(np.float64)
    if shape[0] == 3 and x.shape[1] == 1:
        x = np.repeat(x, 3, axis=1)
    if shape[0] == 1 and x.shape[1] == 3:
        x = 0.299 * x[:, :1] + 0.587 * x[:, 1:2] + 0.114 * x[:, 2:]
    return np.einsum(
        "ih,jw,nchw->ncij", triangle_weights(x.shape[2], shape[1]), triangle_weights(x.shape[3], shape[2]), x
    )


@given(given_shape=SHAPES, wanted=SHAPES, seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_pixels_equal_a_slow_float64_loop_rounded_once(
    given_shape: tuple[int, int, int], wanted: tuple[int, int, int], seed: int
) -> None:
    data = image_set(given_shape, rows=2, seed=seed)
    found = adapt(data, wanted)
    assert found.shape == wanted
    assert found.images.dtype == torch.uint8
    error = np.abs(found.images.numpy() - slow(data.images.numpy(), wanted))
    assert error.max() <= 0.5 + 1e-3  # half a level is rounding


def test_resizing_is_pillows() -> None:
    data = image_set((3, 17, 12), rows=3)
    for size in ((8, 8), (32, 30), (5, 25)):
        for row, pixels in zip(adapt(data, (3, *size)).images, data.images, strict=True):
            pillow = Image.fromarray(pixels.permute(1, 2, 0).numpy()).resize(size[::-1], Image.Resampling.BILINEAR)
            # Pillow rounds between the two directions as well.
            assert np.abs(row.permute(1, 2, 0).numpy().astype(int) - np.asarray(pillow).astype(int)).max() <= 1


def test_grey_becomes_colour_by_repetition_and_comes_back_unchanged() -> None:
    grey = image_set((1, 4, 5))
    colour = adapt(grey, (3, 4, 5))
    for channel in colour.images.unbind(1):
        assert torch.equal(channel, grey.images[:, 0])
    assert torch.equal(adapt(colour, (1, 4, 5)).images, grey.images)


def test_colour_becomes_grey_by_its_luma() -> None:
    images = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]], dtype=torch.uint8)
    data = ImageSet("toy", "train", images.reshape(4, 3, 1, 1), torch.arange(4) % 2, ("a", "b"))
    assert adapt(data, (1, 1, 1)).images.flatten().tolist() == [76, 150, 29, 255]


def test_what_fits_already_is_left_alone() -> None:
    data = image_set((3, 4, 5))
    assert adapt(data, (3, 4, 5)) is data
    assert adaptation((3, 4, 5), (3, 4, 5)) is None


def test_labels_classes_and_name_stay() -> None:
    data = image_set((1, 4, 5))
    found = adapt(data, (3, 8, 8))
    assert torch.equal(found.labels, data.labels)
    assert (found.classes, found.name, found.split) == (data.classes, data.name, data.split)


def test_many_rows_are_done_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    data = image_set((1, 6, 7), rows=13)
    whole = adapt(data, (3, 9, 5)).images
    monkeypatch.setattr(sys.modules[_adapt_function.__module__], "_VALUES", 300)  # two rows at a time
    assert torch.equal(adapt(data, (3, 9, 5)).images, whole)
    monkeypatch.setattr(sys.modules[_adapt_function.__module__], "_VALUES", 1)
    assert torch.equal(adapt(data, (3, 9, 5)).images, whole)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ((4, 4, 5), "images of 3 channels cannot be given 4"),
        ((2, 9, 9), "images of 3 channels cannot be given 2"),
        ((60,), r"cannot be given the shape \(60,\)"),
        ((3, 0, 4), r"cannot be given the shape \(3, 0, 4\)"),
    ],
)
def test_shapes_that_cannot_be_had_are_refused(wanted: tuple[int, ...], message: str) -> None:
    with pytest.raises(ShapeError, match=message) as caught:
        adapt(image_set((3, 4, 5)), wanted)
    assert "toy, split train" in str(caught.value)
    with pytest.raises(ShapeError, match=message):
        adaptation((3, 4, 5), wanted)


@pytest.mark.parametrize(
    ("given_shape", "wanted", "words"),
    [
        (
            (1, 28, 28),
            (3, 32, 32),
            "resized from 28 x 28 to 32 x 32 pixels (bilinear), grey repeated in three channels",
        ),
        ((3, 32, 40), (3, 32, 32), "resized from 32 x 40 to 32 x 32 pixels (bilinear)"),
        ((3, 32, 32), (1, 32, 32), "colour turned into grey (luma)"),
    ],
)
def test_what_was_done_is_said(given_shape: tuple[int, ...], wanted: tuple[int, ...], words: str) -> None:
    assert adaptation(given_shape, wanted) == words
