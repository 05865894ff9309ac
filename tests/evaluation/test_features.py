import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn

from understudy.data import ImageSet
from understudy.errors import DataError, DivergenceError, ShapeError
from understudy.evaluation import carries_information, embed, fidelity, unit


class Table(nn.Module):
    """An encoder that looks its answers up by the grey level of the first pixel."""

    def __init__(self, answers: Tensor) -> None:
        super().__init__()
        self.register_buffer("answers", answers)

    def forward(self, x: Tensor) -> Tensor:
        return self.answers[(x[:, 0, 0, 0] * 255).round().long()]


def numbered(rows: int) -> ImageSet:
    """Images that carry their row number as grey level."""
    images = torch.arange(rows, dtype=torch.uint8).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2).contiguous()
    return ImageSet("toy", "test", images, torch.zeros(rows, dtype=torch.int64), ("only",))


def test_embed_keeps_rows_and_lengths_whatever_the_batch() -> None:
    answers = 7 * torch.randn(11, 5, generator=torch.Generator().manual_seed(0))
    for batch_size in (1, 4, 11, 100):
        assert torch.equal(embed(Table(answers), numbered(11), batch_size=batch_size), answers)


def test_embed_asks_in_eval_mode_and_restores_every_mode() -> None:
    network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 3))
    network.train()
    network[1].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert torch.equal(embed(network, numbered(3)), embed(network, numbered(3)))  # no dropout
    assert [module.training for module in network.modules()] == [True, True, False, True, True]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_embedded_features_can_be_trained_on() -> None:
    features = embed(Table(torch.ones(4, 3)), numbered(4))
    weight = torch.ones(3, requires_grad=True)
    (features @ weight).sum().backward()
    assert torch.equal(weight.grad, torch.full((3,), 4.0))


def test_embed_gives_float32_for_a_network_in_half_precision() -> None:
    answers = torch.tensor([[1.5, -2.0], [0.25, 4.0]])
    assert torch.equal(embed(Table(answers.bfloat16()), numbered(2)), answers)


def test_embed_refuses_images_and_answers_that_do_not_fit() -> None:
    network = Table(torch.ones(2, 3))
    network.input_shape = (3, 8, 8)
    with pytest.raises(ShapeError, match=r"images of shape \(1, 2, 2\) do not fit the encoder"):
        embed(network, numbered(2))
    with pytest.raises(ShapeError, match=r"the encoder answers with shape \(2, 3, 1, 1\)"):
        embed(Table(torch.ones(2, 3, 1, 1)), numbered(2))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_embed_refuses_answers_that_are_not_finite(value: float) -> None:
    answers = torch.ones(5, 3)
    answers[1, 0] = answers[4, 2] = value
    with pytest.raises(DivergenceError, match="2 of 5 rows of features hold NaN or infinity"):
        embed(Table(answers), numbered(5))


@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(1e-3, 1e3))
@settings(max_examples=20, deadline=None)
def test_unit_rows_have_length_one_and_keep_their_direction(seed: int, scale: float) -> None:
    x = scale * torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    for row, got in zip(x.tolist(), unit(x).tolist(), strict=True):
        length = math.sqrt(sum(value * value for value in row))
        assert got == pytest.approx([value / length for value in row], abs=1e-14)


def test_a_row_of_zeros_stays_one() -> None:
    assert torch.equal(unit(torch.tensor([[0.0, 0.0], [3.0, 4.0]])), torch.tensor([[0.0, 0.0], [0.6, 0.8]]))


@given(n=st.integers(2, 40), d=st.integers(1, 9), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_fidelity_equals_a_slow_float64_loop(n: int, d: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    a, b = random.normal(size=(n, d)), random.normal(size=(n, d))
    cosines = [
        sum(x * y for x, y in zip(p, q, strict=True))
        / math.sqrt(sum(x * x for x in p))
        / math.sqrt(sum(y * y for y in q))
        for p, q in zip(a.tolist(), b.tolist(), strict=True)
    ]
    mean = sum(cosines) / n
    deviation = math.sqrt(sum((cosine - mean) ** 2 for cosine in cosines) / (n - 1))
    half = stats.t.ppf(0.975, n - 1) * deviation / math.sqrt(n)
    found = fidelity(torch.from_numpy(a), torch.from_numpy(b))
    assert found.value == pytest.approx(mean, abs=1e-12)
    assert found.low == pytest.approx(max(mean - half, -1), abs=1e-9)
    assert found.high == pytest.approx(min(mean + half, 1), abs=1e-9)
    assert found.n == n


def test_fidelity_is_blind_to_lengths_and_one_for_a_copy() -> None:
    x = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    copy = fidelity(x, x * torch.arange(1, 21).unsqueeze(1))
    assert copy.value == pytest.approx(1, abs=1e-12)
    assert copy.low <= copy.value <= copy.high <= 1
    assert fidelity(x, -x).value == pytest.approx(-1, abs=1e-12)


def test_a_row_of_zeros_agrees_with_nothing() -> None:
    a = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert fidelity(a, torch.tensor([[1.0, 0.0], [1.0, 0.0]])).value == 0.5


def test_fidelity_refuses_what_cannot_be_compared() -> None:
    x = torch.ones(4, 3)
    with pytest.raises(ShapeError, match=r"features of shape \(4, 3\) and \(4, 2\)"):
        fidelity(x, torch.ones(4, 2))
    with pytest.raises(DataError, match="1 rows have no spread"):
        fidelity(x[:1], x[:1])
    with pytest.raises(DivergenceError, match="1 of 4 rows"):
        fidelity(x, torch.tensor([[1.0, 1, 1], [1, 1, 1], [1, float("nan"), 1], [1, 1, 1]]))


def test_a_constant_encoder_carries_no_information() -> None:
    constant = torch.randn(1, 8, generator=torch.Generator().manual_seed(0)).expand(50, 8)
    assert not carries_information(constant)
    assert not carries_information(constant * torch.arange(1, 51).unsqueeze(1))  # lengths are not looked at
    rounding = 1e-6 * torch.randn(50, 8, generator=torch.Generator().manual_seed(1))
    assert not carries_information(constant + rounding)
    assert not carries_information(torch.zeros(50, 8))
    assert not carries_information(torch.ones(1, 8))
    assert not carries_information(torch.ones(0, 8))


def test_one_image_that_is_told_apart_is_information() -> None:
    features = torch.ones(50, 8)
    features[37, 2] = 1.01
    assert carries_information(features)
    features[37, 2] = float("inf")
    with pytest.raises(DivergenceError):
        carries_information(features)
