"""Hashes and keys, against the same written row by row."""

import hashlib
import struct

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from understudy.targets._rows import decode_answers, draw_keys, encode_answers, hash_rows, query_keys


@pytest.mark.parametrize("rows", [0, 1, 64, 65, 2100])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_inputs_are_hashed_row_by_row_whatever_their_layout(rows: int, layout: torch.memory_format) -> None:
    images = torch.rand(rows, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    expected = [
        hashlib.blake2b(struct.pack("<12f", *row.flatten().tolist()), digest_size=16).digest() for row in images
    ]
    assert hash_rows(images.contiguous(memory_format=layout)) == expected
    assert len(set(expected)) == rows


def test_minus_zero_is_zero() -> None:
    assert hash_rows(torch.tensor([[-0.0, 1.0]])) == hash_rows(torch.tensor([[0.0, 1.0]]))


@given(st.lists(st.integers(0, 3), max_size=12), st.lists(st.integers(0, 3), max_size=12))
def test_keys_tell_occasions_and_equal_rows_apart_only_where_they_must(one: list[int], other: list[int]) -> None:
    requests = [[bytes([number]) * 16 for number in numbers] for numbers in (one, other)]
    replayed = [query_keys(inputs, occasion=place, replay=True) for place, inputs in enumerate(requests)]
    assert len(set(replayed[0] + replayed[1])) == len(set(one + other))
    fresh = [query_keys(inputs, occasion=place, replay=False) for place, inputs in enumerate(requests)]
    assert len(set(fresh[0] + fresh[1])) == len(one) + len(other)
    assert set(replayed[0]) <= set(fresh[0])  # what was asked first is the same query either way


def test_keys_become_numbers_that_a_generator_takes() -> None:
    numbers = draw_keys([b"\xff" * 16, b"\x00" * 16, b"\x00" * 7 + b"\x04" + b"\xff" * 8])
    assert numbers.tolist() == [2**63 - 1, 0, 2]


def test_answers_come_back_as_they_were_written() -> None:
    answers = torch.tensor([[1.5, -0.0, 3e-45], [float(2**24), 0.1, -7.0]])
    blobs = encode_answers(answers)
    assert [len(blob) for blob in blobs] == [12, 12]
    back = decode_answers(blobs, 3)
    assert torch.equal(back.view(torch.int32), answers.view(torch.int32))
    assert torch.equal(decode_answers([], 3), torch.empty(0, 3))
