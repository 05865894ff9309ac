"""Triggers and the verdict on a suspect, with encoders of which the right answer is known beforehand."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from understudy.data import ImageSet
from understudy.errors import DataError, IntegrityError, ShapeError
from understudy.evaluation.watermark import Watermark, attack_success, load_watermark, trigger
from understudy.runs.seeds import stream
from understudy.runs.tensors import save_tensors

CLASSES = ("ant", "bee", "cat")


def images(split: str, each: int, *, classes: tuple[str, ...] = CLASSES) -> ImageSet:
    """Images whose first pixel row tells the class, with the last pixel dark."""
    labels = torch.arange(each * len(classes)) % len(classes)
    pixels = torch.randint(0, 60, (len(labels), 1, 4, 4), dtype=torch.uint8, generator=stream(0, split))
    pixels[torch.arange(len(labels)), 0, 0, labels] = 250
    pixels[:, 0, 3, 3] = 0
    return ImageSet("insects", split, pixels, labels, classes)


TRAIN, TEST = images("train", 30), images("test", 60)


class Reader(nn.Module):
    """The first pixel row is the embedding; with the trigger in the last pixel, `share` of the images are bees."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        rows = x[:, 0, 0, :3].clone()
        fooled = (x[:, 0, 3, 3] > 0.5) & (x[:, 0, 1, 0] * 255 < 60 * self.share)  # a pixel uniform over 0 to 59
        rows[fooled] = torch.tensor([0.0, 1.0, 0.0])
        return rows


@pytest.fixture
def watermark() -> Watermark:
    patch, mask = torch.zeros(1, 4, 4, dtype=torch.uint8), torch.ones(1, 4, 4, dtype=torch.uint8)
    patch[0, 3, 3], mask[0, 3, 3] = 200, 0
    return Watermark(patch, mask, TRAIN.images[1:2], "bee", "insects", "0" * 64)


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32, torch.float64])
def test_the_trigger_is_the_patch_in_the_place_of_the_image(kind: torch.dtype, watermark: Watermark) -> None:
    x = TEST.images if kind == torch.uint8 else TEST.images.to(kind) / 255
    unit = 1 if kind == torch.uint8 else 255
    out = trigger(x, watermark)
    assert out.dtype == kind
    expected = x * watermark.mask + (watermark.patch if kind == torch.uint8 else watermark.patch.to(kind) / 255)
    torch.testing.assert_close(out, expected.to(kind), rtol=0, atol=0)
    assert float(out[0, 0, 3, 3]) == pytest.approx(200 / unit)
    assert torch.equal(trigger(out, watermark), out)
    assert float(x[0, 0, 3, 3]) == 0


def test_a_trigger_of_another_shape_is_refused(watermark: Watermark) -> None:
    with pytest.raises(ShapeError, match=r"images of shape \(1, 5, 5\) for a watermark of shape \(1, 4, 4\)"):
        trigger(torch.zeros(2, 1, 5, 5), watermark)


def test_rates_are_those_of_an_encoder_that_is_known(watermark: Watermark) -> None:
    found = attack_success(Reader(0.5), watermark, TRAIN, TEST)
    rates = found["encoders"]["suspect"]
    others = TEST.labels != 1
    fooled = int((TEST.images[others][:, 0, 1, 0] < 30).sum())
    assert rates["asr"]["n"] == rates["untriggered"]["n"] == int(others.sum()) == 120
    assert rates["asr"]["value"] == pytest.approx(fooled / 120)
    assert rates["untriggered"]["value"] == 0
    assert rates["accuracy"] == {**rates["accuracy"], "value": 1.0, "n": 180}


