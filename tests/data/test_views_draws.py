"""What is drawn: ranges, probabilities, places and orders, each against its exact law or a plain-Python sampler.

The numbers of draws are fixed and so are the seeds; every bound lies four or more standard deviations out.
"""

import math
import random

import numpy as np
import pytest
import torch
from scipy.stats import chi2, kstest

from understudy.data import ViewParameters, Views
from understudy.errors import ConfigError, ShapeError

ROWS = 20_000


def draw(views: Views, shape: tuple[int, ...] = (3, 32, 32), *, rows: int = ROWS, seed: int = 0) -> ViewParameters:
    return views.draw(rows, shape, torch.Generator().manual_seed(seed))


def evenly(counts: torch.Tensor) -> bool:
    """Whether counts agree with equal chances: Pearson's test at one in 100,000."""
    expected = counts.sum() / counts.numel()
    statistic = ((counts - expected).square() / expected).sum().item()
    return statistic < chi2.ppf(1 - 1e-5, counts.numel() - 1)


def share(drawn: torch.Tensor, probability: float) -> bool:
    """Whether the share of what was drawn lies within five standard deviations of its probability."""
    return abs(drawn.double().mean().item() - probability) < 5 * math.sqrt(probability * (1 - probability) / len(drawn))


@pytest.mark.parametrize(("side", "crop", "cut"), [(32, 0.9, 30), (32, 0.75, 28), (224, 0.9, 213), (224, 0.75, 194)])
def test_the_crops_of_the_extraction_have_one_size(side: int, crop: float, cut: int) -> None:
    boxes = draw(Views.extraction(crop), (3, side, side)).boxes
    assert boxes[:, 2:].unique().tolist() == [cut]
    assert boxes[:, :2].min() == 0
    assert boxes[:, :2].max() == side - cut


@pytest.mark.parametrize(("crop", "places"), [(0.9, 3), (0.75, 5)])
def test_each_place_of_a_crop_is_as_likely(crop: float, places: int) -> None:
    boxes = draw(Views.extraction(crop)).boxes
    assert evenly(torch.bincount(boxes[:, 0] * places + boxes[:, 1], minlength=places**2))


def test_each_place_of_a_padded_crop_is_as_likely() -> None:
    boxes = draw(Views(crop_padding=4), (3, 24, 40)).boxes
    assert boxes[:, 2:].unique(dim=0).tolist() == [[24, 40]]
    assert evenly(torch.bincount((boxes[:, 0] + 4) * 9 + boxes[:, 1] + 4, minlength=81))


def test_each_change_has_its_probability() -> None:
    drawn = draw(Views.extraction(0.9))
    assert share(drawn.mirrored, 0.5)
    assert share(drawn.jittered, 0.8)
    assert share(drawn.greyed, 0.2)
    assert share(drawn.radius > 0, 0.1)
    assert share(drawn.solarised, 0.1)
    changes = torch.stack((drawn.mirrored, drawn.jittered, drawn.greyed, drawn.radius > 0, drawn.solarised)).double()
    related = torch.corrcoef(changes) - torch.eye(5)
    assert related.abs().max() < 5 / math.sqrt(ROWS)


def test_factors_and_radius_are_uniform_over_their_ranges() -> None:
    drawn = draw(Views.extraction(0.9))
    ranges = [(0.6, 1.4), (0.6, 1.4), (0.6, 1.4), (-0.2, 0.2)]
    for column, (low, high) in zip(drawn.factors.unbind(1), ranges, strict=True):
        assert kstest(column.numpy(), "uniform", (low, high - low)).pvalue > 1e-4
    radius = drawn.radius[drawn.radius > 0]
    assert kstest(radius.numpy(), "uniform", (0.1, 1.9)).pvalue > 1e-4
    assert torch.corrcoef(drawn.factors.T).triu(1).abs().max() < 5 / math.sqrt(ROWS)


def test_no_factor_is_negative() -> None:
    factors = draw(Views(jitter=1, brightness=3)).factors[:, 0]
    assert kstest(factors.numpy(), "uniform", (0, 4)).pvalue > 1e-4


def test_all_24_orders_of_the_jitter_are_as_likely() -> None:
    order = draw(Views.simclr()).order
    assert order.sort(1).values.eq(torch.arange(4)).all()
    codes = (order * torch.tensor([64, 16, 4, 1])).sum(1)
    counts = codes.unique(return_counts=True)[1]
    assert len(counts) == 24
    assert evenly(counts)


def resized_crop(rng: random.Random, height: int, width: int, views: Views) -> tuple[int, int, int, int]:
    """Torchvision's rule for one image, written out."""
    low, high = views.crop_ratio
    for _ in range(10):
        area = height * width * rng.uniform(*views.crop_area)
        aspect = math.exp(rng.uniform(math.log(low), math.log(high)))
        wide, tall = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < wide <= width and 0 < tall <= height:
            return rng.randint(0, height - tall), rng.randint(0, width - wide), tall, wide
    wide, tall = width, height
    if width / height < low:
        tall = round(width / low)
    elif width / height > high:
        wide = round(height * high)
    return (height - tall) // 2, (width - wide) // 2, tall, wide


