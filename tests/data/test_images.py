import numpy as np
import pytest
import torch

from understudy.data import ImageSet, as_float, check_fits
from understudy.errors import DataError, ShapeError


def image_set(n: int = 6, shape: tuple[int, int, int] = (3, 4, 5), classes: int = 3) -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=generator)
    return ImageSet("toy", "test", images, torch.arange(n) % classes, tuple("abcdef"[:classes]))


def test_moments_equal_numpy_in_float64() -> None:
    data = image_set()
    pixels = data.images.numpy().astype(np.float64) / 255
    np.testing.assert_allclose(data.mean, pixels.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(data.std, pixels.std((0, 2, 3)), rtol=1e-12)


def test_a_constant_channel_has_a_std_to_divide_by() -> None:
    data = image_set()
    images = data.images.clone()
    images[:, 1] = 77
    constant = ImageSet("toy", "test", images, data.labels, data.classes)
    assert constant.mean[1] == 77 / 255
    assert constant.std[1] == 1 / 255
    assert constant.std[0] == data.std[0]


def test_take_keeps_order_and_pairs() -> None:
    data = image_set()
    taken = data.take([4, 1, 4])
    assert torch.equal(taken.images, data.images[[4, 1, 4]])
    assert taken.labels.tolist() == [1, 1, 1]
    assert taken.classes == data.classes


def test_moving_to_the_device_it_is_on_copies_nothing() -> None:
    data = image_set()
    assert data.to("cpu") is data


def test_as_float_is_exact_and_channels_last() -> None:
    x = as_float(image_set().images)
    expected = image_set().images.numpy().astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(x.numpy(), expected)
    assert x.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("images", "labels", "error", "message"),
    [
        (torch.zeros(2, 1, 2, 2), [0, 1], ShapeError, "images of type torch.float32"),
        (torch.zeros(2, 2, 2, dtype=torch.uint8), [0, 1], ShapeError, r"shape \(2, 2, 2\)"),
        (torch.zeros(3, 1, 2, 2, dtype=torch.uint8), [0, 1], ShapeError, "one label an image"),
        (torch.zeros(0, 1, 2, 2, dtype=torch.uint8), [], DataError, "the set is empty"),
        (torch.zeros(2, 1, 2, 2, dtype=torch.uint8), [0, 2], DataError, "label 2 lies outside the 2 classes"),
        (torch.zeros(2, 1, 2, 2, dtype=torch.uint8), [-1, 1], DataError, "label -1 lies outside"),
    ],
)
def test_what_is_no_image_set_is_refused(
    images: torch.Tensor, labels: list[int], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ImageSet("toy", "test", images, torch.tensor(labels, dtype=torch.int64), ("a", "b"))


def test_labels_of_another_type_are_refused() -> None:
    images = torch.zeros(2, 1, 2, 2, dtype=torch.uint8)
    with pytest.raises(ShapeError, match=r"labels of type torch.int32"):
        ImageSet("toy", "test", images, torch.tensor([0, 1], dtype=torch.int32), ("a", "b"))


def test_data_that_fit_a_larger_network_pass() -> None:
    check_fits(image_set(classes=3), input_shape=(3, 4, 5), classes=10, what="the teacher")


@pytest.mark.parametrize("shape", [(1, 4, 5), (3, 5, 4), (60,)])
def test_images_of_another_shape_do_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"\(3, 4, 5\) do not fit the teacher") as caught:
        check_fits(image_set(), input_shape=shape, classes=3, what="the teacher")
    assert str(shape) in str(caught.value)


def test_labels_outside_the_teachers_classes_do_not_fit() -> None:
    with pytest.raises(DataError, match="label 2 lies outside the 2 classes of the teacher"):
        check_fits(image_set(classes=3), input_shape=(3, 4, 5), classes=2, what="the teacher")
