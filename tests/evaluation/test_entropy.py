"""The entropy of rows, against sums in Python."""

import math

import pytest
import torch

from understudy.evaluation import mean_row_entropy


def test_it_is_the_mean_over_rows_in_nats() -> None:
    rows = torch.randn(20, 6, generator=torch.Generator().manual_seed(0)).mul(3).double().softmax(dim=1)
    slowly = -sum(p * math.log(p) for row in rows.tolist() for p in row) / 20
    assert mean_row_entropy(rows) == pytest.approx(slowly, abs=1e-12)


def test_equal_shares_have_all_of_it_and_certain_rows_none() -> None:
    assert mean_row_entropy(torch.full((3, 8), 0.125)) == pytest.approx(math.log(8))
    assert mean_row_entropy(torch.tensor([[1.0, 0.0]])) == 0.0