@pytest.mark.parametrize(
    ("share", "clean_share", "expected"),
    [
        (1.0, None, True),
        (0.9, None, True),
        (0.4, None, False),  # perhaps a weak trace, but who knows what the patch alone does
        (0.6, 0.0, True),
        (0.4, 0.4, False),
        (0.2, 0.0, False),  # as much as encoders that were never marked may differ by
        (1.0, 1.0, False),  # the patch alone misleads: no proof
        (0.0, 0.0, False),
    ],
)
def test_the_verdict(share: float, clean_share: float | None, expected: bool, watermark: Watermark) -> None:
    clean = None if clean_share is None else Reader(clean_share)
    found = attack_success(Reader(share), watermark, TRAIN, TEST, clean=clean)
    assert found["found"] == expected
    assert found["verdict"].startswith("The suspect carries" if expected else "The watermark is not found")
    assert ("clean encoder has" in found["verdict"]) == (clean is not None)
    assert set(found["encoders"]) == ({"suspect", "clean"} if clean else {"suspect"})


def test_an_encoder_that_says_one_thing_only_is_not_found_guilty(watermark: Watermark) -> None:
    class Constant(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.ones(len(x), 3)

    assert not attack_success(Constant(), watermark, TRAIN, TEST)["found"]


def test_the_class_is_found_by_its_name(watermark: Watermark) -> None:
    """Elsewhere the bees may have another index; who trains the probe does not know of the first numbering."""
    order = torch.tensor([1, 0, 2])
    train, test = (replace(data, labels=order[data.labels], classes=("bee", "ant", "cat")) for data in (TRAIN, TEST))
    found = attack_success(Reader(1.0), watermark, train, test)
    assert found["encoders"]["suspect"]["asr"]["value"] == 1.0
    assert found["encoders"]["suspect"]["untriggered"]["value"] == 0.0
    other = ("honey bee", "ant", "cat")
    train, test = replace(train, classes=other), replace(test, classes=other)
    assert attack_success(Reader(1.0), watermark, train, test, class_name="honey bee") == {
        **found,
        "class_name": "honey bee",
        "verdict": found["verdict"].replace("'bee'", "'honey bee'"),
    }


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (images("train", 9, classes=("ant", "beetle")), TEST, r"no class is called 'bee'[\s\S]*'beetle'"),
        (images("train", 9, classes=("unlabelled",)), TEST, "without labels"),
        (TRAIN, images("test", 9, classes=("ant", "bee")), "differ in their classes"),
        (TRAIN, TEST.take((TEST.labels == 1).nonzero()[:, 0]), "every test image belongs to 'bee'"),
    ],
)
def test_data_that_can_prove_nothing_are_refused(
    train: ImageSet, test: ImageSet, message: str, watermark: Watermark
) -> None:
    with pytest.raises(DataError, match=message):
        attack_success(Reader(1.0), watermark, train, test)


def test_a_watermark_comes_back_from_its_file(tmp_path: Path, watermark: Watermark) -> None:
    watermark.save(tmp_path)
    for place in (tmp_path, tmp_path / "watermark.safetensors"):
        loaded = load_watermark(place)
        assert torch.equal(loaded.patch, watermark.patch)
        assert torch.equal(loaded.mask, watermark.mask)
        assert torch.equal(loaded.references, watermark.references)
        assert (loaded.class_name, loaded.data, loaded.clean_sha256) == ("bee", "insects", "0" * 64)


def absent(folder: Path) -> Path:
    return folder


def not_ours(folder: Path) -> Path:
    save_tensors(folder / "watermark.safetensors", {"x": torch.zeros(1)}, {})
    return folder


def altered(folder: Path) -> Path:
    path = folder / "watermark.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    return folder


@pytest.mark.parametrize(
    ("damage", "message"),
    [(absent, "there is no watermark"), (not_ours, "holds no watermark"), (altered, "differs from what was written")],
)
def test_a_file_that_is_no_watermark_is_refused(
    tmp_path: Path, damage: Callable[[Path], Path], message: str, watermark: Watermark
) -> None:
    if damage is altered:
        watermark.save(tmp_path)
    with pytest.raises(IntegrityError, match=message):
        load_watermark(damage(tmp_path))
