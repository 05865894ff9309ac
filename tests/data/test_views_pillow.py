"""Each step against Pillow, image by image, on the parameters that were drawn; and against slow float64 formulas.

Tolerances are in grey levels of 255. Pillow rounds after every step (half a level) or cuts the fraction off, as its
blends do (a whole level), where ours keeps it; each tolerance is what this comes to.
"""

import colorsys
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from understudy.data import ViewParameters, Views

SIZES = [(32, 32), (24, 40), (17, 9)]
COLOURED = {"jitter": 1.0, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.2}


def photo(height: int, width: int, *, seed: int = 0) -> Image.Image:
    """An image with smooth parts, sharp edges, saturated and grey pixels, black and white."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 6 + 2, width // 6 + 2, 3), dtype=np.uint8)
    pixels = np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    pixels[: height // 4, : width // 4] = rng.integers(0, 256, (height // 4, width // 4, 3))
    pixels[-height // 4 :, : width // 4] = rng.integers(0, 256, (1, 1, 1))
    pixels[-1, -1], pixels[-1, -2] = 255, 0
    return Image.fromarray(pixels)


def tensor_of(image: Image.Image) -> torch.Tensor:
    pixels = np.array(image)
    return torch.from_numpy(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1).copy())


def drawn(**changed: object) -> ViewParameters:
    """The parameters of one view that changes nothing, but for what is given."""
    plain: dict[str, object] = {
        "boxes": [0, 0, 0, 0],
        "mirrored": False,
        "jittered": False,
        "order": [0, 1, 2, 3],
        "factors": [1.0, 1.0, 1.0, 0.0],
        "greyed": False,
        "radius": 0.0,
        "solarised": False,
        "operations": [],
        "reversed": [],
        "places": [],
    }
    fields = {name: torch.tensor([value]) for name, value in {**plain, **changed}.items()}
    return ViewParameters(
        **{
            **fields,
            "operations": fields["operations"].long(),
            "reversed": fields["reversed"].bool(),
            "places": fields["places"].reshape(1, -1, 2),
        }
    )


def levels(views: Views, image: Image.Image, parameters: ViewParameters) -> NDArray[np.float64]:
    """Ours, in grey levels, of shape (h, w, c)."""
    return views.apply(tensor_of(image)[None], parameters)[0].permute(1, 2, 0).double().numpy() * 255


def difference(
    views: Views, image: Image.Image, parameters: ViewParameters, expected: Image.Image
) -> NDArray[np.float64]:
    wanted = np.asarray(expected, dtype=np.float64)
    return np.abs(levels(views, image, parameters) - wanted.reshape(*wanted.shape[:2], -1))


def pillow_hue(image: Image.Image, turns: float) -> Image.Image:
    """Torchvision's change of hue: a shift of Pillow's 8-bit hue, the fraction cut off."""
    hue, saturation, value = image.convert("HSV").split()
    shifted = (np.asarray(hue).astype(int) + int(turns * 255)) % 256
    return Image.merge("HSV", (Image.fromarray(shifted.astype(np.uint8)), saturation, value)).convert("RGB")


def pillow_jitter(image: Image.Image, order: list[int], factors: list[float]) -> Image.Image:
    for change in order:
        if change == 3:
            image = pillow_hue(image, factors[3])
        else:
            kind = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)[change]
            image = kind(image).enhance(factors[change])
    return image


def pillow_crop(image: Image.Image, box: list[int]) -> Image.Image:
    top, left, height, width = box
    cut = image.crop((left, top, left + width, top + height))
    return cut.resize(image.size, Image.Resampling.BILINEAR)


def pillow_view(image: Image.Image, view: ViewParameters) -> Image.Image:
    """The whole recipe, from one row of parameters."""
    image = pillow_crop(image, view.boxes[0].tolist())
    if view.mirrored:
        image = ImageOps.mirror(image)
    if view.jittered:
        image = pillow_jitter(image, view.order[0].tolist(), view.factors[0].tolist())
    if view.greyed:
        image = image.convert("L").convert("RGB")
    if view.radius > 0:
        image = image.filter(ImageFilter.GaussianBlur(view.radius.item()))
    if view.solarised:
        image = ImageOps.solarize(image)
    return image


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_crop_is_pillows(size: tuple[int, int], mirrored: bool) -> None:
    """Within 1.01 levels: Pillow rounds twice, after the rows and after the columns."""
    height, width = size
    image, views = photo(*size), Views(crop_area=(0.5, 1), flip=0.5)
    for box in [[1, 2, height - 2, width - 4], [0, 0, height // 2, width // 3], [3, 1, 2, width - 1], [5, 5, 1, 1]]:
        expected = pillow_crop(image, box)
        expected = ImageOps.mirror(expected) if mirrored else expected
        assert difference(views, image, drawn(boxes=box, mirrored=mirrored), expected).max() <= 1.01


def test_a_crop_is_the_bilinear_filter_without_rounding() -> None:
    """Pillow's own filter on float pixels, where nothing is rounded: equal to float32."""
    pixels = np.random.default_rng(1).random((32, 20), dtype=np.float32)
    image, box = Image.fromarray(pixels), [2, 3, 28, 15]
    ours = Views(crop_area=(0.5, 0.5)).apply(torch.from_numpy(pixels)[None, None], drawn(boxes=box))
    np.testing.assert_allclose(ours[0, 0].numpy(), np.asarray(pillow_crop(image, box)), atol=1e-6)


