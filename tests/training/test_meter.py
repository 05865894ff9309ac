"""Window means, read seldom and never wrong."""

import pytest
import torch

from understudy.errors import DivergenceError
from understudy.training.meter import Meter

CPU = torch.device("cpu")


def scalars(loss: float, accuracy: float) -> dict[str, torch.Tensor]:
    return {"loss": torch.tensor(loss, requires_grad=True), "accuracy": torch.tensor(accuracy, dtype=torch.float64)}


def test_means_are_over_the_window_alone() -> None:
    meter = Meter(CPU)
    for loss, accuracy in ((1.0, 0.0), (2.0, 0.5), (6.0, 1.0)):
        meter.add(scalars(loss, accuracy))
    assert meter.read("here") == {"loss": 3.0, "accuracy": 0.5}
    meter.reset()
    meter.add(scalars(10.0, 0.25))
    assert meter.read("here") == {"loss": 10.0, "accuracy": 0.25}


def test_a_window_goes_on_after_a_checkpoint() -> None:
    meter, resumed = Meter(CPU), Meter(CPU)
    meter.add(scalars(1.0, 0.0))
    resumed.restore({name: value.clone() for name, value in meter.state().items()})
    for each in (meter, resumed):
        each.add(scalars(5.0, 1.0))
    assert meter.read("here") == resumed.read("here") == {"loss": 3.0, "accuracy": 0.5}


def test_what_is_not_finite_is_named() -> None:
    meter = Meter(CPU)
    meter.add(scalars(float("inf"), 0.0))
    meter.add(scalars(1.0, 0.0))
    with pytest.raises(
        DivergenceError, match=r"^loss became NaN or infinite in training\n  where:    phase fit, step 3"
    ):
        meter.read("phase fit, step 3")
