"""Answers on file as a target."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from understudy.errors import AccessError, ConfigError, DataError, IntegrityError, ShapeError, TargetError
from understudy.runs.tensors import load_tensors, save_tensors
from understudy.targets import Access, StoredTarget, store_answers


@pytest.fixture
def grey() -> Tensor:
    return torch.randint(0, 256, (9, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def answers() -> Tensor:
    return torch.randn(9, 5, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "answers.safetensors"


def test_every_stored_image_gets_its_answer(path: Path, grey: Tensor, answers: Tensor) -> None:
    store_answers(path, grey, answers)
    target = StoredTarget(path)
    assert (len(target), target.width, target.input_shape, target.access) == (9, 5, (3, 4, 4), Access.EMBEDDINGS)
    order = [4, 0, 8, 4]
    assert torch.equal(target.answer(grey[order].float() / 255), answers[order])
    assert torch.equal(target.answer(grey[:0].float()), answers[:0])


def test_rounding_and_layout_do_not_matter_for_grey_levels(path: Path, grey: Tensor, answers: Tensor) -> None:
    """A GPU multiplies by 1/255 where a CPU divides; the last bit differs."""
    store_answers(path, grey.float() / 255, answers)
    ways = [grey.double().div(255).float(), grey.float() * (1 / 255), (grey.float() / 255).nextafter(torch.ones(()))]
    ways.append((grey.float() / 255).contiguous(memory_format=torch.channels_last))
    for way in ways:
        assert torch.equal(StoredTarget(path).answer(way), answers)
    assert not torch.equal(ways[0], ways[1])  # or this test would test nothing


def test_images_between_grey_levels_are_told_apart(path: Path, answers: Tensor) -> None:
    images = torch.rand(9, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    store_answers(path, images, answers)
    target = StoredTarget(path)
    assert torch.equal(target.answer(images), answers)
    with pytest.raises(TargetError, match="9 of 9 inputs are not on file"):
        target.answer((images * 255).round() / 255)


def test_an_input_that_is_not_on_file_says_which_and_why(path: Path, grey: Tensor, answers: Tensor) -> None:
    store_answers(path, grey, answers)
    images = grey.float() / 255
    images[3] = images[3].flip(-1)
    with pytest.raises(TargetError, match="1 of 9 inputs are not on file, row 3 first") as error:
        StoredTarget(path).answer(images)
    assert "cannot answer random views" in str(error.value)


def test_equal_images_are_kept_once_and_must_agree(path: Path, grey: Tensor, answers: Tensor) -> None:
    twice, same = torch.cat([grey, grey[:2]]), torch.cat([answers, answers[:2]])
    store_answers(path, twice, same)
    assert len(StoredTarget(path)) == 9
    with pytest.raises(DataError, match="images 1 and 10 are equal, and their answers are not"):
        store_answers(path, twice, torch.cat([same[:10], answers[2:3]]))


def test_the_access_is_that_of_the_file(path: Path, grey: Tensor, answers: Tensor) -> None:
    store_answers(path, grey, answers, access="logits")
    assert StoredTarget(path).access is Access.LOGITS
    assert StoredTarget(path, access="logits").access is Access.LOGITS
    with pytest.raises(AccessError, match="holds logits, not embeddings"):
        StoredTarget(path, access="embeddings")
    with pytest.raises(ConfigError, match="cannot give access 'weights'"):
        store_answers(path, grey, answers, access="weights")


def test_other_answers_are_another_target(path: Path, grey: Tensor, answers: Tensor) -> None:
    identities = set()
    for images, rows, access in (
        (grey, answers, "embeddings"),
        (grey, answers, "logits"),
        (grey, answers + 1, "embeddings"),
        (grey.flip(0), answers, "embeddings"),
    ):
        store_answers(path, images, rows, access=access)
        identities.add(StoredTarget(path).identity)
    assert len(identities) == 4
    store_answers(path, grey.flip(0).float() / 255, answers)
    assert StoredTarget(path).identity in identities


@pytest.mark.parametrize(
    ("images", "answers", "error"),
    [
        (torch.zeros(3, 2), torch.zeros(2, 4), ShapeError),
        (torch.zeros(3), torch.zeros(3, 4), ShapeError),
        (torch.zeros(3, 2), torch.zeros(3), ShapeError),
        (torch.zeros(0, 2), torch.zeros(0, 4), ShapeError),
        (torch.full((3, 2), 1.5), torch.zeros(3, 4), DataError),
        (torch.full((3, 2), float("nan")), torch.zeros(3, 4), DataError),
        (torch.zeros(3, 2), torch.full((3, 4), float("inf")), DataError),
    ],
)
def test_what_is_no_table_of_answers_is_refused(path: Path, images: Tensor, answers: Tensor, error: type) -> None:
    with pytest.raises(error):
        store_answers(path, images, answers)
    assert not path.exists()


def test_files_that_hold_no_answers_are_refused(path: Path, grey: Tensor, answers: Tensor) -> None:
    with pytest.raises(IntegrityError, match="file not found"):
        StoredTarget(path)
    path.write_bytes(b"no tensors")
    with pytest.raises(IntegrityError, match="not a whole safetensors file"):
        StoredTarget(path)
    save_tensors(path, {"keys": torch.zeros(2), "answers": torch.zeros(2, 2)}, {"kind": "bank", "format": 1})
    with pytest.raises(IntegrityError, match="holds no answers"):
        StoredTarget(path)
    store_answers(path, grey, answers)
    tensors, record = load_tensors(path)
    tensors["keys"] = tensors["keys"][:4].clone()
    del record["sha256"]
    save_tensors(path, {name: tensor.clone() for name, tensor in tensors.items()}, record)
    with pytest.raises(IntegrityError, match="not as they were written"):
        StoredTarget(path)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match="SHA-256"):
        StoredTarget(path)
