"""The entropy of softened answers, against sums in Python."""

import math

import pytest
import torch

from understudy.evaluation import mean_entropy


def slowly(rows: list[list[float]], temperature: float) -> float:
    total = 0.0
    for row in rows:
        powers = [math.exp(value / temperature) for value in row]
        total -= sum(p / sum(powers) * math.log(p / sum(powers)) for p in powers)
    return total / len(rows)


def test_it_is_the_mean_over_rows_in_nats() -> None:
    logits = torch.randn(20, 6, generator=torch.Generator().manual_seed(0)) * 3
    found = mean_entropy(logits)
    assert list(found) == ["1", "4", "20"]
    assert found == pytest.approx({f"{t}": slowly(logits.tolist(), t) for t in (1, 4, 20)}, abs=1e-12)


def test_equal_logits_have_all_of_it_and_far_ones_none() -> None:
    assert mean_entropy(torch.zeros(3, 8), temperatures=(0.5, 2)) == pytest.approx(
        {"0.5": math.log(8), "2": math.log(8)}
    )
    assert mean_entropy(torch.tensor([[0.0, -5000.0]]), temperatures=(1,)) == {"1": 0.0}