def test_a_crop_sees_nothing_outside_itself() -> None:
    pixels = torch.zeros(1, 1, 8, 8)
    pixels[:, :, 2:6, 2:6] = 1
    box = drawn(boxes=[2, 2, 4, 4])
    assert Views(crop_area=(0.5, 0.5)).apply(pixels, box).eq(1).all()


def test_a_crop_of_the_whole_image_is_the_image() -> None:
    image = photo(24, 40)
    views = Views(crop_area=(0.9, 1))
    np.testing.assert_allclose(levels(views, image, drawn(boxes=[0, 0, 24, 40])), np.asarray(image), atol=1e-4)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("place", [[-4, 3], [0, 0], [4, -1]])
def test_a_padded_crop_is_pillows(place: list[int], mirrored: bool) -> None:
    """Within rounding: whole pixels are moved, and nothing is weighed."""
    image = photo(24, 40)
    expected = ImageOps.expand(image, 4, fill=0).crop((place[1] + 4, place[0] + 4, place[1] + 44, place[0] + 28))
    expected = ImageOps.mirror(expected) if mirrored else expected
    view = drawn(boxes=[*place, 24, 40], mirrored=mirrored)
    assert difference(Views(crop_padding=4, flip=0.5), image, view, expected).max() <= 1e-4


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("change", [0, 1, 2])
@pytest.mark.parametrize("factor", [0.0, 0.6, 0.95, 1.0, 1.4, 2.5])
def test_brightness_contrast_and_saturation_are_pillows(size: tuple[int, int], change: int, factor: float) -> None:
    """Pillow cuts the blend's fraction off (1), and rounds the grey level blended with (0.5 · |1 − factor|)."""
    image, factors = photo(*size), [1.0, 1.0, 1.0, 0.0]
    factors[change] = factor
    expected = pillow_jitter(image, [change], factors)
    view = drawn(jittered=True, factors=factors)
    assert difference(Views(jitter=1), image, view, expected).max() <= 1.01 + 0.51 * abs(1 - factor)


@pytest.mark.parametrize("turns", [-0.5, -0.2, -0.05, 0.0, 0.1, 0.2, 0.5])
def test_the_hue_is_turned_as_in_float64(turns: float) -> None:
    """Against `colorsys`, pixel by pixel."""
    image = photo(17, 9)
    expected = [
        colorsys.hsv_to_rgb((hue + turns) % 1, saturation, value)
        for hue, saturation, value in (colorsys.rgb_to_hsv(*pixel) for pixel in np.asarray(image).reshape(-1, 3) / 255)
    ]
    ours = levels(Views(jitter=1), image, drawn(jittered=True, factors=[1.0, 1.0, 1.0, turns]))
    np.testing.assert_allclose(ours.reshape(-1, 3), 255 * np.array(expected), atol=1e-3)


@pytest.mark.parametrize("turns", [-0.2, -0.13, 0.02, 0.2])
def test_the_hue_is_pillows_on_the_average(turns: float) -> None:
    """Pillow keeps hue and saturation in 8 bits and cuts fractions off, of the turn as well.

    One step of the hue is 6 levels of a saturated pixel, and so is the turn's fraction: 13 at the worst pixel, and
    less than 2 on the average.
    """
    image = photo(32, 32)
    found = difference(
        Views(jitter=1), image, drawn(jittered=True, factors=[1.0, 1.0, 1.0, turns]), pillow_hue(image, turns)
    )
    assert found.mean() <= 2
    assert found.max() <= 13