@pytest.mark.parametrize(
    ("shape", "views"),
    [
        ((3, 32, 32), Views.simclr()),
        ((1, 24, 40), Views.simclr()),
        ((3, 16, 50), Views(crop_area=(0.3, 0.7), crop_ratio=(0.5, 2))),  # about one try in two fits
    ],
)
def test_random_crops_follow_torchvisions_law(shape: tuple[int, ...], views: Views) -> None:
    """Each of the four numbers, over all its values, against as many draws of a plain loop."""
    boxes, rng = draw(views, shape).boxes, random.Random(0)
    expected = torch.tensor([resized_crop(rng, *shape[1:], views) for _ in range(ROWS)])
    for ours, theirs in zip(boxes.unbind(1), expected.unbind(1), strict=True):
        counts = torch.stack([torch.bincount(values, minlength=64) for values in (ours, theirs)])[:, :64].double()
        differences = (counts[0] - counts[1]).square() / counts.sum(0).clamp(min=1)
        assert differences.sum().item() < chi2.ppf(1 - 1e-5, int((counts.sum(0) > 0).sum()) - 1)
    area = (boxes[:, 2] * boxes[:, 3]).double() / (shape[1] * shape[2])
    assert views.crop_area[0] - 0.02 < area.min()
    assert area.max() < views.crop_area[1] + 0.02


@pytest.mark.parametrize(("shape", "box"), [((3, 8, 64), [0, 26, 8, 11]), ((3, 64, 8), [26, 0, 11, 8])])
def test_where_no_crop_fits_the_largest_central_one_is_taken(shape: tuple[int, ...], box: list[int]) -> None:
    views = Views(crop_area=(0.8, 1), crop_ratio=(3 / 4, 4 / 3))
    assert draw(views, shape, rows=50).boxes.unique(dim=0).tolist() == [box]
    assert resized_crop(random.Random(0), *shape[1:], views) == tuple(box)


def test_a_crop_lies_inside_the_smallest_images() -> None:
    for shape in [(1, 1, 1), (3, 1, 7), (3, 2, 2)]:
        top, left, height, width = draw(Views.simclr(), shape, rows=500).boxes.unbind(1)
        assert min(top.min(), left.min()) >= 0
        assert min(height.min(), width.min()) >= 1
        assert (top + height).max() <= shape[1]
        assert (left + width).max() <= shape[2]


def test_randaugment_draws_each_operation_as_often() -> None:
    drawn = draw(Views.randaugment_crop())
    assert drawn.operations.shape == (ROWS, 2)
    assert evenly(torch.bincount(drawn.operations[:, 0] * 16 + drawn.operations[:, 1], minlength=256))
    assert share(drawn.reversed.flatten(), 0.5)
    assert kstest(drawn.places.flatten().numpy(), "uniform").pvalue > 1e-4


def test_the_same_generator_draws_the_same() -> None:
    first, again, other = (draw(Views.simclr(), rows=10, seed=seed) for seed in (1, 1, 2))
    for name in ("boxes", "mirrored", "order", "factors"):
        assert getattr(first, name).equal(getattr(again, name))
    assert not first.factors.equal(other.factors)


def test_presets_are_the_specifications() -> None:
    colours = {"flip": 0.5, "jitter": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "greyscale": 0.2}
    extraction = {**colours, "hue": 0.2, "blur": 0.1, "blur_radius": (0.1, 2.0), "solarise": 0.1}
    assert Views.extraction(0.9) == Views(crop_area=(0.9, 0.9), crop_ratio=(1, 1), **extraction)
    assert Views.stolen_encoder() == Views(hue=0.1, **colours)
    assert Views.simclr() == Views(crop_area=(0.08, 1), crop_ratio=(3 / 4, 4 / 3), hue=0.1, **colours)
    assert Views.randaugment_crop() == Views(randaugment=2, randaugment_magnitude=14, crop_padding=4, flip=0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop_area": (0.9, 0.75)}, "crop_area starts at 0.9, above its end 0.75"),
        ({"crop_area": (0, 1)}, "greater than 0"),
        ({"crop_area": (0.5, 1.1)}, "less than or equal to 1"),
        ({"crop_ratio": (0, 1)}, "greater than 0"),
        ({"crop_ratio": (2, 1)}, "crop_ratio starts at 2.0"),
        ({"flip": 1.5}, "less than or equal to 1"),
        ({"jitter": -0.1}, "greater than or equal to 0"),
        ({"contrast": -1}, "greater than or equal to 0"),
        ({"hue": 0.6}, "less than or equal to 0.5"),
        ({"hue": float("nan")}, "finite"),
        ({"blur_radius": (2, 1)}, "blur_radius starts at 2.0"),
        ({"solarise_threshold": 257}, "less than or equal to 256"),
        ({"crop_padding": -1}, "greater than or equal to 0"),
        ({"crop_padding": 4, "crop_area": (0.5, 1)}, "two ways to crop"),
        ({"randaugment_magnitude": 31}, "less than or equal to 30"),
        ({"rotation": 1}, "Extra inputs"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Views(**options)


def test_a_padding_that_could_miss_the_image_is_refused() -> None:
    with pytest.raises(ConfigError, match="crop_padding is 8 on images of 8 x 9 pixels"):
        draw(Views(crop_padding=8), (3, 8, 9))


@pytest.mark.parametrize("shape", [(12,), (2, 8, 8), (8, 8), (3, 0, 8)])
def test_what_is_no_image_has_no_views(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="grey or RGB images"):
        draw(Views(), shape)


def test_no_rounding_of_float32_moves_the_side_of_a_crop() -> None:
    """It is round(√a · side) on every draw."""
    for side in (2, 3, 5, 8, 16, 28, 31, 32, 33, 48, 64, 96, 128, 224):
        for crop in (0.25, 0.5, 0.75, 0.9):
            sides = draw(Views(crop_area=(crop, crop)), (1, side, side), rows=20).boxes[:, 2:].unique()
            assert sides.tolist() == [max(1, round(float(np.sqrt(crop * side * side))))]
