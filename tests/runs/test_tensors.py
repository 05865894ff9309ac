"""Tensors on disk: the same bytes for the same content, and no content that differs unnoticed."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from understudy.errors import IntegrityError
from understudy.runs.tensors import digest, load_tensors, save_tensors


def some_tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "weight": torch.randn(3, 4, generator=generator),
        "half": torch.randn(5, generator=generator).bfloat16(),
        "count": torch.tensor(7),
        "codes": torch.arange(6, dtype=torch.uint8).reshape(2, 3),
        "empty": torch.zeros(0, 3),
        "turned": torch.randn(4, 3, generator=generator).t(),
    }


def test_round_trip_is_exact(tmp_path: Path) -> None:
    tensors = some_tensors()
    content = save_tensors(tmp_path / "a.safetensors", tensors, {"step": 3, "list": [1, None]})
    back, meta = load_tensors(tmp_path / "a.safetensors")
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensors[name]) and back[name].dtype == tensors[name].dtype for name in tensors)
    assert meta == {"sha256": content, "step": 3, "list": [1, None]}
    assert digest(back) == content == digest(tensors)


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    tensors = some_tensors()
    save_tensors(tmp_path / "a.safetensors", tensors, {"x": 1, "y": 2})
    save_tensors(tmp_path / "b.safetensors", dict(reversed(tensors.items())), {"y": 2, "x": 1})
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@given(st.integers(0, 47), st.integers(1, 255))
@settings(max_examples=30, deadline=None)
def test_digest_changes_with_any_byte(place: int, flip: int) -> None:
    tensors = some_tensors()
    before = digest(tensors)
    raw = tensors["weight"].view(torch.uint8).reshape(-1)
    raw[place] ^= flip
    assert digest(tensors) != before
    raw[place] ^= flip
    assert digest(tensors) == before


def test_digest_changes_with_name_type_and_shape() -> None:
    values = torch.zeros(4)
    variants = [
        {"a": values},
        {"b": values},
        {"a": values.int()},
        {"a": values.view(2, 2)},
        {"a": values, "b": values[:0]},
    ]
    assert len({digest(variant) for variant in variants}) == len(variants)


@pytest.mark.parametrize("place", ["first", "last"])
def test_an_altered_byte_is_found(tmp_path: Path, place: str) -> None:
    path = tmp_path / "a.safetensors"
    save_tensors(path, some_tensors(), {})
    raw = bytearray(path.read_bytes())
    header = int.from_bytes(raw[:8], "little")
    raw[8 + header if place == "first" else -1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(IntegrityError, match="SHA-256 mismatch"):
        load_tensors(path)


@pytest.mark.parametrize("length", [0, 7, 100, -1])
def test_a_file_cut_short_is_found(tmp_path: Path, length: int) -> None:
    path = tmp_path / "a.safetensors"
    save_tensors(path, some_tensors(), {})
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(IntegrityError, match="not a whole safetensors file"):
        load_tensors(path, verify=False)


def test_strangers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="file not found"):
        load_tensors(tmp_path / "none.safetensors")
    save_file({"a": torch.zeros(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(IntegrityError, match="not written by understudy"):
        load_tensors(tmp_path / "foreign.safetensors")


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "ran",)

    path = tmp_path / "weights.safetensors"
    torch.save(Payload(), path)
    with pytest.raises(IntegrityError, match=r"pickles such as \.pt and \.pkl are never loaded"):
        load_tensors(path)
    assert not (tmp_path / "ran").exists()