@pytest.mark.parametrize("size", SIZES)
def test_grey_is_pillows(size: tuple[int, int]) -> None:
    """Within half a level: Pillow rounds."""
    image = photo(*size)
    expected = image.convert("L").convert("RGB")
    assert difference(Views(greyscale=1), image, drawn(greyed=True), expected).max() <= 0.51


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("radius", [0.1, 0.4, 0.7, 1.0, 1.5, 1.999, 5.0])
def test_blur_is_pillows(size: tuple[int, int], radius: float) -> None:
    """Pillow rounds after each of six passes: half a level each at the worst pixel, 0.8 on the average."""
    image = photo(*size)
    found = difference(Views(blur=1), image, drawn(radius=radius), image.filter(ImageFilter.GaussianBlur(radius)))
    assert found.max() <= 3
    assert found.mean() <= 0.8


@pytest.mark.parametrize("radius", [0.1, 0.8, 1.999, 6.0])
@pytest.mark.parametrize("length", [1, 2, 11])
def test_blur_is_three_boxes_with_the_edge_repeated(radius: float, length: int) -> None:
    """Against the three passes written out, on one row of pixels, in float64."""
    row = np.random.default_rng(2).random(length)
    variance = radius**2 / 3
    whole = math.floor((math.sqrt(12 * variance + 1) - 1) / 2)
    part = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - (whole + 1) ** 2))
    weights = np.array([part, *[1.0] * (2 * whole + 1), part])
    expected = row
    for _ in range(3):
        expected = np.convolve(np.pad(expected, whole + 1, mode="edge"), weights / weights.sum(), mode="valid")
    images = torch.from_numpy(np.tile(row, (3, 1))).float()[None, None]  # equal rows: the other direction is idle
    ours = Views(blur=1).apply(images, drawn(radius=radius))[0, 0, 1]
    np.testing.assert_allclose(ours.numpy(), expected, atol=2e-6)


@pytest.mark.parametrize("threshold", [0, 1, 128, 200, 255, 256])
def test_solarise_is_pillows(threshold: int) -> None:
    """The same pixels exactly, on every grey level; within the rounding of float32."""
    image = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).convert("RGB")
    expected = ImageOps.solarize(image, threshold)
    views = Views(solarise=1, solarise_threshold=threshold)
    assert difference(views, image, drawn(solarised=True), expected).max() <= 1e-4


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]])
def test_the_jitter_follows_its_order_in_float64(order: list[int]) -> None:
    """All four in a row, against slow formulas: a wrong order is off by ten levels and more."""
    image, factors = photo(17, 9), [1.3, 0.7, 1.4, 0.15]
    expected = np.asarray(image) / 255
    for change in order:
        luminance = expected @ np.array([0.299, 0.587, 0.114])
        other = (0.0, luminance.mean(), luminance[:, :, None], 0.0)[change]
        if change == 3:
            turned = [colorsys.rgb_to_hsv(*pixel) for pixel in expected.reshape(-1, 3)]
            turned = [colorsys.hsv_to_rgb((hue + factors[3]) % 1, *rest) for hue, *rest in turned]
            expected = np.array(turned).reshape(expected.shape)
        else:
            expected = np.clip(factors[change] * expected + (1 - factors[change]) * other, 0, 1)
    ours = levels(Views(jitter=1), image, drawn(jittered=True, order=order, factors=factors))
    np.testing.assert_allclose(ours, 255 * expected, atol=5e-3)
    shifted = levels(Views(jitter=1), image, drawn(jittered=True, order=[*order[1:], order[0]], factors=factors))
    assert np.abs(shifted - ours).max() > 10


@pytest.mark.parametrize("views", [Views.extraction(0.9), Views.extraction(0.75), Views.simclr()])
def test_whole_views_are_pillows(views: Views) -> None:
    """60 views as drawn: the roundings of all steps come to 1.3 levels on the average, 3 in the worst view."""
    parameters = views.draw(60, (3, 32, 32), torch.Generator().manual_seed(0))
    found = []
    for row in range(60):
        image, view = photo(32, 32, seed=row), parameters.take(slice(row, row + 1))
        found.append(difference(views, image, view, pillow_view(image, view)).mean())
    assert max(found) <= 3.5
    assert np.mean(found) <= 1.5


def test_grey_images_know_brightness_and_contrast_alone() -> None:
    image = photo(24, 40).convert("L")
    for change in (0, 1):
        factors = [1.0, 1.0, 1.0, 0.0]
        factors[change] = 1.3
        kind = (ImageEnhance.Brightness, ImageEnhance.Contrast)[change]
        view = drawn(jittered=True, factors=factors)
        assert difference(Views(jitter=1), image, view, kind(image).enhance(1.3)).max() <= 1.2
    coloured = drawn(jittered=True, factors=[1.0, 1.0, 0.2, 0.2], greyed=True)
    assert difference(Views(jitter=1, greyscale=1), image, coloured, image).max() <= 1e-4
