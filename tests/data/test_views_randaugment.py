"""RandAugment: each operation against Pillow, on grey levels, and several in a row."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from understudy.data import Views
from understudy.data._randaugment import OPERATIONS, randaugment

SIZES = [(32, 32), (24, 40), (61, 64), (3, 2)]


def photo(height: int, width: int) -> Image.Image:
    rng = np.random.default_rng(height)
    coarse = rng.integers(30, 220, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def moved(image: Image.Image, *matrix: float) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix)


def solarise_add(image: Image.Image, strength: float) -> Image.Image:
    brighter = np.clip(np.asarray(image).astype(int) + int(110 * strength), 0, 255).astype(np.uint8)
    return ImageOps.solarize(Image.fromarray(brighter), 128)


def enhance(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> Callable[[Image.Image, float], Image.Image]:
    return lambda image, strength: kind(image).enhance(0.1 + 1.8 * strength)


# Each operation with a strength m/30, negative for the other way.
PILLOW: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "auto_contrast": lambda image, _: ImageOps.autocontrast(image),
    "equalise": lambda image, _: ImageOps.equalize(image),
    "invert": lambda image, _: ImageOps.invert(image),
    "posterise": lambda image, strength: ImageOps.posterize(image, max(1, int(4 * strength))),
    "solarise": lambda image, strength: ImageOps.solarize(image, 256 * strength),
    "solarise_add": solarise_add,
    "colour": enhance(ImageEnhance.Color),
    "contrast": enhance(ImageEnhance.Contrast),
    "brightness": enhance(ImageEnhance.Brightness),
    "sharpness": enhance(ImageEnhance.Sharpness),
    "rotate": lambda image, strength: image.rotate(30 * strength),
    "shear_x": lambda image, strength: moved(image, 1, 0.3 * strength, 0, 0, 1, 0),
    "shear_y": lambda image, strength: moved(image, 1, 0, 0, 0.3 * strength, 1, 0),
    "translate_x": lambda image, strength: moved(image, 1, 0, image.width * 100 / 224 * strength, 0, 1, 0),
    "translate_y": lambda image, strength: moved(image, 1, 0, 0, 0, 1, image.height * 100 / 224 * strength),
}
COLOURS, MOVES = list(PILLOW)[:10], list(PILLOW)[10:]


def ours(image: Image.Image, *names: str, magnitude: int, backwards: bool = False) -> np.ndarray:
    """Grey levels of shape (h, w, 3)."""
    pixels = torch.from_numpy(np.array(image).transpose(2, 0, 1).copy())[None] / 255
    operations = torch.tensor([[OPERATIONS.index(name) for name in names]])
    found = randaugment(
        pixels,
        operations,
        torch.full_like(operations, backwards, dtype=torch.bool),
        torch.full((1, len(names), 2), 0.5),
        magnitude=magnitude,
    )
    return found[0].permute(1, 2, 0).numpy() * 255


def test_every_operation_of_the_port_is_there() -> None:
    assert set(OPERATIONS) == {*PILLOW, "cut_out"}
    assert len(OPERATIONS) == 16


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("magnitude", [3, 14, 27, 30])
@pytest.mark.parametrize("name", COLOURS)
def test_operations_on_colours_are_pillows(name: str, magnitude: int, size: tuple[int, int]) -> None:
    """Equal to a level, and all but one pixel in a hundred equal: fractions of just about a whole number may be cut
    off on either side."""
    image = photo(*size)
    expected = np.asarray(PILLOW[name](image, magnitude / 30), dtype=float)
    found = np.abs(ours(image, name, magnitude=magnitude) - expected)
    assert found.max() <= 1.01
    assert (found > 0.01).mean() <= 0.01


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("magnitude", [3, 14, 29])
@pytest.mark.parametrize("name", MOVES)
def test_moves_are_pillows(name: str, magnitude: int, backwards: bool, size: tuple[int, int]) -> None:
    """But for one pixel in 200: Pillow steps through the image in units of 2⁻¹⁶, which may reach a neighbour."""
    image = photo(*size)
    strength = -magnitude / 30 if backwards else magnitude / 30
    expected = np.asarray(PILLOW[name](image, strength), dtype=float)
    found = np.abs(ours(image, name, magnitude=magnitude, backwards=backwards) - expected).max(2)
    assert (found > 0.01).mean() <= 0.005


@pytest.mark.parametrize("place", [(0.5, 0.5), (0.0, 0.99), (0.9, 0.1)])
def test_a_cut_out_is_the_ports_at_224_pixels(place: tuple[float, float]) -> None:
    image, side = photo(224, 224), 40 * 14 / 30
    first_row, first_column = (int(max(0, share * 224 - side / 2)) for share in place)
    expected = image.copy()
    corner = (min(224, first_column + side), min(224, first_row + side))
    ImageDraw.Draw(expected).rectangle((first_column, first_row, *corner), (125, 123, 114))
    pixels = torch.from_numpy(np.array(image).transpose(2, 0, 1).copy())[None] / 255
    operation = torch.tensor([[OPERATIONS.index("cut_out")]])
    found = randaugment(pixels, operation, operation < 0, torch.tensor([[place]]), magnitude=14)
    np.testing.assert_allclose(found[0].permute(1, 2, 0).numpy() * 255, np.asarray(expected), atol=1e-3)


def test_a_cut_out_shrinks_with_the_image() -> None:
    """19 pixels of 224 are 3 of 32."""
    operation = torch.tensor([[OPERATIONS.index("cut_out")]])
    found = randaugment(torch.ones(1, 1, 32, 32), operation, operation < 0, torch.full((1, 1, 2), 0.5), magnitude=14)
    assert (found < 1).sum() == 9
    assert found.min().item() * 255 == pytest.approx(123)


def test_two_operations_follow_their_order() -> None:
    image = photo(32, 32)
    for names in (("posterise", "equalise"), ("equalise", "posterise"), ("invert", "rotate"), ("rotate", "invert")):
        expected = PILLOW[names[1]](PILLOW[names[0]](image, 14 / 30), 14 / 30)
        found = np.abs(ours(image, *names, magnitude=14) - np.asarray(expected, dtype=float)).max(2)
        assert (found > 0.01).mean() <= 0.01
    assert (
        np.abs(ours(image, "invert", "rotate", magnitude=14) - ours(image, "rotate", "invert", magnitude=14)).max() > 99
    )


def test_images_of_one_level_are_left_alone_by_histograms() -> None:
    for level in (0, 77, 255):
        image = Image.new("RGB", (16, 16), (level, level, level))
        for name in ("auto_contrast", "equalise"):
            np.testing.assert_allclose(ours(image, name, magnitude=14), level, atol=1e-3)


def test_magnitude_0_and_grey_images_are_possible() -> None:
    images = torch.rand(200, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    views = Views(randaugment=3, randaugment_magnitude=0)
    found = views.apply(images, views.draw(200, (1, 16, 16), torch.Generator().manual_seed(0)))
    assert 0 <= found.min() < found.max() <= 1


def test_a_batch_of_mixed_operations_is_its_rows() -> None:
    """Each row gets its own two operations, whatever the others get."""
    image = photo(32, 32)
    pixels = torch.from_numpy(np.array(image).transpose(2, 0, 1).copy())[None] / 255
    operations = torch.cartesian_prod(torch.arange(16), torch.arange(16))
    backwards = torch.arange(512).reshape(256, 2) % 3 == 0
    places = torch.rand(256, 2, 2, generator=torch.Generator().manual_seed(0))
    together = randaugment(pixels.repeat(256, 1, 1, 1), operations, backwards, places, magnitude=14)
    for row in range(0, 256, 5):
        one = slice(row, row + 1)
        alone = randaugment(pixels, operations[one], backwards[one], places[one], magnitude=14)
        assert alone.equal(together[one])
