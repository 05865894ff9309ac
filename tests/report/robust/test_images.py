"""Attacked images on the page: clean, changed, and the change with its sign, amplified by a factor that is said."""

import base64
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from understudy.report import write_report
from understudy.report._robust_images import amplification

MakeRobustness = Callable[..., Path]
Reader = Callable[[Path], Any]


def pictures(page: Path) -> list[Image.Image]:
    source = page.read_text(encoding="utf-8")
    found = re.findall(r'<img src="data:image/png;base64,([^"]+)"', source)
    return [Image.open(io.BytesIO(base64.b64decode(one))) for one in found]


def example(record: dict[str, Any]) -> None:
    record["examples"] = record["examples"][:1]


def test_clean_changed_and_signed_difference(make_robustness: MakeRobustness, read: Reader) -> None:
    clean = torch.full((1, 3, 8, 8), 0.5)
    changed = clean.clone()
    changed[0, 0, 0, 0] += 8 / 255
    changed[0, 1, 1, 1] -= 4 / 255
    page = write_report(make_robustness(example, images={"clean": clean, "adversarial": changed}))
    before, after, difference = pictures(page)
    assert before.size == after.size == difference.size == (8, 8), "enlarged by the page, not in the file"
    assert before.getpixel((0, 0)) == (128, 128, 128)
    assert after.getpixel((0, 0)) == (136, 128, 128)
    assert difference.getpixel((5, 5)) == (128, 128, 128), "mid-grey is no change"
    red, green, _ = difference.getpixel((0, 0))
    assert (red, green) == (248, 128), "15 times 8/255 up is 120 steps lighter"
    assert difference.getpixel((1, 1)) == (128, 68, 128), "15 times 4/255 down is 60 steps darker"
    text = read(page).words
    assert "The change is amplified 15 times and has a sign: mid-grey is no change" in text
    assert "Image 0, class airplane PGD-20; teacher: airplane both times as it is: airplane attacked: car" in text
    assert "change × 15" in text
    assert 'width="112" height="112"' in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(("largest", "factor"), [(8 / 255, 15.0), (0.125, 4.0), (0.3, 1.0), (0.0, 1.0), (1.0, 0.5)])
def test_amplification_fills_half_of_the_scale(largest: float, factor: float) -> None:
    change = torch.tensor([[0.0, -largest, largest / 2]])
    assert amplification(change) == pytest.approx(factor)


def test_other_channels_become_grey(make_robustness: MakeRobustness) -> None:
    images = {"clean": torch.zeros(1, 2, 4, 4), "adversarial": torch.full((1, 2, 4, 4), 0.1)}
    assert [one.mode for one in pictures(write_report(make_robustness(example, images=images)))] == ["L"] * 3


def test_the_teacher_may_be_missing(make_robustness: MakeRobustness, read: Reader) -> None:
    def edit(record: dict[str, Any]) -> None:
        for one in record["examples"]:
            one |= {"teacher_clean": None, "teacher_adversarial": None}

    text = read(write_report(make_robustness(edit))).words
    assert "Image 7, class car PGD-20 as it is: car" in text
    assert "teacher:" not in text


def test_large_images_do_not_make_a_page_of_many_megabytes(make_robustness: MakeRobustness, read: Reader) -> None:
    noise = torch.rand(6, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    page = write_report(make_robustness(images={"clean": noise, "adversarial": noise.flip(0)}))
    assert len(pictures(page)) == 3 * 4
    assert "2 more attacked images are on file and not shown." in read(page).words


@pytest.mark.parametrize(
    "images",
    [
        {"clean": torch.zeros(2, 3, 4, 4), "adversarial": torch.zeros(2, 3, 4, 4)},
        {"clean": torch.zeros(6, 3, 4, 4), "adversarial": torch.zeros(6, 3, 4, 5)},
        {"clean": torch.zeros(6, 3, 4, 4)},
        {"clean": torch.zeros(6, 5), "adversarial": torch.zeros(6, 5)},
        None,
    ],
)
def test_images_that_do_not_fit_take_no_page_away(
    make_robustness: MakeRobustness, read: Reader, images: dict[str, torch.Tensor] | None
) -> None:
    page = write_report(make_robustness(images=images))
    assert pictures(page) == []
    assert "images" not in read(page).sections


def test_a_damaged_file_of_images_takes_no_page_away(make_robustness: MakeRobustness, read: Reader) -> None:
    folder = make_robustness()
    (folder / "examples.safetensors").write_bytes(b"nonsense")
    page = write_report(folder)
    assert "images" not in read(page).sections
    assert "The images cannot be read" in read(page).words
